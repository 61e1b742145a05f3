//! What people do with hosts: add, label, drain and delete them.

use reqwest::Method;
use serde_json::{Value, json};
use wrenn_api::{Reason, SandboxStatus};
use wrenn_ids::HostId;
use wrenn_testkit::{
    client::{Answer, Client},
    control_plane::{Options, eventually},
    person::Person,
    simulated_agent::{Capacity, SimulatedAgent},
};

use crate::setup::Setup;

/// The path of the host in an answer, and the token that its agent registers with.
fn added(answer: &Answer) -> (String, String) {
    assert_eq!(answer.status, 201, "{answer:?}");
    let host = answer.json["host"]["id"].as_str().unwrap();
    let token = answer.json["registration_token"].as_str().unwrap();
    assert!(token.len() == 64 && token.bytes().all(|byte| byte.is_ascii_hexdigit()));
    (format!("/v1/hosts/{host}"), token.to_owned())
}

async fn allow(root: &Person, team: wrenn_ids::TeamId) {
    let path = format!("/v1/admin/teams/{team}/byoc");
    let answer = root.client.put(&path, json!({ "enabled": true })).await;
    assert_eq!(answer.status, 204, "{answer:?}");
}

/// What the log has of a host: action, status and whose log it is.
async fn log(setup: &Setup, path: &str) -> Vec<(String, String, uuid::Uuid)> {
    let id = path.strip_prefix("/v1/hosts/").unwrap();
    setup.log_is_complete().await;
    sqlx::query_as(
        "SELECT action, status, team_id FROM audit_logs WHERE resource_id = $1 ORDER BY created_at, id",
    )
    .bind(id)
    .fetch_all(&setup.world.db)
    .await
    .unwrap()
}

#[tokio::test]
async fn hosts_of_all_teams_are_added_by_their_administrators_and_others_by_their_team() {
    let setup = Setup::new().await;
    let (world, replica) = (&setup.world, &setup.replica);
    let root = Person::administrator(world, replica, "Root").await.unwrap();
    let ada = Person::sign_up(replica, "Ada").await.unwrap();
    let bob = Person::sign_up(replica, "Bob").await.unwrap();
    let member = bob.clone().joining(&ada).await.unwrap();
    let keeper = Person::sign_up(replica, "Keeper").await.unwrap();
    keeper.may_administer(world, "hosts").await.unwrap();
    let add = async |client: &Client, body: Value| client.post("/v1/hosts", body).await;
    let byoc = json!({ "type": "byoc", "provider": "Ours", "tags": ["gpu", "a"] });
    let regular = json!({ "type": "regular", "availability_zone": "z-1" });

    // Only teams that may bring hosts do, and of those only who administers them.
    assert_eq!(add(&ada.client, byoc.clone()).await.status, 403);
    let early = json!({ "type": "byoc", "team_id": ada.team });
    assert_eq!(add(&root.client, early.clone()).await.code(), "conflict");
    allow(&root, ada.team).await;
    let answer = add(&ada.client, byoc.clone()).await;
    let (path, token) = added(&answer);
    let host = &answer.json["host"];
    assert_eq!(host["team_id"], json!(ada.team), "{answer:?}");
    assert_eq!(
        (&host["tags"], &host["status"], &host["created_by"]),
        (&json!(["a", "gpu"]), &json!("pending"), &json!(ada.id)),
    );
    assert_eq!(host["provider"], "Ours");
    assert_eq!(
        host["used"],
        json!({ "sandboxes": 0, "vcpus": 0, "memory_mb": 0, "disk_mb": 0 })
    );
    added(&add(&root.client, early.clone()).await);
    for (client, body) in [
        (&member.client, byoc.clone()),
        (&bob.client, byoc.clone()),
        (&bob.client, early),
        (&ada.client, regular.clone()),
    ] {
        let refused = add(client, body).await;
        assert_eq!((refused.status, refused.code()), (403, "forbidden"));
    }
    let (regular, _) = added(&add(&keeper.client, regular).await);
    assert_eq!(ada.client.get(&regular).await.status, 404);
    for (body, field) in [
        (json!({ "type": "byoc", "tags": ["GPU"] }), "tags"),
        (json!({ "type": "byoc", "provider": "" }), "provider"),
        (json!({ "type": "regular", "team_id": ada.team }), "team_id"),
    ] {
        let refused = add(&root.client, body).await;
        assert_eq!(refused.json["error"]["details"]["field"], field);
    }

    // A new token voids the one before, and none is issued for a host that has its agent.
    let again = ada.client.post(&format!("{path}/token"), json!({})).await;
    let (same, newer) = added(&again);
    assert_eq!(same, path);
    let register = async |token: &str| {
        SimulatedAgent::register(&replica.base_url(), token, Capacity::default()).await
    };
    assert!(register(&token).await.is_err());
    let agent = register(&newer).await.unwrap();
    assert_eq!(format!("/v1/hosts/{}", agent.host_id()), path);
    agent
        .identity()
        .heartbeat(&replica.base_url())
        .await
        .unwrap();
    let late = ada.client.post(&format!("{path}/token"), json!({})).await;
    assert_eq!((late.status, late.code()), (409, "conflict"));
    let of_ada =
        |action: &str, status: &str| (action.to_owned(), status.to_owned(), ada.team.as_uuid());
    assert_eq!(
        log(&setup, &path).await,
        [
            of_ada("add", "success"),
            of_ada("token_issued", "success"),
            of_ada("registered", "success"),
            of_ada("token_issued", "error"),
        ]
    );
}

