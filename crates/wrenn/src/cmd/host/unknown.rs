//! `wrenn host purge-unknown`: through the database, as the commands of `wrenn admin` are.

use secrecy::ExposeSecret;
use wrenn_control_plane::operator;

use crate::{
    DONE, Outcome,
    cmd::{
        control_plane::{Flags, load},
        migrate::connect,
    },
    context::Context,
    error::{CliError, chain},
    interruptible,
    local::standby::Standby,
};

/// Has every sandbox destroyed that a host has and nobody knows.
pub(super) fn purge(context: &Context) -> Outcome {
    let config = load(&Flags::default())?;
    context.confirm(
        "Destroy what hosts have and the database does not know?",
        "sandboxes that the database does not know are destroyed",
    )?;
    interruptible(async {
        let standby = Standby::start(config.database_url.expose_secret()).await?;
        let purged = async {
            let db = connect(config.database_url.expose_secret()).await?;
            let purged = operator::unknown_purge(&db).await;
            purged.map_err(|error| CliError::local(chain(&error)))
        };
        let purged = purged.await;
        standby.stop().await;
        let count = purged?;
        context.out.line(&count.to_string())?;
        context
            .out
            .note("they are destroyed when their hosts report next, within seconds");
        Ok(DONE)
    })
}
