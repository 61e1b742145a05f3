//! Sandboxes under administration: the platform's own are used whole, those of teams are looked at and ended.

use serde_json::{Value, json};
use wrenn_ids::TeamId;
use wrenn_testkit::{
    client::{Answer, Client},
    control_plane::eventually,
    person::Person,
};

use crate::{
    exec_stream::{Socket, joined, refused, shell},
    setup::Setup,
};

fn check(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code()), (status, code), "{answer:?}");
}

async fn administrator(setup: &Setup) -> Person {
    let person = Person::administrator(&setup.world, &setup.replica, "Root").await;
    person.unwrap()
}

#[tokio::test]
async fn the_platforms_own_are_used_as_a_team_uses_its_own() {
    let setup = Setup::new().await;
    let root = administrator(&setup).await;
    let made = root
        .client
        .post("/v1/admin/capsules", json!({ "metadata": { "a": "b" } }))
        .await;
    assert_eq!(made.status, 201, "{made:?}");
    let sandbox = made.sandbox();
    assert_eq!(sandbox.team_id, TeamId::ZERO);
    assert_eq!(sandbox.host_id, Some(setup.agent.host_id()));
    let path = format!("/v1/admin/sandboxes/{}", sandbox.id);
    let post =
        async |what: &str, body: Value| root.client.post(&format!("{path}/{what}"), body).await;
    let ran = post(
        "exec",
        json!({ "cmd": "/bin/sh", "args": ["-c", "echo hi"] }),
    )
    .await;
    assert_eq!((ran.status, &ran.json["stdout"]), (200, &json!("hi\n")));
    assert_eq!(
        root.client.get(&format!("{path}/processes")).await.status,
        200
    );
    assert_eq!(post("pause", json!({})).await.json["status"], "paused");
    assert_eq!(post("resume", json!({})).await.json["status"], "running");
    assert_eq!(post("ping", json!({})).await.status, 204);
    let changed = root.client.patch(&path, json!({ "timeout_sec": 60 })).await;
    assert_eq!(changed.json["timeout_sec"], 60);
    let forked = post("fork", json!({})).await;
    assert_eq!(forked.json[0]["team_id"], TeamId::ZERO.to_string());
    let read = root.client.get(&path).await;
    assert_eq!((read.status, &read.json["disk_used_mb"]), (200, &json!(1)));
    assert_eq!(read.json["created_at"], made.json["created_at"]);

    // By a socket, in each of the ways.
    let url = format!("{path}/exec/stream");
    let bearer = format!("Bearer {}", root.token);
    let header = Socket::open_at(&setup, &url, Some(("authorization", &bearer))).await;
    let mut socket = header.unwrap();
    socket.send(shell("echo out")).await;
    assert_eq!(joined(&socket.rest().await.0, "stdout"), "out\n");
    let mut socket = Socket::open_at(&setup, &url, None).await.unwrap();
    socket
        .send(json!({ "type": "auth", "token": root.token }))
        .await;
    socket.send(shell("echo out")).await;
    assert_eq!(joined(&socket.rest().await.0, "stdout"), "out\n");

    // It is nobody's through the routes of teams, and no key opens it.
    let of_team = format!("/v1/sandboxes/{}", sandbox.id);
    check(&root.client.get(&of_team).await, 404, "not_found");
    check(&setup.client.get(&of_team).await, 404, "not_found");
    check(&setup.client.get(&path).await, 401, "unauthorized");
    let key = Some(("x-api-key", setup.world.api_key.as_str()));
    let by_key = Socket::open_at(&setup, &url, key).await;
    assert_eq!(refused(by_key.err().unwrap()), 401);
    let mut by_key = Socket::open_at(&setup, &url, None).await.unwrap();
    by_key
        .send(json!({ "type": "auth", "api_key": setup.world.api_key }))
        .await;
    assert_eq!(by_key.rest().await.1, 4401);
    assert_eq!(setup.client.get("/v1/sandboxes").await.json, json!([]));
    assert_eq!(root.client.delete(&path).await.status, 204);
    assert_eq!(root.client.get(&path).await.json["reason"], "admin");
}