#[tokio::test]
async fn hosts_are_labelled_by_who_keeps_them() {
    let setup = Setup::new().await;
    let (world, replica) = (&setup.world, &setup.replica);
    let root = Person::administrator(world, replica, "Root").await.unwrap();
    let tags = format!("/v1/hosts/{}/tags", setup.agent.host_id());
    let tag = async |tag: &str| root.client.post(&tags, json!({ "tag": tag })).await;
    assert_eq!(root.client.get(&tags).await.json, json!([]));
    for name in ["gpu", "a.b", "gpu"] {
        assert_eq!(tag(name).await.status, 204);
    }
    assert_eq!(root.client.get(&tags).await.json, json!(["a.b", "gpu"]));
    assert_eq!(tag("No").await.json["error"]["details"]["field"], "tag");
    assert_eq!(root.client.delete(&format!("{tags}/gpu")).await.status, 204);
    assert_eq!(root.client.delete(&format!("{tags}/gpu")).await.status, 404);
    assert_eq!(root.client.delete(&format!("{tags}/%20")).await.status, 400);
    for number in 1..64 {
        assert_eq!(tag(&format!("t{number}")).await.status, 204);
    }
    assert_eq!(tag("one-more").await.status, 409);
    let count = root.client.get(&tags).await.json;
    assert_eq!(count.as_array().unwrap().len(), 64);
}

#[tokio::test]
async fn a_draining_host_takes_nothing_new_and_is_emptied_when_asked() {
    let setup = Setup::new().await;
    let (world, replica) = (&setup.world, &setup.replica);
    let root = Person::administrator(world, replica, "Root").await.unwrap();
    let path = format!("/v1/hosts/{}", setup.agent.host_id());
    let drain = async |body: Value| root.client.patch(&path, body).await;
    let (one, two) = (setup.client.create().await, setup.client.create().await);
    let resting = format!("/v1/sandboxes/{}/pause", two.id);
    assert_eq!(setup.client.post(&resting, json!({})).await.status, 200);

    let drained = drain(json!({ "draining": true, "provider": "Theirs" })).await;
    assert_eq!(drained.json["status"], "draining", "{drained:?}");
    assert_eq!(drained.json["provider"], "Theirs");
    let refused = setup.client.post("/v1/sandboxes", json!({})).await;
    assert_eq!(refused.code(), "no_hosts_available");
    let details = &refused.json["error"]["details"];
    assert_eq!(
        (&details["filter"], &details["online"]),
        (&json!("draining"), &json!(1))
    );
    // What runs there goes on.
    assert_eq!(
        setup.client.sandbox(one.id).await.status,
        SandboxStatus::Running
    );
    let odd = drain(json!({ "pause_sandboxes": true })).await;
    assert_eq!(odd.json["error"]["details"]["field"], "pause_sandboxes");

    assert_eq!(
        drain(json!({ "draining": true, "pause_sandboxes": true }))
            .await
            .status,
        200
    );
    eventually("it is empty", async || {
        let now = setup.client.sandbox(one.id).await;
        (now.status, now.reason) == (SandboxStatus::Paused, Some(Reason::HostDrain))
    })
    .await
    .unwrap();
    let preview = root.client.get(&format!("{path}/delete-preview")).await;
    assert_eq!(preview.status, 200, "{preview:?}");
    let both = json!([one.id, two.id]);
    assert_eq!(
        (
            &preview.json["sandbox_ids"],
            &preview.json["paused_sandbox_ids"],
            &preview.json["reachable"]
        ),
        (&both, &both, &json!(true)),
    );
    assert_eq!(preview.json["host"]["used"]["sandboxes"], 2);
    assert_eq!(
        drain(json!({ "draining": false })).await.json["status"],
        "online"
    );
    setup.client.create().await;
    assert_eq!(
        log(&setup, &path)
            .await
            .iter()
            .filter(|row| row.0 == "drain")
            .count(),
        4
    );
}

