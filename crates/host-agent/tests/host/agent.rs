//! The agent alone, for the tests of this crate in a virtual host: the product's `wrenn host-agent` without
//! the rest of the product.

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use wrenn_host_agent::{Config, KvmProbe};
use wrenn_memory::page_server::{self, Options};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("page-server") {
        return serve_pages(arguments);
    }
    agent()
}

/// The product's `wrenn page-server`, as the agent starts it.
fn serve_pages(mut arguments: impl Iterator<Item = String>) -> ExitCode {
    let mut options = Options::default();
    while let (Some(name), Some(value)) = (arguments.next(), arguments.next()) {
        match &*name {
            "--snapshot" => options.snapshot = value.into(),
            "--socket" => options.socket = value.into(),
            "--owner" => {
                let owner = value.split_once(':');
                let owner =
                    owner.and_then(|(user, group)| Some((user.parse().ok()?, group.parse().ok()?)));
                options.owner = Some(owner.expect("two numbers"));
            }
            "--prefetch" => options.prefetch = Some(value.into()),
            "--record" => options.record = Some(value.into()),
            "--stats" => options.stats = Some(value.into()),
            other => panic!("{other}"),
        }
    }
    match page_server::run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => panic!("{error:?}"),
    }
}

#[tokio::main]
async fn agent() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(std::env::var("WRENN_LOG").unwrap_or_else(|_| "info".to_owned()))
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
    match serve().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = ?error, "the agent does not run");
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::from_env(KvmProbe::none())?;
    let cancel = CancellationToken::new();
    let mut term = signal(SignalKind::terminate())?;
    let agent = wrenn_host_agent::run(config, cancel.clone());
    tokio::pin!(agent);
    tokio::select! {
        ended = &mut agent => return Ok(ended?),
        _ = term.recv() => cancel.cancel(),
    }
    Ok(agent.await?)
}
