//! `POST /init`: what the host tells a guest after every boot, restore and fork.
//!
//! The order matters: randomness, time and names are this sandbox's own before its token opens it, and
//! nothing of an earlier life (connections, subscribers) is left when it does. Every step may be repeated;
//! a failed one leaves the sandbox as closed as it was.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use axum::{
    Extension, Json,
    extract::{State, rejection::JsonRejection},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use zeroize::Zeroize as _;

use super::{HttpError, health::VERSIONS, identity, snapshot};
use crate::{
    agent::{self, Agent},
    flags::Surroundings,
    guest::{clock, disk, entropy, mmds, names, trust},
    sandbox::Phase,
    secret::{Secret, equal, sha256_hex},
    server::gate::{Caller, Shown},
    standstill::{self, Turn},
};

const MAX_GENERATION: usize = 256;
const MAX_TOKEN: usize = 1024;

/// The body. Unknown fields are ignored.
#[derive(Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[derive(Default)]
pub(super) struct InitRequest {
    generation_id: Option<String>,
    timestamp: Option<Timestamp>,
    access_token: Option<String>,
    entropy: Option<String>,
    env_vars: Option<BTreeMap<String, String>>,
    default_user: Option<String>,
    default_workdir: Option<String>,
    hostname: Option<String>,
    machine_id: Option<String>,
    dns_servers: Option<Vec<IpAddr>>,
    ca_bundle: Option<String>,
    volume_mounts: Option<Vec<serde_json::Value>>,
}

/// What a request is, compared with the last one applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Novelty {
    New,
    Repeated,
    /// Overtaken by a later one of the same generation.
    Stale,
}

pub(super) async fn init(
    State(agent): State<Arc<Agent>>,
    Extension(caller): Extension<Caller>,
    shown: Option<Extension<Shown>>,
    body: Result<Json<InitRequest>, JsonRejection>,
) -> Result<Response, HttpError> {
    let newest = agent.connections.newest();
    let Json(request) = body.map_err(|fault| match fault.status() {
        StatusCode::PAYLOAD_TOO_LARGE => HttpError::fixed(413, "the body is larger than 4 MiB"),
        _ => HttpError::new(400, fault.body_text()),
    })?;
    let turn = snapshot::turn(&agent).await?;
    agent.host_key.forget();
    let shown = shown
        .map(|Extension(shown)| shown)
        .filter(|shown| shown.round == standstill::round(&agent));
    let step = apply(&agent, request, caller, newest, shown, &turn).await?;
    let milliseconds = step.as_millis().to_string();
    Ok((
        StatusCode::NO_CONTENT,
        VERSIONS,
        [("x-wrenn-clock-step-ms", milliseconds)],
    )
        .into_response())
}

async fn apply(
    agent: &Arc<Agent>,
    mut request: InitRequest,
    caller: Caller,
    newest: u64,
    shown: Option<Shown>,
    turn: &Turn,
) -> Result<SignedDuration, HttpError> {
    let vm = agent.surroundings == Surroundings::Vm;
    let novelty = novelty(agent, &request);
    let token = request.access_token.take().map(Secret::new);
    let seed = validate(agent, &request, token.as_ref(), novelty)?;
    if novelty == Novelty::Stale {
        return Ok(SignedDuration::ZERO);
    }
    let metadata = match shown {
        _ if !vm => None,
        Some(shown) => Some(shown.metadata),
        None => {
            let read = mmds::fetch().await;
            Some(read.map_err(|fault| failed("read the metadata", &fault))?)
        }
    };
    if let (Some(metadata), Some(token)) = (&metadata, &token) {
        let hash = metadata.access_token_hash.as_bytes();
        if !hash.is_empty() && !equal(sha256_hex(token.expose().as_bytes()).as_bytes(), hash) {
            return Err(HttpError::fixed(
                401,
                "the access token is not this sandbox's",
            ));
        }
    }

    let mut step = SignedDuration::ZERO;
    if let Some(metadata) = &metadata {
        if let Some(mut seed) = seed {
            let credited = entropy::credit(&seed);
            seed.zeroize();
            credited.map_err(|fault| failed("credit the entropy", &fault))?;
        }
        if let Some(told) = request.timestamp {
            let occasion = match novelty {
                Novelty::New => clock::Occasion::NewGeneration,
                Novelty::Repeated | Novelty::Stale => clock::Occasion::Repeated,
            };
            step = clock::align(occasion, told).map_err(|fault| failed("set the clock", &fault))?;
        }
        // Names are files, and nobody writes to a frozen file system.
        standstill::release_root(agent, turn);
        name_machine(&request, novelty, &metadata.sandbox_id)
            .map_err(|fault| failed("name the machine", &fault))?;
    }
    open(agent, &mut request, token);
    if let Some(metadata) = &metadata {
        if let Some(pem) = &request.ca_bundle {
            trust::install(pem).map_err(|fault| failed("install the certificates", &fault))?;
        }
        if let Some(resolvers) = &request.dns_servers {
            names::write_resolvers(resolvers)
                .map_err(|fault| failed("write resolv.conf", &fault))?;
        }
        identity::adopt(agent, metadata);
    }
    if novelty == Novelty::New {
        agent.connections.drop_older(newest, caller.connection);
        agent.processes.drop_subscribers();
    }
    {
        let mut state = agent.sandbox.state();
        state.generation = request.generation_id.take().or(state.generation.take());
        state.applied_at = request.timestamp.or(state.applied_at);
        state.phase = Phase::Open;
    }
    standstill::release(agent, turn).map_err(|fault| failed("thaw the processes", &fault))?;
    if vm && novelty == Novelty::New {
        // The sandbox's disk may be larger than that of the snapshot it came from.
        tokio::task::spawn_blocking(|| disk::grow_root().inspect_err(agent::tell_disk));
    }
    Ok(step)
}

