//! The log keeps what was written, completes once, and pages without looking at more than it shows.

use wrenn_api::audit::{AuditAction, AuditActor, AuditResource, AuditScope, AuditStatus};
use wrenn_database::{
    AuditEnd, AuditFacts, AuditFilter, NewAudit, PgPool, audit_anonymise, audit_complete,
    audit_insert, audit_list, audit_start, audit_sweep,
};
use wrenn_ids::{AuditId, TeamId, UserId};

use crate::{database, execute};

fn event<'a>(team: TeamId, actor_id: Option<&'a str>) -> NewAudit<'a> {
    NewAudit {
        id: AuditId::new(),
        team,
        actor: AuditActor::User,
        actor_id,
        actor_name: actor_id.map(|_| "Ada"),
        resource: AuditResource::Sandbox,
        resource_id: None,
        action: AuditAction::Create,
        scope: AuditScope::Team,
        request_id: "r",
    }
}

fn end(facts: &AuditFacts) -> AuditEnd<'_> {
    AuditEnd {
        status: AuditStatus::Success,
        facts,
        resource_id: Some("sb-1"),
        actor: Some(("usr-other", "Eve")),
        team: None,
    }
}

async fn all(db: &PgPool) -> Vec<wrenn_database::AuditRow> {
    let filter = AuditFilter {
        limit: 100,
        ..AuditFilter::default()
    };
    audit_list(db, &filter).await.unwrap()
}

#[tokio::test]
async fn a_row_is_completed_once_and_keeps_what_its_start_knew() {
    let db = database().await;
    let (known, unknown) = (
        event(TeamId::new(), Some("usr-1")),
        event(TeamId::ZERO, None),
    );
    audit_start(&db, &known).await.unwrap();
    audit_start(&db, &unknown).await.unwrap();
    let facts = AuditFacts::new();
    assert!(audit_complete(&db, known.id, &end(&facts)).await.unwrap());
    assert!(!audit_complete(&db, known.id, &end(&facts)).await.unwrap());
    let team = TeamId::new();
    let with_team = AuditEnd {
        team: Some(team),
        ..end(&facts)
    };
    assert!(audit_complete(&db, unknown.id, &with_team).await.unwrap());
    let rows = all(&db).await;
    let of = |id: AuditId| rows.iter().find(|row| row.id == id.as_uuid()).unwrap();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    assert_eq!(
        (text(&of(known.id).actor_id), text(&of(known.id).actor_name)),
        ("usr-1".to_owned(), "Ada".to_owned())
    );
    assert_eq!(text(&of(known.id).resource_id), "sb-1");
    assert_eq!(text(&of(unknown.id).actor_name), "Eve");
    let of_team = AuditFilter {
        team: Some(team),
        limit: 10,
        ..AuditFilter::default()
    };
    assert_eq!(audit_list(&db, &of_team).await.unwrap().len(), 1);
}

#[tokio::test]
async fn nothing_but_completion_and_anonymisation_changes_a_row() {
    let db = database().await;
    let user = UserId::new();
    let text = user.to_string();
    audit_insert(
        &db,
        &event(TeamId::new(), Some(&text)),
        AuditStatus::Success,
        &AuditFacts::new(),
    )
    .await
    .unwrap();
    let begun = event(TeamId::new(), Some("usr-1"));
    audit_start(&db, &begun).await.unwrap();
    for refused in [
        "DELETE FROM audit_logs",
        "TRUNCATE audit_logs",
        "UPDATE audit_logs SET status = 'error'",
        "UPDATE audit_logs SET actor_name = 'Eve'",
        "UPDATE audit_logs SET actor_name = 'deleted user', actor_id = 'usr-2'",
        "UPDATE audit_logs SET completed_at = now(), action = 'pause' WHERE completed_at IS NULL",
        "UPDATE audit_logs SET completed_at = now(), actor_id = 'usr-2' WHERE completed_at IS NULL",
        "UPDATE audit_logs SET completed_at = now(), team_id = gen_random_uuid()
         WHERE completed_at IS NULL",
        "UPDATE audit_logs SET completed_at = NULL",
    ] {
        assert!(execute(&db, refused).await.is_err(), "{refused}");
    }
    assert_eq!(audit_anonymise(&db, user).await.unwrap(), 1);
    assert_eq!(audit_anonymise(&db, user).await.unwrap(), 0);
    let rows = all(&db).await;
    let row = rows
        .iter()
        .find(|row| row.actor_id.as_deref() == Some(&text))
        .unwrap();
    assert_eq!(row.actor_name.as_deref(), Some("deleted user"));
}

