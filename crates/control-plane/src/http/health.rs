//! Liveness, readiness and metrics.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{ConnectInfo, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use secrecy::ExposeSecret;
use wrenn_api::{
    ErrorBody, ErrorCode,
    health::{Check, Checks, Health, Readiness},
};
use wrenn_database::{migrations_pending, ops_live_count, ping};

use super::error::{ApiError, ApiResult};
use crate::{auth::sha256, state::App, telemetry};

/// How long a readiness check may take.
const LIMIT: Duration = Duration::from_secs(3);

/// Whether the process serves
#[utoipa::path(get, path = "/healthz", tag = "health", responses((status = 200, body = Health)))]
pub(super) async fn healthz() -> Json<Health> {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    Json(Health {
        status: "ok".to_owned(),
        version,
    })
}

/// Whether the process can do its work
#[utoipa::path(
    get, path = "/readyz", tag = "health",
    responses((status = 200, body = Readiness), (status = 503, body = Readiness))
)]
pub(super) async fn readyz(State(app): State<Arc<App>>) -> Response {
    let database = async {
        tokio::time::timeout(LIMIT, ping(&app.db))
            .await
            .is_ok_and(|r| r.is_ok())
    };
    let redis = async {
        tokio::time::timeout(LIMIT, app.bus.ping())
            .await
            .is_ok_and(|r| r.is_ok())
    };
    let migrations = async {
        let pending = tokio::time::timeout(LIMIT, migrations_pending(&app.db)).await;
        pending.is_ok_and(|pending| matches!(pending, Ok(0)))
    };
    let (database, redis, migrations) = tokio::join!(database, redis, migrations);
    let check = |ok| if ok { Check::Ok } else { Check::Failed };
    let checks = Checks {
        database: check(database),
        redis: check(redis),
        migrations: check(migrations),
    };
    let status = if checks.all_ok() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(Readiness { checks })).into_response()
}

/// Prometheus metrics
///
/// For the loopback address, or with the metrics token as a bearer.
#[utoipa::path(
    get, path = "/metrics", tag = "health",
    responses((status = 200, content_type = "text/plain", body = String), (status = 401, body = ErrorBody))
)]
pub(super) async fn metrics(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    // Behind a proxy on this machine every peer is the loopback address.
    let local = peer.ip().to_canonical().is_loopback() && !headers.contains_key("x-forwarded-for");
    if !local && !bears_token(&app, &headers) {
        let text = "metrics need the loopback address or the metrics token";
        return Err(ApiError::new(ErrorCode::Unauthorized, text));
    }
    if let Ok(Ok((live, retried))) = tokio::time::timeout(LIMIT, ops_live_count(&app.db)).await {
        metrics::gauge!("wrenn_ops_live").set(live as f64);
        metrics::gauge!("wrenn_ops_retried").set(retried as f64);
    }
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    Ok((kind, telemetry::render()).into_response())
}

fn bears_token(app: &App, headers: &HeaderMap) -> bool {
    let Some(token) = &app.metrics_token else {
        return false;
    };
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer "));
    // Hashes are compared, so that timing tells nothing about the token.
    given.is_some_and(|given| sha256(given.as_bytes()) == sha256(token.expose_secret().as_bytes()))
}
