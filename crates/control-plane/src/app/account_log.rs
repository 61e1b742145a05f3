//! What the log is told of accounts beside recorded requests: refused logins, copied tokens, what a return
//! from a provider made or linked.

use wrenn_api::audit::{AuditAction, AuditActor, AuditResource, AuditScope, AuditStatus};
use wrenn_database::{AuditFacts, NewAudit, PgConnection, audit_insert};
use wrenn_ids::{AuditId, TeamId, UserId};

use super::Result;

/// Something that a person did, or that was tried in their name.
#[derive(Debug)]
pub(super) struct Event<'a> {
    pub(super) user: UserId,
    pub(super) name: Option<&'a str>,
    pub(super) action: AuditAction,
    pub(super) status: AuditStatus,
    /// Name and value; never a secret.
    pub(super) fact: (&'a str, String),
    pub(super) request_id: &'a str,
}

/// Writes it into the platform's log.
///
/// # Errors
/// The database is away.
pub(super) async fn write(connection: &mut PgConnection, event: Event<'_>) -> Result<()> {
    let id = event.user.to_string();
    let new = NewAudit {
        id: AuditId::new(),
        team: TeamId::ZERO,
        actor: AuditActor::User,
        actor_id: Some(&id),
        actor_name: event.name,
        resource: AuditResource::User,
        resource_id: Some(&id),
        action: event.action,
        scope: AuditScope::Admin,
        request_id: event.request_id,
    };
    let (name, value) = event.fact;
    let facts = AuditFacts::from([(name.to_owned(), value)]);
    Ok(audit_insert(connection, &new, event.status, &facts).await?)
}
