//! `GET /v1/sandboxes/{id}/exec/stream`: a program over a WebSocket.
//!
//! The first frame is `start` (after `auth`, where the upgrade carried no credential). Output is sent in
//! order as it comes; a slow reader stalls the program, because the next event is asked for only when the
//! last was written. Input waits in a queue of 1 MiB, and the socket is not read while that is full. The
//! program ends with the socket.

mod frames;
mod session;

use std::sync::Arc;

use axum::{
    extract::{FromRequestParts, State, WebSocketUpgrade, ws::WebSocket},
    http::request::Parts,
    response::Response,
};
use wrenn_api::{ErrorBody, ErrorCode};
use wrenn_ids::SandboxId;

use self::frames::Socket;
use super::{
    error::{ApiError, ApiResult},
    extract::{ActsFor, Query, path_id, presented_key, presented_token, sandbox_of},
    governed::{Governed, Who, admit},
};
use crate::{
    app::{TeamActor, wake},
    state::App,
};

/// Largest frame of a client.
const FRAME_LIMIT: usize = 1 << 20;

/// What is known before the upgrade.
pub(super) struct Opening {
    id: SandboxId,
    proof: Proof,
}

/// Who opens the socket.
enum Proof {
    /// Proven by the request.
    Given(TeamActor),
    /// The first frame must say; with what governs the request.
    Awaited(ActsFor, Option<Arc<Governed>>),
}

impl FromRequestParts<Arc<App>> for Opening {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> ApiResult<Self> {
        let acts_for = ActsFor::of(&parts.extensions);
        let query = Query::from_request_parts(parts, app).await;
        // A header that is no token at all is a credential too, and not a valid one.
        let header = parts
            .headers
            .contains_key("authorization")
            .then(|| presented_token(&parts.headers).unwrap_or_default());
        let actor = if let Some(key) = presented_key(&parts.headers) {
            Some(acts_for.key_actor(app, key).await?)
        } else if let Some(token) = header {
            Some(acts_for.token_actor(app, token).await?)
        } else if let Some(token) = query?.text("token") {
            Some(acts_for.token_actor(app, token).await?)
        } else {
            None
        };
        if let Some(actor) = actor {
            admit(parts, app, Who::actor(&actor)).await?;
            let id = path_id(parts, app).await?;
            wake::check(&sandbox_of(app, &actor, id).await?)?;
            return Ok(Self {
                id,
                proof: Proof::Given(actor),
            });
        }
        // A request that is no upgrade has no first frame to prove itself with.
        if !parts.headers.contains_key("sec-websocket-key") {
            let text = "a valid API key is needed in the header X-API-Key, or a user token";
            return Err(ApiError::new(ErrorCode::Unauthorized, text));
        }
        Ok(Self {
            id: path_id(parts, app).await?,
            proof: Proof::Awaited(acts_for, parts.extensions.get().cloned()),
        })
    }
}

/// Run a program over a WebSocket
///
/// Client frames: `auth`, `start`, `stdin`, `stdin_close`, `stop`. Server frames: `start`, `stdout`,
/// `stderr`, `exit`, `error`.
#[utoipa::path(
    get, path = "/{id}/exec/stream", tag = "processes", security(("api_key" = []), ("user_token" = []), ()),
    params(("id" = String, Path)),
    responses(
        (status = 101, description = "The socket is open"),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody),
    )
)]
pub(super) async fn open(
    State(app): State<Arc<App>>,
    opening: Opening,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> ApiResult<Response> {
    let upgrade = upgrade.map_err(|_| {
        ApiError::new(
            ErrorCode::InvalidRequest,
            "this route takes WebSocket upgrades only",
        )
    })?;
    let upgrade = upgrade
        .max_message_size(FRAME_LIMIT)
        .max_frame_size(FRAME_LIMIT)
        .write_buffer_size(0)
        .max_write_buffer_size(2 * FRAME_LIMIT);
    Ok(upgrade.on_upgrade(move |socket: WebSocket| async move {
        let stop = app.stop.clone();
        tokio::select! {
            () = session::run(&app, opening, Socket::new(socket)) => {}
            () = stop.cancelled() => {}
        }
    }))
}
