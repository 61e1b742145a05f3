//! From rows to wire types.

use wrenn_api::{
    OnIdle, Role, Sandbox, Template, Time,
    admin::{AdminTeam, AdminUser, UserStatus},
    api_key::ApiKey,
    audit::{AuditAction, AuditActor, AuditItem, AuditResource, AuditScope, AuditStatus},
    host::{Host, HostUsage},
    team::{Member, Quota, QuotaLimits, QuotaUsed, Team},
};
use wrenn_database::{
    AdminTeamRow, AdminUserRow, ApiKeyRow, AuditRow, HostRow, MemberRow, QuotaUse, SandboxRow,
    TeamQuota, TeamRow, TemplateView,
};
use wrenn_ids::{AuditId, HostId, KeyId, TeamId, TemplateId, UserId};

use crate::app::{HostsSeen, TeamActor};

/// The database holds milliseconds of `timestamptz`, which ends before what a [`Time`] can hold.
fn time(milliseconds: i64) -> Time {
    Time::from_unix_ms(milliseconds).expect("a timestamptz within the range of RFC 3339")
}

fn unsigned<T: TryFrom<i64> + Default>(value: i64) -> T {
    T::try_from(value).unwrap_or_default()
}

/// A sandbox as this actor sees it.
pub(super) fn sandbox(row: SandboxRow, actor: &TeamActor) -> Sandbox {
    let host_id = row.host_id().filter(|_| actor.sees_hosts());
    let versions = row.versions.map(|versions| versions.0);
    let mut metadata = row.metadata.0;
    if let Some(versions) = &versions {
        let reserved = [
            ("kernel_version", &versions.kernel_version),
            ("vmm_version", &versions.firecracker_version),
            ("agent_version", &versions.agent_version),
            ("envd_version", &versions.envd_version),
        ];
        metadata.extend(reserved.map(|(key, value)| (key.to_owned(), value.clone())));
    }
    Sandbox {
        id: wrenn_ids::SandboxId::from_uuid(row.id),
        team_id: TeamId::from_uuid(row.team_id),
        status: row.status.wire(),
        reason: row.reason.and_then(|reason| reason.parse().ok()),
        template: row.template_name,
        template_id: wrenn_ids::TemplateId::from_uuid(row.template_id),
        vcpus: unsigned(row.vcpus.into()),
        memory_mb: unsigned(row.memory_mb.into()),
        disk_size_mb: unsigned(row.disk_size_mb.into()),
        timeout_sec: unsigned(row.timeout_sec.into()),
        auto_resume: row.auto_resume,
        public_ports: row
            .public_ports
            .into_iter()
            .map(|port| unsigned(port.into()))
            .collect(),
        on_idle: row.on_idle.parse().unwrap_or(OnIdle::Pause),
        metadata,
        network: row.network.0,
        host_id,
        guest_ip: row.guest_ip,
        host_ip: row.host_ip,
        created_at: time(row.created_at),
        started_at: row.started_at.map(time),
        last_active_at: row.last_active_at.map(time),
        last_updated: time(row.last_updated),
        disk_used_mb: None,
        versions,
    }
}

/// A template as this team sees it.
pub(super) fn template(row: TemplateView) -> Template {
    Template {
        id: TemplateId::from_uuid(row.id),
        name: row.name,
        r#type: row.r#type.parse().expect("the table holds the closed set"),
        vcpus: row.vcpus.map(|vcpus| unsigned(vcpus.into())),
        memory_mb: row.memory_mb.map(|memory| unsigned(memory.into())),
        size_bytes: unsigned(row.size_bytes),
        created_at: time(row.created_at),
        platform: row.team_id == TeamId::ZERO.as_uuid(),
        used_by: unsigned(row.used_by),
        metadata: Some(row.metadata.0).filter(|metadata| !metadata.is_empty()),
    }
}

/// A host as it itself and its team see it: whose it is they know.
pub(super) fn host(row: HostRow) -> Host {
    Host {
        id: HostId::from_uuid(row.id),
        r#type: row.r#type.parse().expect("the table holds the closed set"),
        team_id: row.team_id.map(TeamId::from_uuid),
        team_name: None,
        provider: row.provider,
        availability_zone: row.availability_zone,
        arch: row.arch,
        cpu_cores: row.cpu_cores.map(|cores| unsigned(cores.into())),
        memory_mb: row.memory_mb.map(unsigned),
        disk_gb: row.disk_gb.map(unsigned),
        address: row.address,
        status: row.status.parse().expect("the table holds the closed set"),
        tags: row.tags,
        agent_version: row.agent_version,
        cert_expires_at: row.cert_expires_at.map(time),
        used: HostUsage {
            sandboxes: unsigned(row.sandboxes),
            vcpus: unsigned(row.vcpus_used),
            memory_mb: unsigned(row.memory_mb_used),
            disk_mb: unsigned(row.disk_mb_used),
        },
        last_heartbeat_at: row.last_heartbeat_at.map(time),
        created_by: row.created_by.map_or_else(
            || "system".to_owned(),
            |id| UserId::from_uuid(id).to_string(),
        ),
        created_at: time(row.created_at),
        updated_at: time(row.updated_at),
    }
}