#[tokio::test]
async fn a_start_without_an_end_says_unknown_after_ten_minutes() {
    let db = database().await;
    let fresh = event(TeamId::new(), Some("usr-1"));
    audit_start(&db, &fresh).await.unwrap();
    execute(
        &db,
        r#"INSERT INTO audit_logs (id, team_id, actor_type, resource_type, action, scope, status,
               metadata, created_at)
           SELECT gen_random_uuid(), gen_random_uuid(), 'user', 'team', 'rename', 'team', 'info',
               '{"phase": "started"}', now() - interval '11 minutes'"#,
    )
    .await
    .unwrap();
    assert_eq!(audit_sweep(&db).await.unwrap(), 1);
    assert_eq!(audit_sweep(&db).await.unwrap(), 0);
    let rows = all(&db).await;
    let phase = |status: &str| {
        let row = rows.iter().find(|row| row.status == status).unwrap();
        row.metadata.0["phase"].clone()
    };
    assert_eq!(
        (phase("warning"), phase("info")),
        ("unknown".to_owned(), "started".to_owned())
    );
}

/// Rows of the log that this transaction has looked at: by walks of the whole table, and by index.
async fn looked_at(tx: &mut wrenn_database::PgConnection) -> (i64, i64) {
    sqlx::query_as(
        "SELECT coalesce(seq_tup_read, 0), coalesce(idx_tup_fetch, 0)
         FROM pg_stat_xact_user_tables WHERE relname = 'audit_logs'",
    )
    .fetch_one(tx)
    .await
    .unwrap()
}

#[tokio::test]
async fn every_page_of_a_hundred_thousand_rows_reads_no_more_than_it_shows() {
    let db = database().await;
    let team = TeamId::new();
    // Many share a millisecond, so that the second half of the cursor is needed.
    sqlx::query(
        "INSERT INTO audit_logs (id, team_id, actor_type, resource_type, action, scope, status,
             completed_at, created_at)
         SELECT gen_random_uuid(), CASE WHEN n % 4 = 0 THEN gen_random_uuid() ELSE $1 END, 'user',
             'sandbox', 'create', CASE WHEN n % 3 = 0 THEN 'admin' ELSE 'team' END, 'success', now(),
             date_trunc('milliseconds', now() - (n / 50) * interval '1 millisecond')
         FROM generate_series(1, 100000) n",
    )
    .bind(team.as_uuid())
    .execute(&db)
    .await
    .unwrap();
    execute(&db, "ANALYZE audit_logs").await.unwrap();
    for (of, scope, expected) in [
        (Some(team), None, 75_000),
        (Some(team), Some(AuditScope::Team), 50_000),
        (None, None, 100_000),
    ] {
        let mut filter = AuditFilter {
            team: of,
            scope,
            limit: 200,
            ..AuditFilter::default()
        };
        let (mut seen, mut tx) = (0, db.begin().await.unwrap());
        loop {
            let before = looked_at(&mut tx).await;
            let page = audit_list(&mut *tx, &filter).await.unwrap();
            let after = looked_at(&mut tx).await;
            let (whole, by_index) = (after.0 - before.0, after.1 - before.1);
            assert_eq!(whole, 0, "the whole table was read");
            // A walk along the rows of all teams may pass by those of others.
            assert!(by_index <= 500, "{by_index} rows for one page");
            seen += page.len();
            let Some(last) = page.last() else { break };
            filter.before = Some(last.created_at);
            filter.before_id = Some(AuditId::from_uuid(last.id));
        }
        assert_eq!(seen, expected);
    }
}
