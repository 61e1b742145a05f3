//! Migrations, rows and every SQL statement of the product.
//!
//! One file a noun; functions are named noun first (`sandbox_get`). Each takes an executor or, where it
//! is part of a larger change, the connection of the caller's transaction. No rule lives here but those
//! that only the database can keep (uniqueness, compare-and-set); decisions are the control plane's.
//!
//! Comparisons of times use the database clock only; times leave as milliseconds since the Unix epoch.

mod administration;
mod api_key;
mod audit;
mod error;
mod host;
mod host_change;
mod host_credential;
mod host_proof;
mod idempotency;
mod mail;
mod member;
mod migrate;
mod oauth_identity;
mod principal;
mod quarantine;
mod sandbox;
mod sandbox_fork;
mod sandbox_op;
mod sandbox_state;
mod sealed;
mod snapshot;
mod stream_proof;
mod team;
mod template;
mod user;
mod user_proof;
mod user_session;
mod whole;

use std::time::Duration;

use sqlx::Connection as _;

pub use administration::{
    ADMIN_PAGE, AdminTeamRow, AdminUserRow, admin_teams, admin_users, team_set_byoc, user_disable,
    user_enable, user_set_admin, user_set_permissions,
};
pub use api_key::{
    ApiKeyRow, KeyActor, api_key_actor, api_key_actor_with_sandbox, api_key_exists, api_key_insert,
    api_key_list, api_key_revoke, api_keys_revoke_of, api_keys_touch,
};
pub use audit::{
    AuditEnd, AuditFacts, AuditFilter, AuditRow, NewAudit, audit_anonymise, audit_complete,
    audit_host, audit_insert, audit_list, audit_sandbox, audit_start, audit_sweep,
};
pub use error::{Error, Result};
pub use host::{
    Candidates, HostFacts, HostRow, HostSync, HostUsageRow, JudgedRow, SAMPLE, Target,
    host_candidates, host_get, host_heartbeat, host_list, host_lock, host_set_address,
    host_sync_commit, host_sync_lock, host_sync_position, host_target, host_usage,
    hosts_mark_unreachable, hosts_online, hosts_ready, sandboxes_to_judge,
};
pub use host_change::{
    HeldRow, HostChange, NewHost, host_change, host_delete, host_insert, host_sandboxes,
    host_tag_remove, host_tags, host_tags_add,
};
pub use host_credential::{
    Certificate, NewRefreshToken, RefreshTokenRow, host_certificate_set, host_register,
    host_registration_insert, host_registration_use, host_revoke, host_tokens_prune,
    refresh_family_revoke, refresh_token_by_hash, refresh_token_insert,
    refresh_token_set_successor, refresh_token_use,
};
pub use host_proof::{HostProof, host_proof};
pub use idempotency::{IdempotentOutcome, idempotency_get, idempotency_insert, idempotency_prune};
pub use mail::{
    MailNews, MailRow, mail_claim, mail_due_in_ms, mail_insert, mail_postpone, mail_prune,
    mail_sent,
};
pub use member::{
    MemberRow, TeamRow, member_candidate, member_delete, member_list, member_set_role,
    team_by_slug, team_count_of_user, team_get, team_list_of_user, team_lock, team_quota,
    team_rename, team_set_quota, teams_leftovers,
};
pub use migrate::{MigrationState, migrate, migration_state, migrations_pending};
pub use oauth_identity::{
    oauth_identity_delete, oauth_identity_insert, oauth_identity_user, oauth_providers_of,
};
pub use principal::{OpActor, Principal};
pub use quarantine::{Quarantined, quarantine_purge, quarantine_replace};
pub use sandbox::{
    Generation, ListFilter, NewSandbox, PolicyChange, ReadyFacts, SandboxRow, sandbox_assign_host,
    sandbox_get, sandbox_get_of_team, sandbox_insert, sandbox_list, sandbox_list_all, sandbox_lock,
    sandbox_ready, sandbox_set_error, sandbox_update_policy, sandboxes_mark_missing,
    sandboxes_prune, sandboxes_touch, transition,
};
pub use sandbox_fork::{Fork, sandboxes_fork, sandboxes_get};
pub use sandbox_op::{
    LEASE_SEC, LiveOp, NewOp, OpKind, OpParams, OpProgress, OpRow, OpState, op_claim, op_finish,
    op_insert, op_live, op_progress, op_release, op_renew, op_set_params, op_set_step,
    op_supersede, ops_live_count, ops_wake_host,
};
pub use sandbox_state::State;
pub use sealed::{Sealed, sealed_list, sealed_replace};
pub use snapshot::{
    TemplateView, snapshot_abandon, snapshot_insert, snapshot_ready, snapshots_abandon_of,
    template_begin_delete, template_copies_to_delete, template_copy_delete, template_find,
    template_forget, template_list, template_restore,
};
pub use sqlx::{
    PgConnection, PgPool, Postgres, Transaction,
    postgres::{PgConnectOptions, PgPoolOptions},
};
pub use stream_proof::{StreamOpener, StreamProof, StreamStanding, streams_standing};
pub use team::{
    Place, QuotaUse, TeamQuota, platform_team_exists, team_brings_hosts, team_default_of_user,
    team_delete, team_insert, team_lock_quota, team_member_insert, team_quota_use, team_role,
    teams_owned_lock,
};
pub use template::{CopyRow, TemplateRow, template_copies_replace, template_get, template_resolve};
pub use user::{
    Account, UserRow, account_by_email, account_get, account_lock, admin_exists, admin_is_last,
    user_activate, user_by_email, user_delete, user_insert, user_insert_inactive, user_rename,
    user_renew_inactive, user_set_password, user_void_inactive_password, user_void_tokens,
    users_purge, users_search,
};
pub use user_proof::{UserProof, user_proof};
pub use user_session::{
    NewSession, SessionListed, SessionRow, session_end, session_insert, session_list,
    session_lock_by_token, session_rotate, session_set_team, sessions_prune,
};
pub use whole::{REPLACE_BEGIN, REPLACE_END, replicas_connected, schema_version, server_major};

/// What the connections of a control plane call themselves.
pub(crate) const APPLICATION: &str = "wrenn";

/// Opens a pool that connects when first used, so that a server starts and answers 503 while PostgreSQL
/// is away. Waiting for a connection ends after 3 s, a statement after 10 s.
///
/// # Errors
/// The URL cannot be parsed.
pub fn connect_lazy(url: &str, max_connections: u32) -> Result<PgPool> {
    let options: PgConnectOptions = url.parse()?;
    Ok(pool(options, max_connections))
}

/// As [`connect_lazy`], from parsed options.
#[must_use]
pub fn pool(options: PgConnectOptions, max_connections: u32) -> PgPool {
    /// A connection that lay still for longer is asked for a sign of life before it is used; asking each time
    /// would cost as much as most statements.
    const STILL: Duration = Duration::from_secs(1);
    let options = options.application_name(APPLICATION).options([
        ("statement_timeout", "10s"),
        ("lock_timeout", "5s"),
        ("idle_in_transaction_session_timeout", "30s"),
    ]);
    PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(Duration::from_secs(3))
        .test_before_acquire(false)
        .before_acquire(|connection, about| {
            Box::pin(async move {
                if about.idle_for > STILL {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .connect_lazy_with(options)
}

/// Whether the database answers.
///
/// # Errors
/// It does not.
pub async fn ping(pool: &PgPool) -> Result<()> {
    sqlx::query("SELECT 1").execute(pool).await?;
    Ok(())
}
