//! Metrics of the agent: Prometheus text on a loopback address.

use std::{future::Future, net::SocketAddr, sync::OnceLock, time::Duration};

use axum::{Router, routing::get};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Milliseconds of one step of an operation, by `kind` and `step`.
const STEP: &str = "wrenn_agent_step_ms";
/// Upper bounds of the step histogram: one step takes from a rename to an emulated boot.
const STEP_BUCKETS: [f64; 14] = [
    1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1e3, 2e3, 5e3, 2e4, 1e5,
];

static EXPORTER: OnceLock<PrometheusHandle> = OnceLock::new();

/// Why metrics are not served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken.
    #[error("listen for metrics on {0}")]
    Listen(SocketAddr, #[source] std::io::Error),
}

/// Records how long a step of an operation took.
pub fn step(kind: &'static str, step: &'static str, took: Duration) {
    let ms = took.as_secs_f64() * 1e3;
    tracing::debug!(kind, step, ms, "step done");
    metrics::histogram!(STEP, "kind" => kind, "step" => step).record(ms);
}

/// Listens for scrapers; what is returned serves them until `cancel`.
///
/// # Errors
/// When the address cannot be bound.
pub async fn serve(
    address: SocketAddr,
    cancel: CancellationToken,
) -> Result<impl Future<Output = ()> + Send, Error> {
    let exporter = EXPORTER.get_or_init(install);
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| Error::Listen(address, source))?;
    Ok(async move {
        let app = Router::new().route("/metrics", get(|| async { exporter.render() }));
        let server = axum::serve(listener, app).with_graceful_shutdown(cancel.cancelled_owned());
        if let Err(error) = server.await {
            tracing::error!(%error, "metrics are not served any more");
        }
    })
}

/// The recorder of this process; a second one (a control plane in the same process) keeps its own.
fn install() -> PrometheusHandle {
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full(STEP.to_owned()), &STEP_BUCKETS)
        .unwrap_or_else(|_| PrometheusBuilder::new())
        .build_recorder();
    let handle = recorder.handle();
    if metrics::set_global_recorder(recorder).is_err() {
        tracing::warn!("another recorder takes this process's metrics");
    }
    handle
}