#[tokio::test]
async fn a_template_of_the_platform_is_everybodys_and_its_name_is_taken() {
    let setup = Setup::new().await;
    let root = administrator(&setup).await;
    let made = root.client.post("/v1/admin/sandboxes", json!({})).await;
    let path = format!("/v1/admin/sandboxes/{}/snapshot", made.sandbox().id);
    let saved = root.client.post(&path, json!({ "name": "tools" })).await;
    assert_eq!(
        (saved.status, &saved.json["platform"]),
        (201, &json!(true)),
        "{saved:?}"
    );
    let body = json!({ "template": "tools" });
    let of_team = setup.client.post("/v1/sandboxes", body).await;
    assert_eq!(of_team.status, 201, "{of_team:?}");
    let own = json!({ "sandbox_id": of_team.sandbox().id.to_string(), "name": "tools" });
    check(
        &setup.client.post("/v1/snapshots", own).await,
        409,
        "name_reserved",
    );
    check(
        &root.client.post(&path, json!({ "name": "tools" })).await,
        409,
        "template_name_taken",
    );
    // A name that a team has stays the team's.
    let own = json!({ "sandbox_id": of_team.sandbox().id.to_string(), "name": "theirs" });
    assert_eq!(setup.client.post("/v1/snapshots", own).await.status, 201);
    check(
        &root.client.post(&path, json!({ "name": "theirs" })).await,
        409,
        "template_name_taken",
    );
    // Whoever administers teams alone makes no templates for everybody.
    let eve = Person::sign_up(&setup.replica, "Eve").await.unwrap();
    eve.may_administer(&setup.world, "teams").await.unwrap();
    check(
        &eve.client.post(&path, json!({ "name": "hers" })).await,
        403,
        "forbidden",
    );
}

#[tokio::test]
async fn of_a_team_administrators_see_the_state_and_may_end_it() {
    let setup = Setup::new().await;
    let root = administrator(&setup).await;
    let sandbox = setup.client.create().await;
    assert_eq!(sandbox.host_id, None, "hosts are not its team's affair");
    let path = format!("/v1/admin/sandboxes/{}", sandbox.id);
    let seen = root.client.get(&path).await;
    assert_eq!(seen.status, 200, "{seen:?}");
    assert_eq!(seen.sandbox().host_id, Some(setup.agent.host_id()));
    let listed = root.client.get("/v1/admin/sandboxes").await;
    assert_eq!(listed.json[0]["host_id"], seen.json["host_id"]);
    let post = |what: &str, body: Value| {
        let path = format!("{path}/{what}");
        let client: Client = root.client.clone();
        async move { client.post(&path, body).await }
    };
    for (what, body) in [
        ("exec", json!({ "cmd": "true" })),
        ("pause", json!({})),
        ("resume", json!({})),
        ("ping", json!({})),
        ("fork", json!({})),
        ("files/read", json!({ "path": "/etc/hosts" })),
        ("files/stream/read", json!({ "path": "/etc/hosts" })),
        ("snapshot", json!({ "name": "stolen" })),
    ] {
        check(&post(what, body).await, 403, "forbidden");
    }
    let patched = root.client.patch(&path, json!({ "timeout_sec": 1 })).await;
    check(&patched, 403, "forbidden");
    check(
        &root.client.get(&format!("{path}/processes")).await,
        403,
        "forbidden",
    );
    let bearer = format!("Bearer {}", root.token);
    let url = format!("{path}/exec/stream");
    let socket = Socket::open_at(&setup, &url, Some(("authorization", &bearer))).await;
    assert_eq!(refused(socket.err().unwrap()), 403);
    let unknown = format!("/v1/admin/sandboxes/{}", wrenn_ids::SandboxId::new());
    check(&root.client.get(&unknown).await, 404, "not_found");
    check(&root.client.delete(&unknown).await, 404, "not_found");

    assert_eq!(root.client.delete(&path).await.status, 204);
    let gone = setup.client.sandbox(sandbox.id).await;
    assert_eq!(gone.reason, Some(wrenn_api::Reason::Admin));
    eventually("its team reads who did it", async || {
        let told: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM audit_logs WHERE team_id = $1 AND actor_name = 'Root'
                 AND action = 'destroy' AND resource_id = $2 AND status = 'success'",
        )
        .bind(setup.world.team.as_uuid())
        .bind(sandbox.id.to_string())
        .fetch_one(&setup.world.db)
        .await
        .unwrap();
        told == 1
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn whoever_administers_no_more_loses_the_platforms_sockets() {
    let setup = Setup::new().await;
    let root = administrator(&setup).await;
    let eve = Person::sign_up(&setup.replica, "Eve").await.unwrap();
    eve.may_administer(&setup.world, "teams").await.unwrap();
    let made = eve.client.post("/v1/admin/sandboxes", json!({})).await;
    let url = format!("/v1/admin/sandboxes/{}/exec/stream", made.sandbox().id);
    let bearer = format!("Bearer {}", eve.token);
    let socket = Socket::open_at(&setup, &url, Some(("authorization", &bearer))).await;
    let mut socket = socket.unwrap();
    socket.send(shell("echo ready; sleep 300")).await;
    while socket.next().await.unwrap()["type"] != "stdout" {}
    let none = json!({ "permissions": [] });
    let path = format!("/v1/admin/users/{}/permissions", eve.id);
    assert_eq!(root.client.put(&path, none).await.status, 204);
    assert_eq!(socket.rest().await.1, 4401);
}
