//! `wrenn migrate`: the schema of the database, forward only.

use std::time::Instant;

use clap::{Args, Subcommand};
use secrecy::ExposeSecret;
use wrenn_database::{PgPool, PgPoolOptions, migrate, migration_state};

use super::control_plane::{Flags, load};
use crate::{
    DONE, Outcome,
    context::Context,
    error::{CliError, Exit, chain},
    interruptible,
    out::Table,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Apply every migration that is missing
    Up(Up),
    /// Show which migrations the database has; exit 9 when one is missing
    Status(Status),
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wrenn migrate up\n  DATABASE_URL=postgres://… wrenn migrate up"
)]
pub(crate) struct Up {}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  wrenn migrate status\n  wrenn migrate status --json")]
pub(crate) struct Status {}

/// Runs `command` on the database that the control plane's settings name.
pub(crate) fn run(context: &Context, command: &Command) -> Outcome {
    let config = load(&Flags::default())?;
    interruptible(async {
        let pool = connect(config.database_url.expose_secret()).await?;
        match command {
            Command::Up(_) => up(context, &pool).await,
            Command::Status(_) => status(context, &pool).await,
        }
    })
}

/// A pool of few connections, for commands.
pub(crate) async fn connect(url: &str) -> Result<PgPool, CliError> {
    PgPoolOptions::new()
        .max_connections(2)
        .acquire_timeout(std::time::Duration::from_secs(10))
        .connect(url)
        .await
        .map_err(|error| {
            CliError::new(
                Exit::Unavailable,
                "no_database",
                format_args!("cannot reach the database: {}", chain(&error)),
            )
            .hint("see", "wrenn status")
        })
}

async fn up(context: &Context, pool: &PgPool) -> Outcome {
    let failed =
        |error: wrenn_database::Error| CliError::local(format_args!("migrate: {}", chain(&error)));
    for migration in migration_state(pool)
        .await
        .map_err(failed)?
        .into_iter()
        .filter(|migration| !migration.applied)
    {
        let begun = Instant::now();
        migrate(pool, Some(migration.version))
            .await
            .map_err(failed)?;
        context.out.line(&format!(
            "{:>4}  {}  {} ms",
            migration.version,
            migration.description,
            begun.elapsed().as_millis()
        ))?;
    }
    context
        .out
        .note("The database is at the version of this binary.");
    Ok(DONE)
}

async fn status(context: &Context, pool: &PgPool) -> Outcome {
    let state = migration_state(pool)
        .await
        .map_err(|error| CliError::local(format_args!("read the migrations: {}", chain(&error))))?;
    if context.out.is_json() {
        let rows: Vec<_> = state
            .iter()
            .map(|migration| serde_json::json!({"version": migration.version, "description": migration.description, "applied": migration.applied}))
            .collect();
        context.out.json(&rows)?;
    } else {
        let mut table = Table::new(&["VERSION", "APPLIED", "WHAT"]);
        for migration in &state {
            table.row(vec![
                migration.version.to_string(),
                if migration.applied { "yes" } else { "no" }.to_owned(),
                migration.description.clone(),
            ]);
        }
        context.out.table(&table)?;
    }
    Ok(if state.iter().all(|migration| migration.applied) {
        DONE
    } else {
        Exit::Unhealthy
    })
}
