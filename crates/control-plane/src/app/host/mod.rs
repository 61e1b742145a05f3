//! Hosts: registration, rotation of credentials, heartbeat. What people do with them is in the modules below.

pub(crate) mod care;
pub(crate) mod removal;
pub(crate) mod void;

use std::sync::Arc;

use uuid::Uuid;
use wrenn_api::{
    ErrorCode, Invalid,
    audit::{AuditAction, AuditActor, AuditStatus},
    grammar,
    host::{Heartbeat, RefreshHost, RegisterHost},
};
use wrenn_database::{
    Certificate, Error as DbError, HostFacts, HostRow, NewRefreshToken, PgConnection, Postgres,
    Transaction, audit_host, host_certificate_set, host_get, host_heartbeat, host_list, host_proof,
    host_register, host_registration_use, host_set_address, ops_wake_host, refresh_family_revoke,
    refresh_token_by_hash, refresh_token_insert, refresh_token_set_successor, refresh_token_use,
};
use wrenn_ids::HostId;

use super::{Error, HostsSeen, Result};
use crate::{
    auth::{one_time, random_hex, sha256},
    ca::{HostLeaf, HostRequest},
    state::App,
};

/// What an agent gets; the host's own row is read afterwards.
pub(crate) struct Issued {
    pub(crate) host: HostRow,
    pub(crate) token: String,
    pub(crate) refresh_token: String,
    pub(crate) cert_pem: String,
}

fn bad_token() -> Error {
    Error::new(
        ErrorCode::Unauthorized,
        "the token is unknown, used or expired",
    )
}

fn parse_request(pem: &str) -> Result<HostRequest> {
    HostRequest::from_pem(pem).map_err(|error| {
        Error::from(Invalid::new(
            "csr_pem",
            "must be a PEM certificate request for a P-256 key",
        ))
        .because(error)
    })
}

/// Registers a host: everything is checked before the one-time token is burnt.
///
/// # Errors
/// Bad fields, bad token, or a service is down.
pub(crate) async fn register(app: &App, request: &RegisterHost) -> Result<Issued> {
    request.validate()?;
    let csr = parse_request(&request.csr_pem)?;
    if request.token.len() != 64 {
        return Err(bad_token());
    }
    let consumed = one_time::consume_registration(&mut app.bus.redis(), &request.token).await;
    let host = consumed
        .map_err(Error::unavailable)?
        .ok_or_else(bad_token)?;
    let leaf = app
        .ca
        .sign_host(&csr, host, &request.address)
        .map_err(Error::internal)?;
    let facts = HostFacts {
        address: &request.address,
        arch: &request.arch,
        cpu_cores: i32::try_from(request.cpu_cores).unwrap_or(i32::MAX),
        memory_mb: i64::try_from(request.memory_mb).unwrap_or(i64::MAX),
        disk_gb: i64::try_from(request.disk_gb).unwrap_or(i64::MAX),
        agent_version: &request.agent_version,
    };
    let mut tx = app.db.begin().await.map_err(DbError::from)?;
    let version = host_register(&mut tx, host, &facts)
        .await?
        .ok_or_else(bad_token)?;
    host_registration_use(&mut *tx, host).await?;
    let (_, refresh_token) = store(&mut tx, host, &leaf, Uuid::now_v7()).await?;
    tx.commit().await.map_err(DbError::from)?;
    tracing::info!(host_id = %host, address = %request.address, "a host registered");
    issued(app, host, version, leaf, refresh_token).await
}

/// Pins the leaf and stores a new refresh token.
async fn store(
    tx: &mut PgConnection,
    host: HostId,
    leaf: &HostLeaf,
    family: Uuid,
) -> Result<(Uuid, String)> {
    let text = random_hex(32).map_err(Error::internal)?;
    let token = NewRefreshToken {
        id: Uuid::now_v7(),
        host,
        family,
        hash: sha256(text.as_bytes()),
    };
    host_certificate_set(
        &mut *tx,
        host,
        &Certificate {
            fingerprint: leaf.fingerprint,
        },
    )
    .await?;
    refresh_token_insert(&mut *tx, &token).await?;
    Ok((token.id, text))
}

async fn issued(
    app: &App,
    host: HostId,
    version: i32,
    leaf: HostLeaf,
    refresh_token: String,
) -> Result<Issued> {
    let token = app.host_tokens.issue(host, version);
    Ok(Issued {
        host: host_get(&app.db, host).await?.ok_or_else(bad_token)?,
        token: token.map_err(Error::internal)?,
        refresh_token,
        cert_pem: leaf.cert_pem,
    })
}

