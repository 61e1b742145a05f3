//! The database as a whole: what a backup of it, and its replacement by one, need to know.

use sqlx::{PgExecutor, PgPool};

use crate::{APPLICATION, Result};

/// What a script that replaces everything begins with: it does so in one transaction, which waits for nobody for
/// long. The schema is as PostgreSQL makes it.
pub const REPLACE_BEGIN: &str = "\
BEGIN;
SET LOCAL lock_timeout = '10s';
SET LOCAL client_min_messages = 'warning';
DROP SCHEMA public CASCADE;
CREATE SCHEMA public;
ALTER SCHEMA public OWNER TO pg_database_owner;
GRANT USAGE ON SCHEMA public TO PUBLIC;
";

/// And what it ends with; without it nothing was done.
pub const REPLACE_END: &str = "\nCOMMIT;\n";

/// The server's major version.
///
/// # Errors
/// The database is away.
pub async fn server_major(executor: impl PgExecutor<'_>) -> Result<i32> {
    let number = "SELECT current_setting('server_version_num')::integer / 10000";
    Ok(sqlx::query_scalar(number).fetch_one(executor).await?)
}

/// Connections of control planes to this database.
///
/// # Errors
/// The database is away.
pub async fn replicas_connected(executor: impl PgExecutor<'_>) -> Result<i64> {
    Ok(sqlx::query_scalar(
        "SELECT count(*) FROM pg_stat_activity
         WHERE datname = current_database() AND application_name = $1 AND pid <> pg_backend_pid()",
    )
    .bind(APPLICATION)
    .fetch_one(executor)
    .await?)
}

/// Number of the newest migration that the database has; 0 for an empty one.
///
/// # Errors
/// The database is away.
pub async fn schema_version(pool: &PgPool) -> Result<i64> {
    let exists = "SELECT to_regclass('_sqlx_migrations') IS NOT NULL";
    if !sqlx::query_scalar(exists).fetch_one(pool).await? {
        return Ok(0);
    }
    let newest = "SELECT coalesce(max(version), 0) FROM _sqlx_migrations WHERE success";
    Ok(sqlx::query_scalar(newest).fetch_one(pool).await?)
}
