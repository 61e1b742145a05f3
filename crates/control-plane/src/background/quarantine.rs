//! What a host has and nobody knows: it is stopped there, written down once, and destroyed after a day, or when an
//! operator says so. It may be somebody's: a database that was restored knows less than its hosts.

use wrenn_api::audit::{AuditAction, AuditActor, AuditResource, AuditScope, AuditStatus};
use wrenn_database::{
    AuditFacts, JudgedRow, NewAudit, PgConnection, audit_insert, quarantine_replace,
};
use wrenn_ids::{AuditId, HostId, SandboxId, TeamId};
use wrenn_rpc::hostagent::SandboxState;

use super::{judgement::Reported, orders::Order, report::Report};
use crate::app::Result;

/// Takes over which sandboxes of the report have no row, and answers what has to happen to them.
pub(super) async fn apply(
    tx: &mut PgConnection,
    host: HostId,
    report: &Report,
    rows: &[JudgedRow],
) -> Result<Vec<Order>> {
    let known = |id: &SandboxId| rows.iter().any(|row| row.id == id.as_uuid());
    let unknown: Vec<SandboxId> = report
        .present
        .keys()
        .copied()
        .filter(|id| !known(id))
        .collect();
    metrics::gauge!("wrenn_quarantined_sandboxes", "host" => host.to_string())
        .set(unknown.len() as f64);
    let quarantined = quarantine_replace(tx, host, &unknown).await?;
    for id in &quarantined.new {
        tracing::warn!(sandbox_id = %id, host_id = %host, "a host has a sandbox without a row");
        write_down(tx, host, *id).await?;
    }
    let orders = unknown.into_iter().filter_map(|id| {
        let Some(Reported::Present(state, generation)) = report.present.get(&id).copied() else {
            return None;
        };
        match state {
            _ if quarantined.due.contains(&id) => Some(Order::Destroy(id, generation)),
            SandboxState::Running => Some(Order::Quarantine(id, generation)),
            _ => None,
        }
    });
    Ok(orders.collect())
}

async fn write_down(tx: &mut PgConnection, host: HostId, id: SandboxId) -> Result<()> {
    let sandbox = id.to_string();
    let new = NewAudit {
        id: AuditId::new(),
        team: TeamId::ZERO,
        actor: AuditActor::System,
        actor_id: None,
        actor_name: None,
        resource: AuditResource::Sandbox,
        resource_id: Some(&sandbox),
        action: AuditAction::Pause,
        scope: AuditScope::Admin,
        request_id: "",
    };
    let facts = AuditFacts::from(
        [
            ("phase", "completed".to_owned()),
            ("reason", "unknown".to_owned()),
            ("host_id", host.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    Ok(audit_insert(tx, &new, AuditStatus::Warning, &facts).await?)
}
