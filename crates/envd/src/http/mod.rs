//! The HTTP face of envd: the table of its paths, and the one shape of its errors.
//!
//! Errors of plain endpoints are `{"code":<status>,"message":<text>}`; RPC services have Connect's own.

pub(crate) mod files;
mod health;
pub(crate) mod identity;
mod init;
mod rpc;
pub(crate) mod signature;
mod snapshot;
mod status;

use std::{any::Any, borrow::Cow, sync::Arc};

use crate::{
    agent::Agent,
    reason::{REASON, Reason},
    server::gate,
};
use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Request},
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::StatusCode;
use serde::Serialize;
use tower_http::catch_panic::CatchPanicLayer;

/// The largest message of a unary call or of a stream's frame, also unpacked.
const MAX_MESSAGE: usize = 16 << 20;
const MAX_INIT: usize = 4 << 20;

/// Every path of envd.
pub(crate) fn router(agent: &Arc<Agent>) -> Router {
    let services = rpc::Services::new(agent);

    Router::new()
        .route("/health", get(health::health))
        .route(
            "/init",
            post(init::init).layer(DefaultBodyLimit::max(MAX_INIT)),
        )
        .route("/freeze", post(snapshot::freeze))
        .route("/unfreeze", post(snapshot::unfreeze))
        .route("/snapshot/prepare", post(snapshot::prepare))
        .route("/envs", get(status::variables))
        .route("/metrics", get(status::metrics))
        .route(
            "/files",
            get(files::download::download).post(files::upload::upload),
        )
        .route(
            "/files/compose",
            post(files::compose::compose).layer(DefaultBodyLimit::max(MAX_MESSAGE)),
        )
        .method_not_allowed_fallback(async || HttpError::fixed(405, "method not allowed"))
        .fallback(move |request| services_or_nothing(services.clone(), request))
        .layer(DefaultBodyLimit::disable())
        .layer(CatchPanicLayer::custom(after_panic))
        .layer(middleware::from_fn_with_state(
            Arc::clone(agent),
            gate::check,
        ))
        .with_state(Arc::clone(agent))
}

async fn services_or_nothing(services: rpc::Services, request: Request) -> Response {
    if gate::is_rpc(request.uri().path()) {
        services.answer(request).await
    } else {
        HttpError::NOT_FOUND.into_response()
    }
}

/// A request that panics is answered; the others do not notice.
fn after_panic(_: Box<dyn Any + Send>) -> Response {
    tracing::error!("a request panicked");
    HttpError::fixed(500, "internal error").into_response()
}

/// An error of a plain endpoint.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HttpError {
    pub(crate) status: StatusCode,
    pub(crate) message: Cow<'static, str>,
    pub(crate) reason: Option<Reason>,
}

impl HttpError {
    pub(crate) const NOT_FOUND: Self = Self {
        status: StatusCode::NOT_FOUND,
        message: Cow::Borrowed("not found"),
        reason: None,
    };

    /// An error whose text is known beforehand; `status` is one of HTTP's.
    pub(crate) fn fixed(status: u16, message: &'static str) -> Self {
        Self::new(status, message)
    }

    pub(crate) fn new(status: u16, message: impl Into<Cow<'static, str>>) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self {
            status,
            message: message.into(),
            reason: None,
        }
    }

    /// The same, with a word for the host.
    pub(crate) fn because(self, reason: Reason) -> Self {
        Self {
            reason: Some(reason),
            ..self
        }
    }
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    code: u16,
    message: &'a str,
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        let body = ErrorBody {
            code: self.status.as_u16(),
            message: &self.message,
        };
        let mut response = (self.status, Json(body)).into_response();
        if let Some(reason) = self.reason {
            response.headers_mut().insert(REASON, reason.value());
        }
        response
    }
}
