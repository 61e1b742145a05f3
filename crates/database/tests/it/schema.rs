//! Migrations, constraints, and the removal of what has served its time.

use wrenn_database::{
    Error, connect_lazy, host_tokens_prune, idempotency_prune, migrate, migration_state,
    migrations_pending, platform_team_exists, sandboxes_prune, template_resolve,
};
use wrenn_ids::{TeamId, TemplateId};
use wrenn_testkit::postgres::Postgres;

use crate::{database, execute};

#[tokio::test]
async fn two_replicas_migrate_an_empty_database_at_once() {
    let url = Postgres::shared().empty_database().await.unwrap();
    let (one, two) = (
        connect_lazy(&url, 2).unwrap(),
        connect_lazy(&url, 2).unwrap(),
    );
    let all = migrations_pending(&one).await.unwrap();
    assert_eq!(all, migration_state(&one).await.unwrap().len());
    let (first, second) = tokio::join!(migrate(&one, None), migrate(&two, None));
    first.unwrap();
    second.unwrap();
    assert_eq!(migrations_pending(&one).await.unwrap(), 0);
    migrate(&one, None).await.unwrap();
    assert!(platform_team_exists(&one).await.unwrap());
    let minimal = template_resolve(&one, TeamId::new(), "minimal")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(minimal.id(), TemplateId::ZERO);
}

#[tokio::test]
async fn one_migration_can_be_applied_at_a_time() {
    let url = Postgres::shared().empty_database().await.unwrap();
    let db = connect_lazy(&url, 1).unwrap();
    migrate(&db, Some(1)).await.unwrap();
    let applied: Vec<_> = migration_state(&db)
        .await
        .unwrap()
        .into_iter()
        .map(|migration| migration.applied)
        .collect();
    assert!(applied[0] && !applied[1]);
}

fn violates<T: std::fmt::Debug>(outcome: Result<T, Error>, constraint: &str) {
    match outcome {
        Err(Error::Duplicate {
            constraint: name, ..
        }) => assert_eq!(name, constraint),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_team_has_one_owner_and_a_person_one_default_team() {
    let db = database().await;
    execute(
        &db,
        "WITH u AS (INSERT INTO users (id, email, name, status)
             SELECT gen_random_uuid(), n || '@x', n, 'active' FROM unnest(ARRAY['a', 'b']) n
             RETURNING id, name),
         t AS (INSERT INTO teams (id, name, slug) VALUES (gen_random_uuid(), 't', 's') RETURNING id)
         INSERT INTO users_teams (team_id, user_id, role, is_default)
         SELECT t.id, u.id, 'owner', true FROM t, u WHERE u.name = 'a'",
    )
    .await
    .unwrap();
    let second_owner = "INSERT INTO users_teams (team_id, user_id, role)
         SELECT t.id, u.id, 'owner' FROM teams t, users u WHERE t.slug = 's' AND u.name = 'b'";
    violates(execute(&db, second_owner).await, "users_teams_owner");
    let second_default = "WITH t AS (INSERT INTO teams (id, name, slug)
             VALUES (gen_random_uuid(), 'u', 'v') RETURNING id)
         INSERT INTO users_teams (team_id, user_id, role, is_default)
         SELECT t.id, u.id, 'member', true FROM t, users u WHERE u.name = 'a'";
    violates(execute(&db, second_default).await, "users_teams_default");
    let same_address = "INSERT INTO users (id, email, name, status)
         VALUES (gen_random_uuid(), 'A@x', 'c', 'active')";
    violates(execute(&db, same_address).await, "users_email");
}

#[tokio::test]
async fn platform_template_names_are_reserved_both_ways() {
    let db = database().await;
    execute(
        &db,
        "INSERT INTO teams (id, name, slug) VALUES (gen_random_uuid(), 't', 's')",
    )
    .await
    .unwrap();
    let of_team = "INSERT INTO templates (id, team_id, name, type, status, disk_size_mb)
         SELECT gen_random_uuid(), id, 'minimal', 'base', 'ready', 1024 FROM teams WHERE slug = 's'";
    violates(execute(&db, of_team).await, "templates_reserved_name");
    execute(
        &db,
        "INSERT INTO templates (id, team_id, name, type, status, disk_size_mb)
         SELECT gen_random_uuid(), id, 'own', 'base', 'ready', 1024 FROM teams WHERE slug = 's'",
    )
    .await
    .unwrap();
    let of_platform = "INSERT INTO templates (id, team_id, name, type, status, disk_size_mb)
         SELECT gen_random_uuid(), id, 'own', 'base', 'ready', 1024 FROM teams WHERE name = 'platform'";
    violates(execute(&db, of_platform).await, "templates_reserved_name");
}

#[tokio::test]
async fn a_byoc_host_has_a_team_and_no_other_has() {
    let db = database().await;
    let orphan = "INSERT INTO hosts (id, type) VALUES (gen_random_uuid(), 'byoc')";
    assert!(matches!(
        execute(&db, orphan).await,
        Err(Error::Statement(_))
    ));
    let odd = "INSERT INTO hosts (id, type, status) VALUES (gen_random_uuid(), 'regular', 'odd')";
    assert!(matches!(execute(&db, odd).await, Err(Error::Statement(_))));
}

#[tokio::test]
async fn only_what_has_served_its_time_is_removed() {
    let db = database().await;
    execute(
        &db,
        "INSERT INTO idempotency_keys (team_id, route, key, body_hash, expires_at)
         SELECT id, 'r', k, '', now() + (k || ' minutes')::interval
         FROM teams, unnest(ARRAY['-1', '1']) k",
    )
    .await
    .unwrap();
    assert_eq!(idempotency_prune(&db).await.unwrap(), 1);
    execute(
        &db,
        "INSERT INTO sandboxes (id, team_id, template_id, template_name, template_team_id, status,
             status_changed_at, vcpus, memory_mb, disk_size_mb, created_by_type, created_by)
         SELECT gen_random_uuid(), t.id, t.id, 'minimal', t.id, s,
                now() - (d || ' days')::interval, 1, 512, 1024, 'system', t.id
         FROM teams t, unnest(ARRAY['running', 'stopped', 'error']) s, unnest(ARRAY['29', '31']) d",
    )
    .await
    .unwrap();
    assert_eq!(sandboxes_prune(&db).await.unwrap(), 2);
    execute(
        &db,
        "WITH h AS (INSERT INTO hosts (id, type) VALUES (gen_random_uuid(), 'regular') RETURNING id)
         INSERT INTO host_refresh_tokens (id, host_id, family, token_hash, expires_at)
         SELECT gen_random_uuid(), h.id, h.id, sha256(d::bytea), now() - (d || ' days')::interval
         FROM h, unnest(ARRAY['6', '8']) d",
    )
    .await
    .unwrap();
    assert_eq!(host_tokens_prune(&db).await.unwrap(), 1);
}
