//! Sending mail: one SMTP conversation a mail, with deadlines.

use std::time::Duration;

use lettre::{
    AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    message::{Mailbox, header::ContentType},
};
use secrecy::ExposeSecret;

use crate::config::MailSettings;

/// How long the server may take for one step.
const STEP: Duration = Duration::from_secs(10);

/// Why a mail was not sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MailError {
    /// The setting names no server.
    #[error("WRENN_SMTP_URL names no mail server")]
    Url(#[source] lettre::transport::smtp::Error),
    /// An address is none.
    #[error("an address of a mail cannot be used")]
    Address(#[from] lettre::address::AddressError),
    /// The mail cannot be written.
    #[error("a mail cannot be written")]
    Message(#[from] lettre::error::Error),
    /// The server cannot be reached or refuses.
    #[error("the mail server did not take a mail")]
    Smtp(#[source] lettre::transport::smtp::Error),
}

type Transport = AsyncSmtpTransport<Tokio1Executor>;

/// Whether the text names a mail server.
pub(crate) fn check_url(url: &str) -> Result<(), MailError> {
    Transport::from_url(url).map(drop).map_err(MailError::Url)
}

/// Whether the text is somebody's address.
pub(crate) fn check_sender(from: &str) -> Result<(), MailError> {
    Ok(from.parse::<Mailbox>().map(drop)?)
}

/// The way out for mail.
pub(crate) struct Mailer {
    transport: Transport,
    from: Mailbox,
}

impl std::fmt::Debug for Mailer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailer")
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}

impl Mailer {
    /// Connects to nothing yet.
    pub(crate) fn new(settings: &MailSettings) -> Result<Self, MailError> {
        let transport = Transport::from_url(settings.url.expose_secret())
            .map_err(MailError::Url)?
            .timeout(Some(STEP))
            .build();
        Ok(Self {
            transport,
            from: settings.from.parse()?,
        })
    }

    /// Sends a mail; done when the server took it.
    pub(crate) async fn send(
        &self,
        to: &str,
        subject: &str,
        text: String,
    ) -> Result<(), MailError> {
        let to = Mailbox::new(None, to.parse()?);
        let message = Message::builder()
            .from(self.from.clone())
            .to(to)
            .subject(subject)
            .header(ContentType::TEXT_PLAIN)
            .body(text)?;
        self.transport
            .send(message)
            .await
            .map(drop)
            .map_err(MailError::Smtp)
    }
}
