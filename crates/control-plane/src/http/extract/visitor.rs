//! `Visitor`: who asks to be signed in, as far as the request says.

use std::{convert::Infallible, sync::Arc};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header, request::Parts},
};
use wrenn_api::SessionKind;

use super::super::{client_ip::ClientIp, middleware::RequestId};
use crate::{app::signin::Visitor, state::App};

/// Longest name of a client that is kept.
const NAME: usize = 200;

/// What the request says that holds the session, if it wants one.
pub(crate) fn session_kind(headers: &HeaderMap) -> Option<SessionKind> {
    match headers.get("x-wrenn-client")?.to_str().ok()? {
        "dashboard" => Some(SessionKind::Browser),
        "cli" => Some(SessionKind::Cli),
        _ => None,
    }
}

impl FromRequestParts<Arc<App>> for Visitor {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Infallible> {
        let Ok(ClientIp(ip)) = ClientIp::from_request_parts(parts, app).await;
        let agent = parts.headers.get(header::USER_AGENT);
        let agent = agent.and_then(|agent| agent.to_str().ok());
        let agent = agent.filter(|agent| !agent.is_empty()).unwrap_or("unknown");
        let request_id = parts.extensions.get::<RequestId>();
        Ok(Self {
            kind: session_kind(&parts.headers),
            client: agent.chars().take(NAME).collect(),
            ip: ip.to_string(),
            request_id: request_id.map_or_else(String::new, |id| id.0.clone()),
        })
    }
}
