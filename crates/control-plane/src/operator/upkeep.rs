//! What keeps an installation tidy: sealed values under the newest key, nothing that has served its time.

use uuid::Uuid;
use wrenn_api::audit::AuditAction;
use wrenn_database::{
    AuditFacts, Error as DbError, PgConnection, PgPool, Sealed, audit_anonymise, host_tokens_prune,
    idempotency_prune, mail_prune, sandboxes_prune, sealed_list, sealed_replace, sessions_prune,
    users_purge,
};
use wrenn_ids::SandboxId;

use super::{Result, record};
use crate::{
    app::{mail, sandbox::envs_place},
    background::PURGE_AFTER_DAYS,
    sealing::SealingKeys,
};

/// Values of one statement.
const BATCH: i64 = 500;

/// What was sealed again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resealed {
    /// Values that the newest key sealed now.
    pub done: u64,
    /// Rows whose value no key of the ring opens, and why.
    pub refused: Vec<String>,
}

/// Has the first key of the ring seal every value that another one sealed. What does not open stays as it is.
///
/// # Errors
/// The database is away; what was done until then is done.
pub async fn reseal(db: &PgPool, keys: &SealingKeys) -> Result<Resealed> {
    let mut all = Resealed::default();
    let prefix = keys.prefix();
    for place in Sealed::ALL {
        let mut after = Uuid::nil();
        loop {
            let values = sealed_list(db, place, &prefix, after, BATCH).await?;
            let Some((last, _)) = values.last() else {
                break;
            };
            after = *last;
            for (row, sealed) in values {
                let name = match place {
                    Sealed::SandboxEnvs => envs_place(SandboxId::from_uuid(row)),
                    Sealed::MailLink => mail::place(row),
                };
                match keys.open(&name, &sealed) {
                    Ok(plain) => {
                        let again = keys.seal(&name, &plain)?;
                        let replaced = sealed_replace(db, place, row, &sealed, &again).await?;
                        all.done += u64::from(replaced);
                    }
                    Err(error) => all.refused.push(format!("{name}: {error}")),
                }
            }
        }
    }
    let facts = AuditFacts::from([
        ("resealed".to_owned(), all.done.to_string()),
        ("refused".to_owned(), all.refused.len().to_string()),
    ]);
    record(db, AuditAction::Reseal, facts).await?;
    Ok(all)
}

/// What to do about what has served its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Collect {
    /// Only count it.
    Look,
    /// Remove it.
    Remove,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Idempotency,
    Sandboxes,
    HostTokens,
    Sessions,
    Mail,
    Accounts,
}

/// Kinds in the order in which they go, and what people call them.
const KINDS: [(Kind, &str); 6] = [
    (Kind::Idempotency, "outcomes kept for repeated requests"),
    (Kind::Sandboxes, "sandboxes that ended 30 days ago"),
    (Kind::HostTokens, "spent tokens of hosts"),
    (Kind::Sessions, "ended sessions"),
    (Kind::Mail, "old mail"),
    (Kind::Accounts, "names of accounts deleted 15 days ago"),
];

/// Removes what the background tasks would remove in time, or counts it: what is counted is what these very
/// statements would remove, in a transaction that is given up.
///
/// # Errors
/// The database is away; what was removed until then is removed.
pub async fn collect(db: &PgPool, what: Collect) -> Result<Vec<(&'static str, u64)>> {
    let mut counts = Vec::with_capacity(KINDS.len());
    for (kind, name) in KINDS {
        let mut count = 0;
        let mut tx = db.begin().await.map_err(DbError::from)?;
        loop {
            let removed = remove(&mut tx, kind).await?;
            count += removed;
            if removed == 0 {
                break;
            }
            if what == Collect::Remove {
                tx.commit().await.map_err(DbError::from)?;
                tx = db.begin().await.map_err(DbError::from)?;
            }
        }
        tx.rollback().await.map_err(DbError::from)?;
        counts.push((name, count));
    }
    if what == Collect::Remove {
        let removed: u64 = counts.iter().map(|(_, count)| count).sum();
        let facts = AuditFacts::from([("removed".to_owned(), removed.to_string())]);
        record(db, AuditAction::Collect, facts).await?;
    }
    Ok(counts)
}

/// Removes some of a kind; 0 when nothing is left.
async fn remove(tx: &mut PgConnection, kind: Kind) -> Result<u64> {
    Ok(match kind {
        Kind::Idempotency => idempotency_prune(tx).await?,
        Kind::Sandboxes => sandboxes_prune(tx).await?,
        Kind::HostTokens => host_tokens_prune(tx).await?,
        Kind::Sessions => sessions_prune(tx).await?,
        Kind::Mail => mail_prune(tx).await?,
        Kind::Accounts => {
            let gone = users_purge(tx, PURGE_AFTER_DAYS).await?;
            for user in &gone {
                audit_anonymise(&mut *tx, *user).await?;
            }
            gone.len() as u64
        }
    })
}
