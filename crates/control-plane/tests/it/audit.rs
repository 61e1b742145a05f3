//! What is done is written down: before it happens, once, with who did it and what came of it.

use std::time::Duration;

use serde_json::{Value, json};
use wrenn_testkit::{
    control_plane::{Options, eventually, hold_at},
    simulated_agent::{Capacity, Fault},
};

use crate::setup::Setup;

/// Completed rows as `actor resource action status`, oldest first, with the thing and the facts.
async fn rows(db: &wrenn_database::PgPool) -> Vec<(String, Option<String>, Value)> {
    sqlx::query_as(
        "SELECT concat_ws(' ', actor_type, resource_type, action, scope, status), resource_id, metadata
         FROM audit_logs WHERE completed_at IS NOT NULL ORDER BY created_at, id",
    )
    .fetch_all(db)
    .await
    .unwrap()
}

async fn settled(
    db: &wrenn_database::PgPool,
    count: usize,
) -> Vec<(String, Option<String>, Value)> {
    eventually("every row is completed", async || {
        let open = "SELECT count(*) FROM audit_logs WHERE completed_at IS NULL";
        let open: i64 = sqlx::query_scalar(open).fetch_one(db).await.unwrap();
        open == 0 && rows(db).await.len() >= count
    })
    .await
    .unwrap();
    rows(db).await
}

#[tokio::test]
async fn each_change_leaves_one_row_and_a_read_leaves_none() {
    let setup = Setup::new().await;
    // The host's registration is one too.
    let before = settled(&setup.world.db, 1).await;
    assert_eq!(before[0].0, "host host registered admin success");
    assert_eq!(before[0].1, Some(setup.agent.host_id().to_string()));

    let sandbox = setup.client.create().await;
    let path = format!("/v1/sandboxes/{}", sandbox.id);
    setup.client.get(&path).await;
    setup.client.get("/v1/sandboxes").await;
    assert_eq!(
        setup
            .client
            .post(&format!("{path}/pause"), json!({}))
            .await
            .status,
        200
    );
    assert_eq!(
        setup
            .client
            .post(&format!("{path}/resume"), json!({}))
            .await
            .status,
        200
    );
    let bad = setup
        .client
        .post("/v1/sandboxes", json!({ "vcpus": 99 }))
        .await;
    assert_eq!(bad.status, 400);
    assert_eq!(setup.client.delete(&path).await.status, 204);

    let rows = settled(&setup.world.db, 6).await;
    let texts: Vec<_> = rows[1..].iter().map(|row| row.0.as_str()).collect();
    assert_eq!(
        texts,
        [
            "api_key sandbox create team success",
            "api_key sandbox pause team success",
            "api_key sandbox resume team success",
            "api_key sandbox create team error",
            "api_key sandbox destroy team success",
        ]
    );
    for (index, row) in rows[1..].iter().enumerate() {
        let id = (index != 3).then(|| sandbox.id.to_string());
        assert_eq!(row.1, id, "{row:?}");
    }
    assert_eq!(
        rows[4].2,
        json!({ "phase": "completed", "http_status": "400", "code": "invalid_request" })
    );
    let of_team: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM audit_logs WHERE team_id = $1 AND actor_name IS NOT NULL
             AND actor_id LIKE 'key-%' AND request_id <> ''",
    )
    .bind(setup.world.team.as_uuid())
    .fetch_one(&setup.world.db)
    .await
    .unwrap();
    assert_eq!(of_team, 5);
}

#[tokio::test]
async fn refused_credentials_leave_no_row() {
    let setup = Setup::new().await;
    let before = settled(&setup.world.db, 1).await.len();
    let nobody = wrenn_testkit::client::Client::new(setup.replica.base_url(), None);
    for _ in 0..3 {
        assert_eq!(nobody.post("/v1/sandboxes", json!({})).await.status, 401);
    }
    assert_eq!(rows(&setup.world.db).await.len(), before);
}

#[tokio::test]
async fn what_cannot_be_written_down_is_not_done() {
    let setup = Setup::new().await;
    let rename = async |statement: &'static str| {
        sqlx::query(statement)
            .execute(&setup.world.db)
            .await
            .unwrap();
    };
    rename("ALTER TABLE audit_logs RENAME TO audit_logs_away").await;
    let refused = setup.client.post("/v1/sandboxes", json!({})).await;
    assert_eq!((refused.status, refused.code()), (503, "unavailable"));
    assert_eq!(setup.census().await, (0, 0));
    rename("ALTER TABLE audit_logs_away RENAME TO audit_logs").await;
    setup.client.create().await;
}

#[tokio::test]
async fn a_kill_between_the_record_an_action_and_its_end_leaves_a_row_that_says_unknown() {
    for (point, made) in [("audit.started", 0), ("audit.before_completion", 1)] {
        killed_at(point, made).await;
    }
}

/// A replica dies at `point` of a create, by which so many sandboxes are made.
async fn killed_at(point: &'static str, made: i64) {
    let (checkpoint, reached) = hold_at(point);
    let world = wrenn_testkit::control_plane::World::new().await.unwrap();
    let first = world.replica(Options::default()).unwrap();
    let _agent = world.agent(&first, Capacity::default()).await.unwrap();
    let options = Options {
        checkpoint: Some(checkpoint),
        ..Options::default()
    };
    let second = world.replica(options).unwrap();
    let client = world.client(&second);
    let caller = tokio::spawn(async move {
        let request = client.request(reqwest::Method::POST, "/v1/sandboxes");
        request.json(&json!({})).send().await
    });
    reached.notified().await;
    second.kill();
    caller.abort();
    let sandboxes: i64 = sqlx::query_scalar("SELECT count(*) FROM sandboxes")
        .fetch_one(&world.db)
        .await
        .unwrap();
    assert_eq!(sandboxes, made, "{point}");
    let started: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM audit_logs WHERE action = 'create' AND status = 'info'
             AND metadata = '{\"phase\": \"started\"}'",
    )
    .fetch_one(&world.db)
    .await
    .unwrap();
    assert_eq!(started, 1, "{point}");
    // Ten minutes pass: the table itself lets nobody say so.
    for statement in [
        "ALTER TABLE audit_logs DISABLE TRIGGER audit_logs_keep",
        "UPDATE audit_logs SET created_at = created_at - interval '11 minutes'",
        "ALTER TABLE audit_logs ENABLE TRIGGER audit_logs_keep",
    ] {
        sqlx::query(statement).execute(&world.db).await.unwrap();
    }
    first.kill();
    let _third = world.replica(Options::default()).unwrap();
    eventually("the row says unknown", async || {
        let unknown = "SELECT count(*) FROM audit_logs WHERE action = 'create'
             AND status = 'warning' AND metadata ->> 'phase' = 'unknown'";
        let unknown: i64 = sqlx::query_scalar(unknown)
            .fetch_one(&world.db)
            .await
            .unwrap();
        unknown == 1
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_client_that_hangs_up_changes_nothing_about_the_record() {
    let setup = Setup::new().await;
    setup
        .agent
        .faults()
        .set("CreateSandbox", Fault::Delay(Duration::from_millis(500)), 1);
    let request = setup
        .client
        .request(reqwest::Method::POST, "/v1/sandboxes")
        .json(&json!({}));
    let gone = tokio::time::timeout(Duration::from_millis(100), request.send()).await;
    assert!(gone.is_err(), "it was answered before the client went away");
    let rows = settled(&setup.world.db, 2).await;
    assert_eq!(rows[1].0, "api_key sandbox create team success");
}
