//! The schema: embedded migrations, forward only, one replica at a time.
//!
//! The migrator holds an advisory lock while it works; the preceding release must run on the new schema,
//! so migrations only add.

use sqlx::{PgPool, Row, migrate::Migrator};

use crate::Result;

static MIGRATOR: Migrator = sqlx::migrate!("./migrations");

/// One migration and whether the database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationState {
    /// Its number.
    pub version: i64,
    /// What it does.
    pub description: String,
    /// Its SQL.
    pub sql: String,
    /// Whether it has been applied.
    pub applied: bool,
}

/// Applies every migration that is missing, or those up to `target`.
///
/// # Errors
/// The database is away, a migration fails, or an applied one differs from ours.
pub async fn migrate(pool: &PgPool, target: Option<i64>) -> Result<()> {
    match target {
        Some(target) => MIGRATOR.run_to(target, pool).await?,
        None => MIGRATOR.run(pool).await?,
    }
    Ok(())
}

/// Every migration in order.
///
/// # Errors
/// The database is away.
pub async fn migration_state(pool: &PgPool) -> Result<Vec<MigrationState>> {
    let exists: bool = sqlx::query("SELECT to_regclass('_sqlx_migrations') IS NOT NULL AS present")
        .fetch_one(pool)
        .await?
        .try_get("present")?;
    let applied: Vec<i64> = if exists {
        sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success")
            .fetch_all(pool)
            .await?
    } else {
        Vec::new()
    };
    Ok(MIGRATOR
        .iter()
        .map(|migration| MigrationState {
            version: migration.version,
            description: migration.description.to_string(),
            sql: migration.sql.as_str().to_owned(),
            applied: applied.contains(&migration.version),
        })
        .collect())
}

/// How many migrations the database lacks.
///
/// # Errors
/// The database is away.
pub async fn migrations_pending(pool: &PgPool) -> Result<usize> {
    Ok(migration_state(pool)
        .await?
        .iter()
        .filter(|migration| !migration.applied)
        .count())
}
