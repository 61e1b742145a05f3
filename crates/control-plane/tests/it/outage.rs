//! PostgreSQL and Redis killed under a running replica.

use std::time::{Duration, Instant};

use serde_json::json;
use wrenn_testkit::{
    control_plane::{Options, World, eventually},
    postgres::Postgres,
    simulated_agent::Capacity,
};

use crate::setup::Setup;

#[tokio::test]
async fn without_postgresql_requests_get_503_and_recover_by_themselves() {
    let postgres = Postgres::start().unwrap();
    let world = World::on(&postgres).await.unwrap();
    let replica = world.replica(Options::default()).unwrap();
    let agent = world.agent(&replica, Capacity::default()).await.unwrap();
    let client = world.client(&replica);
    let sandbox = client.create().await;

    postgres.kill();
    for path in [
        "/v1/sandboxes".to_owned(),
        format!("/v1/sandboxes/{}", sandbox.id),
    ] {
        let begun = Instant::now();
        let answer = client.get(&path).await;
        assert_eq!(
            (answer.status, answer.code()),
            (503, "unavailable"),
            "{answer:?}"
        );
        assert_eq!(answer.header("retry-after"), "2");
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{:?}",
            begun.elapsed()
        );
    }
    assert_eq!(client.post("/v1/sandboxes", json!({})).await.status, 503);
    let ready = client.get("/readyz").await;
    assert_eq!(
        (ready.status, &ready.json["checks"]["database"]),
        (503, &json!("failed"))
    );
    assert_eq!(client.get("/healthz").await.status, 200);
    // Nothing changed on the host.
    assert_eq!(agent.census().len(), 1);

    postgres.restart().unwrap();
    eventually("requests are served", async || {
        client.get("/readyz").await.status == 200
    })
    .await
    .unwrap();
    let exec = client
        .post(
            &format!("/v1/sandboxes/{}/exec", sandbox.id),
            json!({ "cmd": "true" }),
        )
        .await;
    assert_eq!(exec.status, 200, "{exec:?}");
    client.create().await;
}

#[tokio::test]
async fn without_redis_sandboxes_are_created_used_and_destroyed() {
    let setup = Setup::new().await;
    setup.world.redis.kill();
    let begun = Instant::now();
    let sandbox = setup.client.create().await;
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
    let path = format!("/v1/sandboxes/{}", sandbox.id);
    let exec = setup
        .client
        .post(&format!("{path}/exec"), json!({ "cmd": "true" }))
        .await;
    assert_eq!(exec.json["exit_code"], 0, "{exec:?}");
    assert_eq!(setup.client.delete(&path).await.status, 204);
    assert_eq!(setup.census().await, (0, 0));
    let ready = setup.client.get("/readyz").await;
    assert_eq!(
        (ready.status, &ready.json["checks"]["redis"]),
        (503, &json!("failed"))
    );
    setup.world.redis.restart().unwrap();
    eventually("Redis is back", async || {
        setup.client.get("/readyz").await.status == 200
    })
    .await
    .unwrap();
    setup.world.registration_token().await.unwrap();
}
