//! `POST /freeze`, `/unfreeze` and `/snapshot/prepare`: the host holds the guest still and lets it go on.
//!
//! Each runs to its end also when its caller leaves.

use std::{future::Future, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{
        Query, State,
        rejection::{JsonRejection, QueryRejection},
    },
};
use http::StatusCode;
use serde::Deserialize;

use super::HttpError;
use crate::{
    agent::Agent,
    guest::freezer::Frozen,
    standstill::{self, Caches, Plan, PrepareError, Prepared, Scope, Turn},
};

const USUAL_PATIENCE: u64 = 2000;
const MOST_PATIENCE: u64 = 10_000;
/// How long a thaw waits for what is under way.
const TURN_TIME: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FreezeQuery {
    max_wait_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PrepareRequest {
    mode: Mode,
    max_wait_ms: Option<u64>,
    #[serde(default)]
    drop_caches: bool,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Full,
    Filesystem,
}

pub(super) async fn freeze(
    State(agent): State<Arc<Agent>>,
    query: Result<Query<FreezeQuery>, QueryRejection>,
) -> Result<Json<Frozen>, HttpError> {
    let Query(query) = query.map_err(|fault| HttpError::new(400, fault.body_text()))?;
    let patience = patience(query.max_wait_ms);
    let turn = turn_now(&agent)?;
    to_its_end(async move { standstill::freeze(&agent, patience, &turn).await })
        .await
        .map(Json)
}

pub(super) async fn unfreeze(State(agent): State<Arc<Agent>>) -> Result<StatusCode, HttpError> {
    let thaw = async move {
        let turn = turn(&agent).await?;
        standstill::release(&agent, &turn).map_err(|fault| {
            tracing::error!(%fault, "cannot thaw");
            HttpError::fixed(500, "cannot thaw the processes")
        })
    };
    to_its_end(thaw).await??;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn prepare(
    State(agent): State<Arc<Agent>>,
    body: Result<Json<PrepareRequest>, JsonRejection>,
) -> Result<Json<Prepared>, HttpError> {
    let Json(request) = body.map_err(|fault| HttpError::new(400, fault.body_text()))?;
    let plan = Plan {
        scope: match request.mode {
            Mode::Full => Scope::Full,
            Mode::Filesystem => Scope::Filesystem,
        },
        caches: if request.drop_caches {
            Caches::Dropped
        } else {
            Caches::Kept
        },
        patience: patience(request.max_wait_ms),
    };
    let turn = turn_now(&agent)?;
    let prepared =
        to_its_end(async move { standstill::prepare(&agent, plan, &turn).await }).await?;
    prepared.map(Json).map_err(|fault: PrepareError| {
        let text = format!("cannot {fault}");
        let fault: &dyn std::error::Error = &fault;
        tracing::error!(fault, "a snapshot is not prepared");
        HttpError::new(503, text)
    })
}

fn patience(asked: Option<u64>) -> Duration {
    Duration::from_millis(asked.unwrap_or(USUAL_PATIENCE).min(MOST_PATIENCE))
}

/// The turn, when nobody has it.
fn turn_now(agent: &Agent) -> Result<Turn, HttpError> {
    let turn = Arc::clone(&agent.turn).try_lock_owned();
    turn.map_err(|_| HttpError::fixed(503, "another freeze or thaw is running"))
}

/// The turn, after those who have it or wait for it.
pub(super) async fn turn(agent: &Agent) -> Result<Turn, HttpError> {
    tokio::time::timeout(TURN_TIME, Arc::clone(&agent.turn).lock_owned())
        .await
        .map_err(|_| HttpError::fixed(503, "another freeze or thaw is running"))
}

async fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, HttpError> {
    tokio::spawn(work)
        .await
        .map_err(|_| HttpError::fixed(500, "internal error"))
}
