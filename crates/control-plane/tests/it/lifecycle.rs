//! What users do with sandboxes, seen through the API.

use reqwest::Method;
use serde_json::json;
use wrenn_api::SandboxStatus;
use wrenn_testkit::{
    control_plane::{Options, World},
    simulated_agent::Capacity,
};

#[tokio::test]
async fn a_sandbox_is_created_used_listed_and_destroyed() {
    let world = World::new().await.unwrap();
    let replica = world.replica(Options::default()).unwrap();
    let agent = world.agent(&replica, Capacity::default()).await.unwrap();
    let client = world.client(&replica);

    let sandbox = client.create().await;
    assert_eq!(sandbox.template, "minimal");
    assert_eq!(sandbox.metadata["vmm_version"], "1.12.1");
    assert_eq!(agent.census().len(), 1);

    let path = format!("/v1/sandboxes/{}", sandbox.id);
    let exec = json!({ "cmd": "/bin/sh", "args": ["-c", "echo $A; echo e >&2; exit 3"], "envs": { "A": "a" } });
    let answer = client.post(&format!("{path}/exec"), exec).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json["stdout"], "a\n");
    assert_eq!(answer.json["stderr"], "e\n");
    assert_eq!(answer.json["exit_code"], 3);
    assert_eq!(answer.json["encoding"], "utf-8");

    let listed = client.get("/v1/sandboxes").await;
    assert_eq!(listed.json.as_array().unwrap().len(), 1);
    assert_eq!(
        client
            .send(client.request(Method::POST, &format!("{path}/ping")))
            .await
            .status,
        204
    );

    assert_eq!(client.delete(&path).await.status, 204);
    assert_eq!(client.delete(&path).await.status, 204);
    assert_eq!(agent.census().len(), 0);
    assert_eq!(
        client.sandbox(sandbox.id).await.status,
        SandboxStatus::Stopped
    );
    assert_eq!(client.get("/v1/sandboxes").await.json, json!([]));
    assert_eq!(
        client
            .get("/v1/sandboxes?status=stopped")
            .await
            .json
            .as_array()
            .unwrap()
            .len(),
        1
    );
}
