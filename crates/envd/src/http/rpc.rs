//! The RPC services as the router sees them, and the two promises that their library does not keep: that a
//! call that panics is answered in its own protocol, and that an error is told in few words.

use std::{collections::HashSet, panic::AssertUnwindSafe, sync::Arc};

use axum::{
    body::{Body, to_bytes},
    extract::Request,
    response::Response,
};
use futures::FutureExt as _;
use http::{HeaderMap, StatusCode, header::CONTENT_LENGTH};
use serde_json::Value;
use tower::ServiceExt as _;
use wrenn_rpc::connectrpc::{
    ConnectError, ConnectRpcService, Limits, Router as RpcRouter, deadline::DeadlinePolicy,
};

use super::MAX_MESSAGE;
use crate::{agent::Agent, filesystem, process, server::gate::short};

/// Of an error's body: its message and what is around it.
const FEW_WORDS: usize = 2048;

/// All services.
#[derive(Clone)]
pub(super) struct Services {
    calls: Arc<HashSet<String>>,
    service: ConnectRpcService,
}

impl Services {
    pub(super) fn new(agent: &Arc<Agent>) -> Self {
        let services = process::service::register(Arc::clone(agent), RpcRouter::new());
        let services = filesystem::service::register(Arc::clone(agent), services);
        let limits = Limits::default()
            .with_max_request_body_size(MAX_MESSAGE)
            .with_max_message_size(MAX_MESSAGE);
        // That of `Start` is the process's own; the gate takes it away.
        let deadlines = DeadlinePolicy::new().with_enforce_on_streams(true);
        Self {
            calls: Arc::new(services.methods().map(|call| format!("/{call}")).collect()),
            service: ConnectRpcService::new(services)
                .with_limits(limits)
                .with_deadline_policy(deadlines),
        }
    }

    pub(super) async fn answer(self, request: Request) -> Response {
        let path = request.uri().path();
        if !self.calls.contains(path) {
            let text = format!("there is no call {}", short(path));
            return refusal(ConnectError::unimplemented(text), request.headers());
        }
        let headers = request.headers().clone();
        let answer = self.service.oneshot(request).map(|answer| match answer {
            Ok(response) => response.map(Body::new),
        });
        unless_it_panics(&headers, answer).await
    }
}

async fn unless_it_panics(headers: &HeaderMap, answer: impl Future<Output = Response>) -> Response {
    match AssertUnwindSafe(answer).catch_unwind().await {
        Ok(response) => in_few_words(response).await,
        Err(_) => {
            tracing::error!("a call panicked");
            refusal(ConnectError::internal("internal error"), headers)
        }
    }
}

fn refusal(fault: ConnectError, headers: &HeaderMap) -> Response {
    fault.into_http_response(headers).map(Body::new)
}

/// Cuts the message of an error: the library's may repeat whatever a caller has sent.
async fn in_few_words(response: Response) -> Response {
    if response.status().is_success() {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    // Longer than what it complains of it is not.
    let Ok(whole) = to_bytes(body, 2 * MAX_MESSAGE).await else {
        parts.status = StatusCode::INTERNAL_SERVER_ERROR;
        return Response::from_parts(parts, Body::empty());
    };
    if whole.len() <= FEW_WORDS {
        return Response::from_parts(parts, whole.into());
    }
    let mut told: Value = serde_json::from_slice(&whole).unwrap_or_default();
    if let Some(Value::String(message)) = told.get_mut("message") {
        *message = short(message);
    }
    parts.headers.remove(CONTENT_LENGTH);
    Response::from_parts(parts, told.to_string().into())
}

#[cfg(test)]
mod tests {
    use http::header::CONTENT_TYPE;

    use super::*;

    async fn check(response: Response, expected: (u16, &str)) {
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        assert_eq!((status, str::from_utf8(&body).unwrap()), expected);
    }

    #[tokio::test]
    async fn a_call_that_panics_is_answered_in_its_own_protocol() {
        let headers = |kind: &str| HeaderMap::from_iter([(CONTENT_TYPE, kind.parse().unwrap())]);
        let panics = async || panic!("on purpose");
        let told = r#"{"code":"internal","message":"internal error"}"#;
        let unary = unless_it_panics(&headers("application/json"), panics()).await;
        check(unary, (500, told)).await;
        let stream = unless_it_panics(&headers("application/connect+json"), panics()).await;
        let framed = format!("\u{2}\0\0\0\u{38}{{\"error\":{told}}}");
        check(stream, (200, &framed)).await;
    }

    #[tokio::test]
    async fn what_a_caller_has_sent_is_not_sent_back_at_length() {
        let answer = |length: usize| {
            let message = "é".repeat(length);
            let body = format!(r#"{{"code":"invalid_argument","message":"{message}"}}"#);
            Response::builder().status(400).body(body.into()).unwrap()
        };
        let told = |length: usize| {
            let message = "é".repeat(length);
            format!(r#"{{"code":"invalid_argument","message":"{message}"}}"#)
        };
        check(in_few_words(answer(10)).await, (400, &told(10))).await;
        check(in_few_words(answer(100_000)).await, (400, &told(384))).await;
    }
}
