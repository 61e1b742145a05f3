//! The schema's own promises, on real PostgreSQL.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod audit;
mod leases;
mod schema;

use wrenn_database::PgPool;
use wrenn_testkit::postgres::Postgres;

/// A migrated database of the test's own.
async fn database() -> PgPool {
    let url = Postgres::shared().database().await.unwrap();
    wrenn_database::connect_lazy(&url, 5).unwrap()
}

async fn execute(db: &PgPool, statement: &'static str) -> Result<(), wrenn_database::Error> {
    sqlx::query(statement)
        .execute(db)
        .await
        .map(|_| ())
        .map_err(wrenn_database::Error::from)
}
