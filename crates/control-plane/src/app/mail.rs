//! What the platform writes to people. Nothing is sent here: a mail is a row of the transaction that it is
//! about, and its link is sealed until it goes out.

use std::collections::BTreeMap;

use uuid::Uuid;
use wrenn_database::{MailRow, PgConnection, mail_insert};

use super::{Error, Result};
use crate::state::App;

const ACTIVATION: &str = "activation";
const RESET: &str = "reset";

/// The link that activates an account.
///
/// # Errors
/// The database is away.
pub(super) async fn activation(
    app: &App,
    tx: &mut PgConnection,
    email: &str,
    token: &str,
) -> Result<()> {
    put(app, tx, email, ACTIVATION, activation_link(app, token)).await
}

/// The link that sets a password.
///
/// # Errors
/// The database is away.
pub(super) async fn reset(
    app: &App,
    tx: &mut PgConnection,
    email: &str,
    token: &str,
) -> Result<()> {
    put(app, tx, email, RESET, reset_link_at(&app.public_url, token)).await
}

// Tokens stand in fragments, which browsers send to no server and write into no log.
fn activation_link(app: &App, token: &str) -> String {
    format!("{}/activate#token={token}", app.public_url)
}

/// Where the holder of `token` sets a password.
pub(crate) fn reset_link_at(public_url: &str, token: &str) -> String {
    format!("{public_url}/reset/confirm#token={token}")
}

/// What a mail's link is sealed to.
pub(crate) fn place(id: Uuid) -> String {
    format!("mail:{id}:link")
}

async fn put(
    app: &App,
    tx: &mut PgConnection,
    email: &str,
    template: &str,
    link: String,
) -> Result<()> {
    let id = Uuid::now_v7();
    let link = app
        .sealing
        .seal(&place(id), link.as_bytes())
        .map_err(Error::internal)?;
    let params = BTreeMap::from([("link".to_owned(), link)]);
    Ok(mail_insert(tx, id, email, template, &params).await?)
}

/// Subject and text of a mail.
///
/// # Errors
/// Its link cannot be opened: a defect, or the key is gone.
pub(crate) fn written(app: &App, mail: &MailRow) -> Result<(&'static str, String)> {
    let sealed = mail.params.0.get("link").map_or("", String::as_str);
    let link = app
        .sealing
        .open(&place(mail.id), sealed)
        .map_err(Error::internal)?;
    let link = String::from_utf8(link).map_err(Error::internal)?;
    let server = &app.public_url;
    match mail.template.as_str() {
        ACTIVATION => Ok((
            "Activate your Wrenn account",
            format!(
                "Somebody, hopefully you, signed up at {server} with this address.\n\n\
                 Open this link within 30 minutes to activate the account:\n\n{link}\n\n\
                 If it was not you, do nothing.\n"
            ),
        )),
        RESET => Ok((
            "Reset your Wrenn password",
            format!(
                "Somebody, hopefully you, asked for another password at {server}.\n\n\
                 Open this link within 15 minutes to choose one:\n\n{link}\n\n\
                 If it was not you, do nothing: your password stays as it is.\n"
            ),
        )),
        other => Err(Error::internal(format!("no text for the mail `{other}`"))),
    }
}
