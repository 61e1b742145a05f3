//! Many creates at once never pass a limit, and none is refused below it.

use futures::future::join_all;
use serde_json::json;
use wrenn_testkit::{client::Answer, control_plane::Options, simulated_agent::Capacity};

use crate::setup::Setup;

async fn many(setup: &Setup, count: usize) -> Vec<Answer> {
    join_all((0..count).map(|_| setup.client.post("/v1/sandboxes", json!({})))).await
}

fn with_status(answers: &[Answer], status: u16) -> usize {
    answers
        .iter()
        .filter(|answer| answer.status == status)
        .count()
}

#[tokio::test]
async fn parallel_creates_stop_exactly_at_the_quota() {
    let setup = Setup::new().await;
    sqlx::query("UPDATE teams SET max_sandboxes = 20")
        .execute(&setup.world.db)
        .await
        .unwrap();
    let answers = many(&setup, 100).await;
    assert_eq!(
        (with_status(&answers, 201), with_status(&answers, 429)),
        (20, 80)
    );
    let refused = answers.iter().find(|answer| answer.status == 429).unwrap();
    assert_eq!(refused.code(), "quota_exceeded");
    let details = &refused.json["error"]["details"];
    assert_eq!(
        details,
        &json!({ "quota": "max_sandboxes", "limit": 20, "used": 20, "requested": 1 })
    );
    assert_eq!(setup.census().await, (20, 20));
}

#[tokio::test]
async fn parallel_creates_stop_exactly_at_the_host() {
    // 512 MiB are the reserve; ten sandboxes of 512 MiB fit.
    let capacity = Capacity {
        memory_mib: 512 * 11,
        ..Capacity::default()
    };
    let setup = Setup::with(Options::default(), capacity).await;
    let answers = many(&setup, 40).await;
    assert_eq!(
        (with_status(&answers, 201), with_status(&answers, 503)),
        (10, 30)
    );
    assert_eq!(setup.census().await, (10, 10));
}
