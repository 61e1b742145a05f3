//! The agent alone, for tests of it in a virtual host: the product's binary without the rest.

use wrenn_host_agent::{Config, KvmProbe};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(std::env::var("WRENN_LOG").unwrap_or_else(|_| "info".to_owned()))
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
    let probe = || wrenn_virtual_host::kvm::usable().map_err(|error| error.to_string());
    let config = Config::from_env(KvmProbe::new(probe))?;
    let cancel = tokio_util::sync::CancellationToken::new();
    let stop = cancel.clone();
    tokio::spawn(async move {
        let term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate());
        if let Ok(mut term) = term {
            term.recv().await;
            stop.cancel();
        }
    });
    Ok(wrenn_host_agent::run(config, cancel).await?)
}