fn novelty(agent: &Agent, request: &InitRequest) -> Novelty {
    let state = agent.sandbox.state();
    if request.generation_id.is_none() || request.generation_id != state.generation {
        return Novelty::New;
    }
    match (request.timestamp, state.applied_at) {
        (Some(asked), Some(applied)) if asked < applied => Novelty::Stale,
        _ => Novelty::Repeated,
    }
}

/// Checks everything that can be checked before anything is changed; returns the decoded entropy.
fn validate(
    agent: &Agent,
    request: &InitRequest,
    token: Option<&Secret>,
    novelty: Novelty,
) -> Result<Option<Vec<u8>>, HttpError> {
    let need = |present: bool, message| {
        if present {
            Ok(())
        } else {
            Err(HttpError::fixed(400, message))
        }
    };
    if request
        .volume_mounts
        .as_ref()
        .is_some_and(|mounts| !mounts.is_empty())
    {
        return Err(HttpError::fixed(501, "volumes are not supported"));
    }
    if agent.surroundings == Surroundings::Vm {
        need(request.generation_id.is_some(), "generationId is required")?;
        need(request.timestamp.is_some(), "timestamp is required")?;
        if novelty == Novelty::New {
            need(
                token.is_some(),
                "accessToken is required for a new generation",
            )?;
            need(
                request.entropy.is_some(),
                "entropy is required for a new generation",
            )?;
        }
    }
    if let Some(generation) = &request.generation_id {
        need(
            (1..=MAX_GENERATION).contains(&generation.len()),
            "generationId is not 1 to 256 bytes",
        )?;
    }
    if let Some(token) = token {
        let length = token.expose().len();
        need(
            (1..=MAX_TOKEN).contains(&length),
            "accessToken is not 1 to 1024 bytes",
        )?;
    }
    for user in request.default_user.iter().filter(|user| !user.is_empty()) {
        need(agent.users.find(user).is_some(), "defaultUser is unknown")?;
    }
    if let Some(name) = &request.hostname {
        need(names::is_hostname(name), "hostname is not a host name")?;
    }
    if let Some(id) = &request.machine_id {
        need(
            names::is_machine_id(id),
            "machineId is not 32 hexadecimal digits",
        )?;
    }
    if let Some(pem) = &request.ca_bundle {
        need(trust::is_bundle(pem), "caBundle is not PEM certificates")?;
    }
    for (name, value) in request.env_vars.iter().flatten() {
        let sound = !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0');
        need(
            sound,
            "envVars has a name or value that no environment can hold",
        )?;
    }
    let Some(encoded) = &request.entropy else {
        return Ok(None);
    };
    let seed = STANDARD.decode(encoded).unwrap_or_default();
    let fits = (entropy::MIN_BYTES..=entropy::MAX_BYTES).contains(&seed.len());
    need(fits, "entropy is not 32 to 256 bytes of base64")?;
    Ok(Some(seed))
}

fn name_machine(request: &InitRequest, novelty: Novelty, sandbox_id: &str) -> std::io::Result<()> {
    let new = novelty == Novelty::New;
    let derived = request.generation_id.as_ref().filter(|_| new);
    let derived = derived.map(|generation| sha256_hex(generation.as_bytes())[..32].to_owned());
    if let Some(id) = request.machine_id.clone().or(derived) {
        names::set_machine_id(&id)?;
    }
    let own = Some(sandbox_id)
        .filter(|id| new && names::is_hostname(id))
        .map(String::from);
    if let Some(name) = request.hostname.clone().or(own) {
        names::set_hostname(&name)?;
    }
    Ok(())
}

/// Takes over the token, the variables and the defaults.
fn open(agent: &Agent, request: &mut InitRequest, token: Option<Secret>) {
    let mut state = agent.sandbox.state();
    if token.is_some() {
        state.token = token;
    }
    if let Some(variables) = request.env_vars.take() {
        state.set_variables(variables);
    }
    if let Some(user) = request.default_user.take().filter(|user| !user.is_empty()) {
        state.default_user = user;
    }
    if let Some(directory) = request
        .default_workdir
        .take()
        .filter(|path| !path.is_empty())
    {
        state.default_workdir = Some(directory);
    }
}

fn failed(attempt: &'static str, fault: &(dyn std::error::Error + 'static)) -> HttpError {
    tracing::error!(fault, attempt, "/init failed");
    HttpError::new(500, format!("cannot {attempt}"))
}
