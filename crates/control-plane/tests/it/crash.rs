//! What a replica leaves behind when it dies, and what a client leaves when it hangs up.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use wrenn_api::{Reason, SandboxStatus};
use wrenn_ids::SandboxId;
use wrenn_rpc::connectrpc::ErrorCode;
use wrenn_testkit::{
    control_plane::{Options, eventually, hold_at},
    simulated_agent::{Capacity, Fault},
};

use crate::setup::Setup;

/// A replica that holds operations at `point`.
async fn held_at(point: &'static str) -> (Setup, std::sync::Arc<tokio::sync::Notify>) {
    let (checkpoint, reached) = hold_at(point);
    let options = Options {
        checkpoint: Some(checkpoint),
        ..Options::default()
    };
    (Setup::with(options, Capacity::default()).await, reached)
}

/// Kills the replica, lets its leases run out and starts another.
async fn fail_over(mut setup: Setup) -> Setup {
    let next = setup.world.replica(Options::default()).unwrap();
    let dead = std::mem::replace(&mut setup.replica, next);
    tokio::task::spawn_blocking(|| dead.kill()).await.unwrap();
    // What 30 s would bring about.
    sqlx::query("UPDATE sandbox_ops SET lease_until = now() WHERE state = 'running'")
        .execute(&setup.world.db)
        .await
        .unwrap();
    setup.client = setup.world.client(&setup.replica);
    setup
}

async fn only_sandbox(setup: &Setup) -> SandboxId {
    let ids: Vec<uuid::Uuid> = sqlx::query_scalar("SELECT id FROM sandboxes")
        .fetch_all(&setup.world.db)
        .await
        .unwrap();
    assert_eq!(ids.len(), 1);
    SandboxId::from_uuid(ids[0])
}

async fn reaches(setup: &Setup, id: SandboxId, status: SandboxStatus) {
    let what = format!("{id} is {status}");
    eventually(&what, async || {
        setup.client.sandbox(id).await.status == status
    })
    .await
    .unwrap();
}