/// A host as this caller sees it.
pub(super) fn host_seen(row: HostRow, seen: HostsSeen) -> Host {
    let team_name = row.team_name.clone().filter(|_| seen == HostsSeen::All);
    Host {
        team_name,
        ..host(row)
    }
}

/// A team.
pub(super) fn team(row: TeamRow) -> Team {
    Team {
        id: TeamId::from_uuid(row.id),
        name: row.name,
        slug: row.slug,
        is_byoc: row.is_byoc,
        created_at: time(row.created_at),
        role: row.role.and_then(|role| role.parse().ok()),
    }
}

/// A person in a team.
pub(super) fn member(row: MemberRow) -> Member {
    Member {
        user_id: UserId::from_uuid(row.user_id),
        name: row.name,
        email: row.email,
        role: row.role.parse().unwrap_or(Role::Member),
        joined_at: time(row.joined_at),
    }
}

fn limits([sandboxes, vcpus, memory_mb, disk_mb]: [i32; 4]) -> QuotaLimits {
    QuotaLimits {
        max_sandboxes: unsigned(sandboxes.into()),
        max_vcpus: unsigned(vcpus.into()),
        max_memory_mb: unsigned(memory_mb.into()),
        max_disk_mb: unsigned(disk_mb.into()),
    }
}

/// What a team may have beside what it has.
pub(super) fn quota(quota: TeamQuota, used: QuotaUse) -> Quota {
    let may = [
        quota.max_sandboxes,
        quota.max_vcpus,
        quota.max_memory_mb,
        quota.max_disk_mb,
    ];
    Quota {
        limits: limits(may),
        used: QuotaUsed {
            sandboxes: unsigned(used.sandboxes),
            vcpus: unsigned(used.vcpus),
            memory_mb: unsigned(used.memory_mb),
            disk_mb: unsigned(used.disk_mb),
        },
    }
}

/// A key, without its text.
pub(super) fn api_key(row: ApiKeyRow) -> ApiKey {
    ApiKey {
        id: KeyId::from_uuid(row.id),
        team_id: TeamId::from_uuid(row.team_id),
        name: row.name,
        key_prefix: row.key_prefix,
        created_by: row.created_by.map_or_else(
            || "system".to_owned(),
            |id| UserId::from_uuid(id).to_string(),
        ),
        creator_email: row.creator_email,
        created_at: time(row.created_at),
        last_used: row.last_used_at.map(time),
        key: None,
    }
}

/// A row of the audit log.
pub(super) fn audit(row: AuditRow) -> AuditItem {
    const CLOSED: &str = "the table holds the closed set";
    AuditItem {
        id: AuditId::from_uuid(row.id),
        actor_type: row.actor_type.parse::<AuditActor>().expect(CLOSED),
        actor_id: row.actor_id,
        actor_name: row.actor_name,
        resource_type: row.resource_type.parse::<AuditResource>().expect(CLOSED),
        resource_id: row.resource_id,
        action: row.action.parse::<AuditAction>().expect(CLOSED),
        scope: row.scope.parse::<AuditScope>().expect(CLOSED),
        status: row.status.parse::<AuditStatus>().expect(CLOSED),
        metadata: row.metadata.0,
        created_at: time(row.created_at),
    }
}

/// A team, as administrators see it.
pub(super) fn admin_team(row: AdminTeamRow) -> AdminTeam {
    let may = [
        row.max_sandboxes,
        row.max_vcpus,
        row.max_memory_mb,
        row.max_disk_mb,
    ];
    AdminTeam {
        id: TeamId::from_uuid(row.id),
        name: row.name,
        slug: row.slug,
        is_byoc: row.is_byoc,
        owner_email: row.owner_email,
        members: unsigned(row.members),
        sandboxes: unsigned(row.sandboxes),
        limits: limits(may),
        created_at: time(row.created_at),
    }
}

/// A person, as administrators see them.
pub(super) fn admin_user(row: AdminUserRow) -> AdminUser {
    AdminUser {
        id: UserId::from_uuid(row.id),
        email: row.email,
        name: row.name,
        status: row.status.parse().unwrap_or(UserStatus::Disabled),
        is_admin: row.is_admin,
        permissions: row
            .permissions
            .iter()
            .filter_map(|part| part.parse().ok())
            .collect(),
        teams: unsigned(row.teams),
        created_at: time(row.created_at),
    }
}