#[tokio::test]
async fn a_host_with_sandboxes_is_deleted_by_force_alone_and_is_nobody_then() {
    let setup = Setup::new().await;
    let (world, replica) = (&setup.world, &setup.replica);
    let root = Person::administrator(world, replica, "Root").await.unwrap();
    let path = format!("/v1/hosts/{}", setup.agent.host_id());
    let sandbox = setup.client.create().await.id;
    let kept = root.client.delete(&path).await;
    assert_eq!((kept.status, kept.code()), (409, "host_has_sandboxes"));
    let ids = json!([sandbox]);
    for found in [
        &kept.json["error"]["sandbox_ids"],
        &kept.json["sandbox_ids"],
        &kept.json["capsule_ids"],
    ] {
        assert_eq!(*found, ids, "{kept:?}");
    }
    assert_eq!(
        root.client
            .delete(&format!("{path}?force=perhaps"))
            .await
            .status,
        400
    );
    assert_eq!(
        setup.client.sandbox(sandbox).await.status,
        SandboxStatus::Running
    );

    let gone = root.client.delete(&format!("{path}?force=true")).await;
    assert_eq!(gone.status, 204, "{gone:?}");
    let after = setup.client.sandbox(sandbox).await;
    assert_eq!(
        (after.status, after.reason),
        (SandboxStatus::Stopped, Some(Reason::HostDeleted))
    );
    assert!(setup.agent.census().is_empty());
    for answer in [
        root.client.get(&path).await,
        root.client.delete(&path).await,
    ] {
        assert_eq!(answer.status, 404);
    }
    let identity = setup.agent.identity();
    let nobody = Client::new(replica.base_url(), None);
    let beat = nobody
        .request(Method::POST, &format!("{path}/heartbeat"))
        .header("x-host-token", &identity.token);
    assert_eq!(nobody.send(beat).await.status, 404);
    assert_eq!(identity.refresh(&replica.base_url()).await.unwrap(), 401);
    let none = setup.client.post("/v1/sandboxes", json!({})).await;
    assert_eq!(
        none.json["error"]["details"]["filter"], "online",
        "{none:?}"
    );
    let log = log(&setup, &path).await;
    let told: Vec<_> = log
        .iter()
        .map(|row| (row.0.as_str(), row.1.as_str()))
        .collect();
    assert_eq!(
        told[1..],
        [
            ("delete", "error"),
            ("delete", "error"),
            ("delete", "success"),
            ("delete", "error")
        ],
        "{told:?}"
    );
}

