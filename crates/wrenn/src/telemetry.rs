//! Logs of the server roles: `WRENN_LOG` says what, `WRENN_LOG_FORMAT` how; they go to stderr.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::error::CliError;

/// Starts logging for a server role.
pub(crate) fn start() -> Result<(), CliError> {
    let filter = std::env::var("WRENN_LOG").unwrap_or_else(|_| "info".to_owned());
    let filter = EnvFilter::try_new(&filter).map_err(|error| {
        CliError::usage(format_args!(
            "WRENN_LOG=`{filter}` is no log filter: {error}"
        ))
    })?;
    let json = match std::env::var("WRENN_LOG_FORMAT").as_deref() {
        Ok("json") => true,
        Ok("text") => false,
        Ok(other) => {
            return Err(CliError::usage(format_args!(
                "WRENN_LOG_FORMAT=`{other}` is neither json nor text"
            )));
        }
        Err(_) => !std::io::stderr().is_terminal(),
    };
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = if json {
        logs.json().flatten_event(true).try_init()
    } else {
        logs.try_init()
    };
    started.map_err(|error| CliError::local(format_args!("start logging: {error}")))
}
