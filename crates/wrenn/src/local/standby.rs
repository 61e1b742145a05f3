//! The private PostgreSQL for one command, while the platform is down.

use super::{
    component::Component,
    postgres::Postgres,
    state::{Lock, StateDir},
    supervisor,
};
use crate::error::CliError;

/// PostgreSQL as long as this command needs it; nothing, where it is somebody else's or runs anyway.
#[derive(Debug)]
pub(crate) struct Standby(Option<(Component, Lock)>);

impl Standby {
    /// Starts the private PostgreSQL of this machine's instance if `url` names it and the instance is down.
    pub(crate) async fn start(url: &str) -> Result<Self, CliError> {
        let state = StateDir::locate(None)?;
        if url != Postgres::url(&state) || !state.at("postgres/data").exists() {
            return Ok(Self(None));
        }
        // Who holds it runs PostgreSQL; who takes it keeps an instance from coming up meanwhile.
        let Ok(lock) = supervisor::lock(&state) else {
            return Ok(Self(None));
        };
        let postgres = Postgres::new(&state)?;
        postgres.prepare()?;
        let component = Component::start(postgres.spec());
        match postgres.wait_ready(&component).await {
            Ok(()) => Ok(Self(Some((component, lock)))),
            Err(error) => {
                component.stop().await;
                Err(error)
            }
        }
    }

    /// Stops what was started.
    pub(crate) async fn stop(self) {
        if let Some((component, lock)) = self.0 {
            component.stop().await;
            drop(lock);
        }
    }
}