#[tokio::test]
async fn what_a_host_has_that_does_not_answer_ends_with_it() {
    let setup = Setup::new().await;
    let (world, replica) = (&setup.world, &setup.replica);
    let root = Person::administrator(world, replica, "Root").await.unwrap();
    let path = format!("/v1/hosts/{}", setup.agent.host_id());
    let (runs, rests) = (
        setup.client.create().await.id,
        setup.client.create().await.id,
    );
    let pause = format!("/v1/sandboxes/{rests}/pause");
    assert_eq!(setup.client.post(&pause, json!({})).await.status, 200);
    setup.agent.stop();
    sqlx::query(
        "UPDATE hosts SET status = 'unreachable', last_heartbeat_at = now() - interval '1 h'",
    )
    .execute(&world.db)
    .await
    .unwrap();
    let preview = root.client.get(&format!("{path}/delete-preview")).await;
    assert_eq!(
        (
            &preview.json["paused_sandbox_ids"],
            &preview.json["reachable"]
        ),
        (&json!([rests]), &json!(false)),
    );
    assert_eq!(root.client.delete(&path).await.status, 409);
    let gone = root.client.delete(&format!("{path}?force=true")).await;
    assert_eq!(gone.status, 204, "{gone:?}");
    for id in [runs, rests] {
        eventually("it ended", async || {
            setup.client.sandbox(id).await.status == SandboxStatus::Stopped
        })
        .await
        .unwrap();
    }
    // One that nobody ever registered goes without force, and its token with it.
    let (path, token) = added(
        &root
            .client
            .post("/v1/hosts", json!({ "type": "regular" }))
            .await,
    );
    assert_eq!(root.client.delete(&path).await.status, 204);
    let late = SimulatedAgent::register(&replica.base_url(), &token, Capacity::default()).await;
    assert!(late.is_err());
    assert_eq!(
        root.client
            .get(&format!("/v1/hosts/{}", HostId::new()))
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn a_team_that_brings_hosts_runs_on_them_alone() {
    let setup = Setup::new().await;
    let (world, replica) = (&setup.world, &setup.replica);
    let root = Person::administrator(world, replica, "Root").await.unwrap();
    let ada = Person::sign_up(replica, "Ada").await.unwrap();
    allow(&root, ada.team).await;
    let create = async |client: &Client| client.post("/v1/sandboxes", json!({})).await;
    let refused = create(&ada.client).await;
    assert_eq!(refused.code(), "no_hosts_available");
    assert_eq!(refused.json["error"]["details"]["filter"], "team");
    let (path, token) = added(
        &ada.client
            .post("/v1/hosts", json!({ "type": "byoc" }))
            .await,
    );
    let base_url = replica.base_url();
    let theirs = SimulatedAgent::register(&base_url, &token, Capacity::default())
        .await
        .unwrap();
    theirs.identity().heartbeat(&base_url).await.unwrap();
    eventually("it takes sandboxes", async || {
        create(&ada.client).await.status == 201
    })
    .await
    .unwrap();
    for client in [&setup.client, &ada.client] {
        client.create().await;
    }
    assert_eq!((theirs.census().len(), setup.agent.census().len()), (2, 1));

    // What a template demands of its host is looked for among the team's own.
    sqlx::query("UPDATE templates SET metadata = '{\"require_tags\": \"gpu, ssd\"}'")
        .execute(&world.db)
        .await
        .unwrap();
    let tags = format!("{path}/tags");
    for (tag, free) in [("gpu", 0), ("ssd", 1)] {
        let refused = create(&ada.client).await;
        let details = &refused.json["error"]["details"];
        assert_eq!(
            (&details["filter"], &details["most_free"]),
            (&json!("tags"), &json!(free))
        );
        assert_eq!(
            ada.client.post(&tags, json!({ "tag": tag })).await.status,
            204
        );
    }
    ada.client.create().await;
    assert_eq!(
        create(&setup.client).await.json["error"]["details"]["filter"],
        "tags"
    );
    sqlx::query("UPDATE templates SET metadata = '{\"arch\": \"aarch64\"}'")
        .execute(&world.db)
        .await
        .unwrap();
    assert_eq!(
        create(&ada.client).await.json["error"]["details"]["filter"],
        "arch"
    );
}

#[tokio::test]
async fn a_host_that_cannot_be_reached_costs_no_creation() {
    let settings = vec![("WRENN_SCHEDULER", "round_robin".to_owned())];
    let options = Options {
        settings,
        ..Options::default()
    };
    let setup = Setup::with(options, Capacity::default()).await;
    let other = setup.world.agent(&setup.replica, Capacity::default()).await;
    let other = other.unwrap();
    let (one, two) = (
        setup.client.create().await.id,
        setup.client.create().await.id,
    );
    assert_eq!((setup.agent.census().len(), other.census().len()), (1, 1));
    setup.agent.stop();
    let lost = setup.agent.census()[0].id;
    let ping = format!("/v1/sandboxes/{lost}/ping");
    eventually("its connection is known to be gone", async || {
        setup.client.post(&ping, json!({})).await.code() == "host_unavailable"
    })
    .await
    .unwrap();
    for _ in 0..2 {
        setup.client.create().await;
    }
    assert_eq!(other.census().len(), 3, "{one} {two}");
    let unfinished: i64 =
        sqlx::query_scalar("SELECT count(*) FROM sandboxes WHERE status = 'error'")
            .fetch_one(&setup.world.db)
            .await
            .unwrap();
    assert_eq!(unfinished, 0);
}
