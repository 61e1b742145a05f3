//! `GET /envs` and `GET /metrics`: what the sandbox's processes start with, and how the guest is doing.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State};

use super::HttpError;
use crate::{agent::Agent, guest::vital::Metrics};

pub(super) async fn variables(State(agent): State<Arc<Agent>>) -> Json<BTreeMap<String, String>> {
    Json(agent.sandbox.state().environment())
}

pub(super) async fn metrics(State(agent): State<Arc<Agent>>) -> Result<Json<Metrics>, HttpError> {
    match agent.meter.measure().await {
        Ok(metrics) => Ok(Json(metrics)),
        Err(fault) => {
            tracing::warn!(%fault, "cannot measure the guest");
            Err(HttpError::fixed(500, "cannot measure the guest"))
        }
    }
}