async fn nothing_is_under_way(setup: &Setup) {
    let live = "SELECT count(*) FROM sandbox_ops WHERE state IN ('queued', 'running')";
    eventually("nothing is under way", async || {
        let live: i64 = sqlx::query_scalar(live)
            .fetch_one(&setup.world.db)
            .await
            .unwrap();
        live == 0
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_create_is_finished_by_another_replica_from_every_step() {
    for point in [
        "create.committed",
        "create.agent_create.before",
        "create.agent_create.after",
        "create.mark_running.before",
        "create.mark_running.after",
    ] {
        let (setup, reached) = held_at(point).await;
        let request = setup.client.clone();
        let caller =
            tokio::spawn(
                async move { request.request(Method::POST, "/v1/sandboxes").send().await },
            );
        reached.notified().await;
        let setup = fail_over(setup).await;
        caller.abort();
        let id = only_sandbox(&setup).await;
        reaches(&setup, id, SandboxStatus::Running).await;
        assert_eq!(setup.census().await, (1, 1), "{point}");
    }
}

#[tokio::test]
async fn a_failed_create_is_undone_by_another_replica() {
    let (setup, reached) = held_at("create.undo_destroy.before").await;
    setup
        .agent
        .faults()
        .set("CreateSandbox", Fault::Refuse(ErrorCode::Internal), 9);
    let request = setup.client.clone();
    let caller =
        tokio::spawn(async move { request.request(Method::POST, "/v1/sandboxes").send().await });
    reached.notified().await;
    let setup = fail_over(setup).await;
    caller.abort();
    let id = only_sandbox(&setup).await;
    reaches(&setup, id, SandboxStatus::Error).await;
    assert_eq!(
        setup.client.sandbox(id).await.reason,
        Some(Reason::CreateFailed)
    );
    assert_eq!(setup.census().await, (0, 0));
}

#[tokio::test]
async fn a_destroy_is_finished_by_another_replica_from_every_step() {
    for point in [
        "destroy.committed",
        "destroy.agent_destroy.before",
        "destroy.agent_destroy.after",
        "destroy.mark_stopped.before",
        "destroy.mark_stopped.after",
    ] {
        let (setup, reached) = held_at(point).await;
        let id = setup.client.create().await.id;
        let request = setup
            .client
            .request(Method::DELETE, &format!("/v1/sandboxes/{id}"));
        let caller = tokio::spawn(request.send());
        reached.notified().await;
        let setup = fail_over(setup).await;
        caller.abort();
        eventually("the host let go", async || setup.census().await == (0, 0))
            .await
            .unwrap();
        assert_eq!(
            setup.client.sandbox(id).await.status,
            SandboxStatus::Stopped,
            "{point}"
        );
    }
}

#[tokio::test]
async fn a_pause_and_a_resume_are_finished_by_another_replica_from_every_step() {
    use SandboxStatus::{Paused, Running};
    for (point, ends) in [
        ("pause.committed", Paused),
        ("pause.agent_pause.before", Paused),
        ("pause.agent_pause.after", Paused),
        ("pause.mark_paused.before", Paused),
        ("pause.mark_paused.after", Paused),
        ("pause.ask_agent.before", Running),
        ("resume.committed", Running),
        ("resume.agent_resume.before", Running),
        ("resume.agent_resume.after", Running),
        ("resume.mark_running.before", Running),
        ("resume.mark_running.after", Running),
        ("resume.ask_agent.before", Paused),
    ] {
        let (setup, reached) = held_at(point).await;
        let id = setup.client.create().await.id;
        if point.contains("ask_agent") {
            let refuse = Fault::Refuse(ErrorCode::Internal);
            let method = if ends == Running {
                "PauseSandbox"
            } else {
                "ResumeSandbox"
            };
            setup.agent.faults().set(method, refuse, 1);
        }
        let order = |what: &str| {
            let path = format!("/v1/sandboxes/{id}/{what}");
            setup.client.request(Method::POST, &path)
        };
        if point.starts_with("resume") {
            assert_eq!(order("pause").send().await.unwrap().status(), 200);
        }
        let what = point.split('.').next().unwrap();
        let caller = tokio::spawn(order(what).send());
        reached.notified().await;
        let setup = fail_over(setup).await;
        caller.abort();
        reaches(&setup, id, ends).await;
        assert_eq!(setup.census().await, (1, 1), "{point}");
        assert_eq!(setup.agent.census()[0].paused, ends == Paused, "{point}");
        nothing_is_under_way(&setup).await;
    }
}

#[tokio::test]
async fn a_fork_is_finished_or_undone_by_another_replica_from_every_step() {
    for (point, children) in [
        ("fork.committed", 3),
        ("fork.agent_fork.before", 3),
        ("fork.agent_fork.after", 3),
        ("fork.mark_running.before", 3),
        ("fork.mark_running.after", 3),
        ("fork.undo_destroy.before", 0),
    ] {
        let (setup, reached) = held_at(point).await;
        let id = setup.client.create().await.id;
        if children == 0 {
            let refuse = Fault::Refuse(ErrorCode::Internal);
            setup.agent.faults().set("ForkSandbox", refuse, 1);
        }
        let path = format!("/v1/sandboxes/{id}/fork");
        let request = setup.client.request(Method::POST, &path);
        let caller = tokio::spawn(request.json(&json!({ "count": 3 })).send());
        reached.notified().await;
        let setup = fail_over(setup).await;
        caller.abort();
        nothing_is_under_way(&setup).await;
        let count = usize::try_from(children + 1).unwrap();
        assert_eq!(setup.census().await, (children + 1, count), "{point}");
        reaches(&setup, id, SandboxStatus::Running).await;
        let running = setup.client.get("/v1/sandboxes?status=running").await;
        assert_eq!(running.json.as_array().unwrap().len(), count, "{point}");
    }
}

#[tokio::test]
async fn a_snapshot_is_finished_or_undone_by_another_replica_from_every_step() {
    for (point, made) in [
        ("snapshot.committed", 1),
        ("snapshot.agent_pause.before", 1),
        ("snapshot.agent_snapshot.before", 1),
        ("snapshot.agent_snapshot.after", 1),
        ("snapshot.finished", 1),
        ("snapshot.undo.before", 0),
    ] {
        let (setup, reached) = held_at(point).await;
        let id = setup.client.create().await.id;
        if made == 0 {
            let refuse = Fault::Refuse(ErrorCode::Internal);
            setup.agent.faults().set("CreateSnapshot", refuse, 1);
        }
        let body = json!({ "sandbox_id": id, "name": "mine", "pause_source": true });
        let request = setup.client.request(Method::POST, "/v1/snapshots");
        let caller = tokio::spawn(request.json(&body).send());
        reached.notified().await;
        let setup = fail_over(setup).await;
        caller.abort();
        nothing_is_under_way(&setup).await;
        reaches(&setup, id, SandboxStatus::Paused).await;
        let listed = setup.client.get("/v1/snapshots?type=snapshot").await;
        assert_eq!(listed.json.as_array().unwrap().len(), made, "{point}");
        assert_eq!(setup.agent.snapshots().len(), made, "{point}");
    }
}

#[tokio::test]
async fn a_create_outlives_a_client_that_hangs_up() {
    let setup = Setup::new().await;
    for (number, wait) in [1, 50, 200, 600].into_iter().enumerate() {
        setup
            .agent
            .faults()
            .set("CreateSandbox", Fault::Delay(Duration::from_millis(500)), 1);
        let request = setup
            .client
            .request(Method::POST, "/v1/sandboxes")
            .json(&json!({}));
        let _ = tokio::time::timeout(Duration::from_millis(wait), request.send()).await;
        // One that hung up before its request was read has asked for nothing.
        eventually("nothing is under way", async || {
            let live = "SELECT count(*) FROM sandboxes WHERE status <> 'running'";
            let live: i64 = sqlx::query_scalar(live)
                .fetch_one(&setup.world.db)
                .await
                .unwrap();
            live == 0
        })
        .await
        .unwrap();
        let (rows, held) = setup.census().await;
        assert_eq!(usize::try_from(rows).unwrap(), held);
        assert!(held <= number + 1);
    }
    assert!(setup.census().await.1 >= 2);
}

#[tokio::test]
async fn a_slow_create_answers_starting_and_goes_on() {
    let setup = Setup::new().await;
    setup
        .agent
        .faults()
        .set("CreateSandbox", Fault::Delay(Duration::from_secs(6)), 1);
    let begun = std::time::Instant::now();
    let answer = setup.client.post("/v1/sandboxes", json!({})).await;
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(
        (answer.status, answer.sandbox().status),
        (201, SandboxStatus::Starting)
    );
    reaches(&setup, answer.sandbox().id, SandboxStatus::Running).await;
}

#[tokio::test]
async fn a_lost_reply_and_a_failing_host_lead_to_one_sandbox_or_none() {
    let setup = Setup::new().await;
    setup
        .agent
        .faults()
        .set("CreateSandbox", Fault::LoseReply, 1);
    let answer = setup.client.post("/v1/sandboxes", json!({})).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    reaches(&setup, answer.sandbox().id, SandboxStatus::Running).await;
    assert_eq!(setup.census().await, (1, 1));

    setup
        .agent
        .faults()
        .set("CreateSandbox", Fault::Refuse(ErrorCode::Internal), 1);
    let failed = setup.client.post("/v1/sandboxes", json!({})).await;
    assert_eq!((failed.status, failed.code()), (502, "agent_error"));
    assert_eq!(setup.census().await, (1, 1));
}

#[tokio::test]
async fn a_destroy_works_from_every_status_and_twice() {
    let setup = Setup::new().await;
    let states = [
        "pending",
        "starting",
        "running",
        "pausing",
        "paused",
        "snapshotting",
        "snapshotting_paused",
        "hibernating",
        "hibernated",
        "resuming",
        "missing",
        "error",
        "stopping",
        "stopped",
    ];
    for state in states {
        let id = setup.client.create().await.id;
        sqlx::query("UPDATE sandboxes SET status = $2 WHERE id = $1")
            .bind(id.as_uuid())
            .bind(state)
            .execute(&setup.world.db)
            .await
            .unwrap();
        let path = format!("/v1/sandboxes/{id}");
        for _ in 0..2 {
            assert_eq!(setup.client.delete(&path).await.status, 204, "{state}");
        }
        assert_eq!(
            setup.client.sandbox(id).await.status,
            SandboxStatus::Stopped,
            "{state}"
        );
    }
    // The one that was `stopped` already is the reconciliation's: its host should not have it.
    eventually("the host let go of all", async || {
        setup.census().await == (0, 0)
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_destroy_is_durable_while_its_host_is_away() {
    let setup = Setup::new().await;
    let id = setup.client.create().await.id;
    setup
        .agent
        .faults()
        .set("DestroySandbox", Fault::Refuse(ErrorCode::Unavailable), 3);
    let begun = std::time::Instant::now();
    assert_eq!(
        setup
            .client
            .delete(&format!("/v1/sandboxes/{id}"))
            .await
            .status,
        204
    );
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(
        setup.client.sandbox(id).await.status,
        SandboxStatus::Stopped
    );
    eventually("the host let go", async || setup.census().await == (0, 0))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_destroy_outranks_a_create_in_flight() {
    let setup = Setup::new().await;
    setup
        .agent
        .faults()
        .set("CreateSandbox", Fault::Delay(Duration::from_secs(2)), 1);
    let request = setup.client.request(Method::POST, "/v1/sandboxes");
    let caller = tokio::spawn(request.send());
    eventually("the create is under way", async || {
        setup.agent.calls("CreateSandbox") == 1
    })
    .await
    .unwrap();
    let id = only_sandbox(&setup).await;
    assert_eq!(
        setup
            .client
            .delete(&format!("/v1/sandboxes/{id}"))
            .await
            .status,
        204
    );
    assert_eq!(caller.await.unwrap().unwrap().status(), 201);
    reaches(&setup, id, SandboxStatus::Stopped).await;
    eventually("nothing is left", async || setup.census().await == (0, 0))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_replica_drains_on_the_signal() {
    let setup = Setup::new().await;
    setup.client.create().await;
    let Setup { replica, .. } = setup;
    tokio::task::spawn_blocking(|| replica.stop())
        .await
        .unwrap()
        .unwrap();
}
