//! `wrenn admin backup`, `wrenn admin restore`: everything the database holds, in a file and back.
//!
//! What is on hosts (disks and memory of sandboxes, templates) is not in it, nor are the secrets of the settings.

use std::path::{Path, PathBuf};

use clap::Args;
use secrecy::ExposeSecret;
use wrenn_api::audit::{AuditAction, AuditStatus};
use wrenn_control_plane::{Config, SealingKeys, operator};
use wrenn_database::{
    AuditFacts, PgPool, migrate, migration_state, replicas_connected, schema_version, server_major,
};

use super::failed;
use crate::{
    DONE, Outcome,
    cmd::migrate::connect,
    context::Context,
    error::{CliError, Exit, chain},
    local::{
        backup::{Backup, Header, Writer},
        pg_tools::{Environment, Tools},
    },
};

/// What the text under the encryption key is sealed to, and the text.
const KEY_CHECK: (&str, &[u8]) = ("backup:key", b"wrenn");

#[derive(Debug, Args)]
#[command(
    after_help = "The file holds everything that the database does, for its owner alone to read. Keep WRENN_SECRET,\n\
                  WRENN_ENCRYPTION_KEY and the authority's key apart from it: sealed values open with them only. Disks and\n\
                  memory of sandboxes are on their hosts and not in it. A control plane may run meanwhile.\n\n\
                  Examples:\n  wrenn admin backup /backup/wrenn-$(date +%F)\n  wrenn admin backup before-upgrade.wrenn\n\n\
                  See also: wrenn admin restore"
)]
pub(crate) struct Make {
    /// The file to write; it may not exist
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Replaces everything in the database, in one transaction: a failure changes nothing. Every control plane\n\
                  must be stopped. Passwords, keys and sessions are then as they were: what was revoked since the backup\n\
                  is good again. Sandboxes are brought to what their hosts say.\n\n\
                  Examples:\n  wrenn down && wrenn admin restore /backup/wrenn-2026-01-31 && wrenn up\n  \
                  wrenn admin restore before-upgrade.wrenn --yes\n\nSee also: wrenn admin backup, wrenn migrate"
)]
pub(crate) struct Restore {
    /// A file that `wrenn admin backup` wrote
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

fn database(error: wrenn_database::Error) -> CliError {
    CliError::local(format_args!("ask the database: {}", chain(&error)))
}

async fn tools(db: &PgPool) -> Result<(Tools, i32), CliError> {
    let major = server_major(db).await.map_err(database)?;
    let tools = Tools::find(u32::try_from(major).unwrap_or_default())?;
    Ok((tools, major))
}

/// Writes a backup.
pub(super) async fn make(context: &Context, config: &Config, arguments: &Make) -> Outcome {
    let (url, path) = (config.database_url.expose_secret(), &arguments.file);
    let db = connect(url).await?;
    let (tools, postgres) = tools(&db).await?;
    let (place, text) = KEY_CHECK;
    let now = jiff::Timestamp::now();
    let header = Header {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        schema: schema_version(&db).await.map_err(database)?,
        created_at: now.round(jiff::Unit::Second).unwrap_or(now).to_string(),
        postgres,
        key_check: config
            .sealing
            .seal(place, text)
            .map_err(|error| CliError::local(chain(&error)))?,
    };
    if header.schema == 0 {
        return Err(
            CliError::local("the database is empty: there is nothing to back up")
                .hint("see", "wrenn migrate status"),
        );
    }
    let mut writer = Writer::create(path, &header)?;
    let id = operator::begin(&db, AuditAction::Backup)
        .await
        .map_err(failed)?;
    let dumped = tools.dump(&Environment::of(url)?, &mut writer).await;
    let size = dumped.and_then(|()| writer.finish());
    let (status, facts) = match &size {
        Ok(size) => (
            AuditStatus::Success,
            AuditFacts::from([("bytes".to_owned(), size.to_string())]),
        ),
        Err(_) => (AuditStatus::Error, AuditFacts::new()),
    };
    operator::end(&db, id, status, facts)
        .await
        .map_err(failed)?;
    let size = size?;
    if context.out.is_json() {
        context.out.json(
            &serde_json::json!({ "file": path, "bytes": size, "schema": header.schema, "created_at": header.created_at }),
        )?;
    } else {
        context.out.line(&path.display().to_string())?;
        context.out.note(&format!(
            "{size} bytes, of the database alone; keep the encryption key too"
        ));
    }
    Ok(DONE)
}

/// Puts a backup in the place of what the database holds.
pub(super) async fn restore(context: &Context, config: &Config, arguments: &Restore) -> Outcome {
    let path = &arguments.file;
    // All that can be known beforehand, before anything is touched.
    let backup = Backup::open(path)?;
    opens(&backup.header, &config.sealing)?;
    let question = format!(
        "Replace everything in the database by {} of {}?",
        path.display(),
        backup.header.created_at
    );
    let stakes = "a restore replaces everything in the database";
    context.confirm(&question, stakes)?;
    replace(context, config.database_url.expose_secret(), path, backup).await
}

/// Fails when sealed values of the backup could not be opened.
fn opens(header: &Header, keys: &SealingKeys) -> Result<(), CliError> {
    let (place, text) = KEY_CHECK;
    match keys.open(place, &header.key_check) {
        Ok(opened) if opened == text => Ok(()),
        _ => {
            let key = header.key_check.split(':').nth(1).unwrap_or_default();
            Err(CliError::local(format_args!(
                "the backup was made under the encryption key `{}`, which WRENN_ENCRYPTION_KEY does not have",
                key.escape_default()
            ))
            .hint("add", "that key to WRENN_ENCRYPTION_KEY, after the others"))
        }
    }
}

async fn replace(context: &Context, url: &str, path: &Path, mut backup: Backup) -> Outcome {
    let db = connect(url).await?;
    let known = migration_state(&db).await.map_err(database)?;
    let newest = known.iter().map(|migration| migration.version).max();
    let header = backup.header.clone();
    if Some(header.schema) > newest {
        return Err(CliError::new(
            Exit::Conflict,
            "newer_schema",
            format_args!(
                "{} is of Wrenn {}, which is newer than this one",
                path.display(),
                header.version
            ),
        )
        .hint("use", format_args!("wrenn {} or newer", header.version)));
    }
    let running = replicas_connected(&db).await.map_err(database)?;
    if running > 0 {
        return Err(CliError::new(
            Exit::Conflict,
            "in_use",
            format_args!("a control plane uses the database ({running} connections)"),
        )
        .hint("stop", "wrenn down")
        .hint(
            "or",
            "systemctl stop wrenn-control-plane, on each replica's machine",
        ));
    }
    let (tools, _) = tools(&db).await?;
    // Its tables are about to be other ones.
    db.close().await;
    let replaced = tools.replace(&Environment::of(url)?, backup.dump()?).await;
    replaced.map_err(|error| CliError {
        message: format!("{}; the database is as it was", error.message),
        ..error
    })?;
    let db = connect(url).await?;
    migrate(&db, None).await.map_err(|error| {
        CliError::local(format_args!(
            "the backup is restored, but its schema could not be brought to this version: {}",
            chain(&error)
        ))
        .hint("again", "wrenn migrate up")
    })?;
    let facts = AuditFacts::from([
        ("created_at".to_owned(), header.created_at.clone()),
        ("version".to_owned(), header.version.clone()),
    ]);
    operator::record(&db, AuditAction::Restore, facts)
        .await
        .map_err(failed)?;
    if context.out.is_json() {
        context.out.json(&serde_json::json!({ "file": path, "created_at": header.created_at, "version": header.version }))?;
    } else {
        context.out.note(&format!(
            "Restored to {}. Passwords, keys and sessions are as they were then.\n\n  next  wrenn up\n  or    \
             wrenn admin revoke-sessions ADDRESS",
            header.created_at
        ));
    }
    Ok(DONE)
}
