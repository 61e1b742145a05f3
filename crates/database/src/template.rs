//! Templates and which hosts hold them.

use std::collections::BTreeMap;

use sqlx::{FromRow, PgConnection, PgExecutor, types::Json};
use uuid::Uuid;
use wrenn_ids::{HostId, TeamId, TemplateId};

use crate::Result;

/// A template.
#[derive(Debug, Clone, FromRow)]
pub struct TemplateRow {
    /// Identity.
    pub id: Uuid,
    /// Owner.
    pub team_id: Uuid,
    /// What people call it.
    pub name: String,
    /// Baked virtual CPUs of a snapshot.
    pub vcpus: Option<i32>,
    /// Baked memory of a snapshot in MiB.
    pub memory_mb: Option<i32>,
    /// Least disk of its sandboxes in MiB.
    pub disk_size_mb: i32,
    /// Bytes on a host.
    pub size_bytes: i64,
    /// User that programs run as.
    pub default_user: String,
    /// What its maker says of it.
    pub metadata: Json<BTreeMap<String, String>>,
}

impl TemplateRow {
    /// Identity.
    #[must_use]
    pub fn id(&self) -> TemplateId {
        TemplateId::from_uuid(self.id)
    }

    /// The labels that a host of its sandboxes must have: `require_tags` of its metadata, comma-separated.
    pub fn require_tags(&self) -> impl Iterator<Item = &str> {
        let tags = self.metadata.0.get("require_tags");
        let tags = tags.map_or("", String::as_str).split(',');
        tags.map(str::trim).filter(|tag| !tag.is_empty())
    }

    /// The processor that it is made for: `arch` of its metadata; `None` where it does not say.
    #[must_use]
    pub fn arch(&self) -> Option<&str> {
        self.metadata.0.get("arch").map(String::as_str)
    }
}

macro_rules! template_columns {
    () => {
        "id, team_id, name, vcpus, memory_mb, disk_size_mb, size_bytes, default_user, metadata"
    };
}

/// The ready template that the team means by a name or an id: its own, or the platform's.
///
/// # Errors
/// The statement fails.
pub async fn template_resolve(
    executor: impl PgExecutor<'_>,
    team: TeamId,
    name_or_id: &str,
) -> Result<Option<TemplateRow>> {
    let id = name_or_id
        .parse::<TemplateId>()
        .ok()
        .map(TemplateId::as_uuid);
    Ok(sqlx::query_as(concat!(
        "SELECT ",
        template_columns!(),
        " FROM templates
         WHERE status = 'ready' AND team_id IN ($1, $2) AND (id = $3 OR ($3 IS NULL AND name = $4))
         LIMIT 1"
    ))
    .bind(team.as_uuid())
    .bind(TeamId::ZERO.as_uuid())
    .bind(id)
    .bind(name_or_id)
    .fetch_optional(executor)
    .await?)
}

/// A template by id, whatever its status.
///
/// # Errors
/// The statement fails.
pub async fn template_get(
    executor: impl PgExecutor<'_>,
    id: TemplateId,
) -> Result<Option<TemplateRow>> {
    Ok(sqlx::query_as(concat!(
        "SELECT ",
        template_columns!(),
        " FROM templates WHERE id = $1"
    ))
    .bind(id.as_uuid())
    .fetch_optional(executor)
    .await?)
}

/// A copy that a host reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyRow {
    /// The template.
    pub template_id: TemplateId,
    /// Bytes on the host.
    pub size_bytes: i64,
}

/// Makes the host's ready copies exactly those of its report; templates that are unknown or being deleted are
/// ignored, and so is that a copy is missing which is younger than the question, in microseconds of the database's
/// clock.
///
/// # Errors
/// The statement fails.
pub async fn template_copies_replace(
    connection: &mut PgConnection,
    host: HostId,
    copies: &[CopyRow],
    asked_us: i64,
) -> Result<()> {
    let ids: Vec<Uuid> = copies
        .iter()
        .map(|copy| copy.template_id.as_uuid())
        .collect();
    let sizes: Vec<i64> = copies.iter().map(|copy| copy.size_bytes).collect();
    sqlx::query(
        "INSERT INTO template_copies (template_id, host_id, state, size_bytes)
         SELECT t.id, $1, 'ready', r.size
         FROM unnest($2::uuid[], $3::bigint[]) AS r (id, size) JOIN templates t ON t.id = r.id
         WHERE t.status = 'ready'
         ON CONFLICT (template_id, host_id) DO UPDATE
         SET state = 'ready', size_bytes = excluded.size_bytes
         WHERE template_copies.state <> 'ready'
            OR template_copies.size_bytes <> excluded.size_bytes",
    )
    .bind(host.as_uuid())
    .bind(&ids)
    .bind(&sizes)
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "DELETE FROM template_copies
         WHERE host_id = $1 AND state = 'ready' AND template_id <> ALL($2)
           AND created_at < to_timestamp($3 / 1000000.0)",
    )
    .bind(host.as_uuid())
    .bind(&ids)
    .bind(asked_us)
    .execute(connection)
    .await?;
    Ok(())
}
