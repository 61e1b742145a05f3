//! Buckets hold what they promise, whichever replica is asked, and also while Redis is away.

use reqwest::Method;
use serde_json::json;
use wrenn_testkit::{client::Client, control_plane::Options, simulated_agent::Capacity};

use crate::setup::Setup;

fn limits(text: &str) -> Options {
    Options {
        settings: vec![("WRENN_RATE_LIMITS", text.to_owned())],
        ..Options::default()
    }
}

#[tokio::test]
async fn a_bucket_is_the_teams_whichever_replica_is_asked() {
    let rates = "lifecycle=0.001/4,read=0.001/6";
    let setup = Setup::with(limits(rates), Capacity::default()).await;
    let second = setup.world.replica(limits(rates)).unwrap();
    let other = setup.world.client(&second);
    for (client, left) in [
        (&setup.client, "3"),
        (&other, "2"),
        (&setup.client, "1"),
        (&other, "0"),
    ] {
        let answer = client.post("/v1/sandboxes", json!({})).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        assert_eq!(
            (
                answer.header("x-ratelimit-limit"),
                answer.header("x-ratelimit-remaining")
            ),
            ("4", left)
        );
    }
    for client in [&setup.client, &other] {
        let refused = client.post("/v1/sandboxes", json!({})).await;
        assert_eq!((refused.status, refused.code()), (429, "rate_limited"));
        let after: u64 = refused.header("retry-after").parse().unwrap();
        assert!((900..=1000).contains(&after), "{after}");
        let reset: u64 = refused.header("x-ratelimit-reset").parse().unwrap();
        assert!((3900..=4000).contains(&reset), "{reset}");
    }
    assert_eq!(setup.census().await, (4, 4));
    // Reads have a bucket of their own, by who reads; aliases drink from the same.
    for path in [
        "/v1/sandboxes",
        "/api/v1/capsules",
        "/v1/snapshots",
        "/v1/snapshots?type=base",
    ] {
        assert_eq!(setup.client.get(path).await.status, 200, "{path}");
    }
    for left in ["1", "0"] {
        let answer = other.get("/v1/sandboxes").await;
        assert_eq!(answer.header("x-ratelimit-remaining"), left);
    }
    assert_eq!(other.get("/v1/capsules").await.status, 429);
    // What is not limited says nothing of limits.
    let health = other.get("/healthz").await;
    assert_eq!(
        (health.status, health.header("x-ratelimit-limit")),
        (200, "")
    );
}

#[tokio::test]
async fn without_redis_each_replica_limits_by_itself() {
    let setup = Setup::with(limits("read=0.001/2"), Capacity::default()).await;
    setup.world.redis.kill();
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(setup.client.get("/v1/sandboxes").await.status);
    }
    assert_eq!(statuses, [200, 200, 429, 429]);
    // Redis is back, empty: the shared bucket is full.
    setup.world.redis.restart().unwrap();
    wrenn_testkit::control_plane::eventually("Redis counts again", async || {
        setup.client.get("/v1/sandboxes").await.status == 200
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn credentials_are_limited_by_the_address_of_the_client() {
    let setup = Setup::with(limits("credential=0.001/3"), Capacity::default()).await;
    let nobody = Client::new(setup.replica.base_url(), None);
    let register = async |from: &str| {
        let request = nobody
            .request(Method::POST, "/v1/hosts/register")
            .json(&json!({}));
        nobody
            .send(request.header("x-forwarded-for", from))
            .await
            .status
    };
    for _ in 0..3 {
        assert_eq!(register("192.0.2.1").await, 400);
    }
    assert_eq!(register("192.0.2.1").await, 429);
    // What a client writes before its own address is not believed.
    assert_eq!(register("192.0.2.7, 192.0.2.1").await, 429);
    assert_eq!(register("192.0.2.2").await, 400);
}

#[tokio::test]
async fn off_is_off() {
    let setup = Setup::new().await;
    for _ in 0..150 {
        assert_eq!(setup.client.get("/v1/sandboxes").await.status, 200);
    }
}