/// Rotates a host's credentials. The new pair is issued while the old token stays good until the new one
/// is used; a token whose successor was used, or that was replaced, ends its whole family.
///
/// # Errors
/// Bad fields, bad token, or a service is down.
pub(crate) async fn refresh(app: &App, request: &RefreshHost) -> Result<Issued> {
    let csr = parse_request(&request.csr_pem)?;
    if let Some(address) = &request.address {
        grammar::host_address("address", address)?;
    }
    let mut tx = app.db.begin().await.map_err(DbError::from)?;
    let hash = sha256(request.refresh_token.as_bytes());
    let known = refresh_token_by_hash(&mut tx, &hash)
        .await?
        .ok_or_else(bad_token)?;
    let host = HostId::from_uuid(known.host_id);
    if !known.live {
        return Err(bad_token());
    }
    if known.revoked || known.successor_used {
        reused(app, tx, host, known.family).await?;
        return Err(bad_token());
    }
    let proof = host_proof(&mut *tx, host).await?.ok_or_else(bad_token)?;
    refresh_token_use(&mut *tx, known.id).await?;
    if let Some(address) = &request.address {
        host_set_address(&mut *tx, host, address).await?;
    }
    let address = match &request.address {
        Some(address) => address.clone(),
        None => host_get(&mut *tx, host)
            .await?
            .and_then(|row| row.address)
            .ok_or_else(bad_token)?,
    };
    let leaf = app
        .ca
        .sign_host(&csr, host, &address)
        .map_err(Error::internal)?;
    let (successor, text) = store(&mut tx, host, &leaf, known.family).await?;
    refresh_token_set_successor(&mut tx, known.id, successor).await?;
    tx.commit().await.map_err(DbError::from)?;
    app.checkpoint("host.refreshed").await;
    issued(app, host, proof.token_version, leaf, text).await
}

/// Somebody else may have the family's tokens: all that the host proved itself with is void, and it must register
/// anew. Tokens of a family that was dead already change nothing, so that an old one cannot end a new registration.
async fn reused(
    app: &App,
    mut tx: Transaction<'_, Postgres>,
    host: HostId,
    family: Uuid,
) -> Result<()> {
    if !refresh_family_revoke(&mut *tx, family).await? {
        return Ok(());
    }
    let (actor, reuse) = (AuditActor::Host, AuditAction::CredentialReuse);
    audit_host(&mut *tx, host, actor, reuse, AuditStatus::Error).await?;
    let missing = void::credentials(&mut tx, host).await?.unwrap_or_default();
    tx.commit().await.map_err(DbError::from)?;
    tracing::error!(host_id = %host, "a spent refresh token was presented; the host must register anew");
    for id in missing {
        app.bus.sandbox_changed(id);
    }
    Ok(())
}

/// Takes a sign of life.
///
/// # Errors
/// The host is deleted, or the database is away.
pub(crate) async fn heartbeat(app: &Arc<App>, host: HostId, beat: &Heartbeat) -> Result<()> {
    if let Some(version) = &beat.agent_version {
        grammar::label("agent_version", version)?;
    }
    let version = beat.agent_version.as_deref();
    let mut tx = app.db.begin().await.map_err(DbError::from)?;
    let (before, now) = host_heartbeat(&mut *tx, host, version, beat.going_down)
        .await?
        .ok_or_else(|| Error::not_found("host"))?;
    let action = match (before.as_str(), now.as_str()) {
        ("unreachable" | "offline", "online") => Some(AuditAction::MarkedUp),
        ("online" | "unreachable", "offline") => Some(AuditAction::MarkedDown),
        _ => None,
    };
    if let Some(action) = action {
        audit_host(
            &mut *tx,
            host,
            AuditActor::Host,
            action,
            AuditStatus::Success,
        )
        .await?;
    }
    tx.commit().await.map_err(DbError::from)?;
    if before != now {
        tracing::info!(host_id = %host, from = before, to = now, "host status");
        if now == "online" {
            ops_wake_host(&app.db, host).await?;
            app.bus.ops_changed();
            app.host_up.announce();
        }
    }
    Ok(())
}

/// The hosts that somebody may see, newest first.
///
/// # Errors
/// The database is away.
pub(crate) async fn list(app: &App, seen: HostsSeen) -> Result<Vec<HostRow>> {
    let team = match seen {
        HostsSeen::All => None,
        HostsSeen::OfTeam(team) => Some(team),
    };
    Ok(host_list(&app.db, team).await?)
}

/// One of the hosts that somebody may see; unknown and foreign are one 404.
///
/// # Errors
/// `not_found`, or the database is away.
pub(crate) async fn get(app: &App, seen: HostsSeen, id: HostId) -> Result<HostRow> {
    let row = host_get(&app.db, id).await?;
    let row = row.filter(|row| match seen {
        HostsSeen::All => true,
        HostsSeen::OfTeam(team) => row.team_id == Some(team.as_uuid()),
    });
    row.ok_or_else(|| Error::not_found(format_args!("host {id}")))
}
