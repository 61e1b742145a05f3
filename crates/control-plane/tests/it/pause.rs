//! Sandboxes are paused and resumed on order.

use std::time::{Duration, Instant};

use futures::future::join_all;
use reqwest::{
    Method,
    multipart::{Form, Part},
};
use serde_json::json;
use wrenn_api::{Reason, SandboxStatus};
use wrenn_ids::SandboxId;
use wrenn_rpc::{connectrpc::ErrorCode, hostagent::error_detail::Reason as Why};
use wrenn_testkit::{
    client::Answer,
    control_plane::{Options, eventually},
    simulated_agent::{Capacity, Fault},
};

use crate::setup::Setup;

async fn order(setup: &Setup, id: SandboxId, what: &str) -> Answer {
    let path = format!("/v1/sandboxes/{id}/{what}");
    setup
        .client
        .send(setup.client.request(Method::POST, &path))
        .await
}

async fn check(setup: &Setup, id: SandboxId, what: &str, status: u16, code: &str) {
    let answer = order(setup, id, what).await;
    assert_eq!(
        (answer.status, answer.code()),
        (status, code),
        "{what}: {answer:?}"
    );
}

async fn is(setup: &Setup, id: SandboxId, status: SandboxStatus, reason: Option<Reason>) {
    let sandbox = setup.client.sandbox(id).await;
    assert_eq!((sandbox.status, sandbox.reason), (status, reason));
}

async fn becomes(setup: &Setup, id: SandboxId, status: SandboxStatus) {
    eventually(&format!("{id} is {status}"), async || {
        setup.client.sandbox(id).await.status == status
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_sandbox_sleeps_and_wakes_with_its_files() {
    let setup = Setup::new().await;
    let id = setup.client.create().await.id;
    let path = format!("/v1/sandboxes/{id}");
    let form = Form::new()
        .text("path", "/kept")
        .part("file", Part::bytes(b"still here".to_vec()));
    let write = setup
        .client
        .request(Method::POST, &format!("{path}/files/write"))
        .multipart(form);
    assert_eq!(setup.client.send(write).await.status, 204);

    for _ in 0..2 {
        let paused = order(&setup, id, "pause").await;
        assert_eq!(paused.status, 200, "{paused:?}");
        let sandbox = paused.sandbox();
        assert_eq!(
            (sandbox.status, sandbox.reason),
            (SandboxStatus::Paused, Some(Reason::User))
        );
    }
    assert_eq!(setup.agent.calls("PauseSandbox"), 1);
    assert!(setup.agent.census()[0].paused);

    // Looking at it, listing, killing and pinging never wake it.
    let processes = format!("{path}/processes");
    assert_eq!(setup.client.get(&processes).await.code(), "invalid_state");
    let kill = setup.client.delete(&format!("{processes}/1")).await;
    assert_eq!(kill.code(), "invalid_state");
    check(&setup, id, "ping", 409, "invalid_state").await;
    let listed = setup.client.get("/v1/sandboxes?status=paused").await;
    assert_eq!(listed.json[0]["id"], id.to_string());
    is(&setup, id, SandboxStatus::Paused, Some(Reason::User)).await;
    assert_eq!(setup.agent.calls("ResumeSandbox"), 0);

    let before = setup.client.sandbox(id).await;
    for _ in 0..2 {
        let resumed = order(&setup, id, "resume").await;
        assert_eq!(resumed.status, 200, "{resumed:?}");
        let sandbox = resumed.sandbox();
        assert_eq!(
            (sandbox.status, sandbox.reason),
            (SandboxStatus::Running, None)
        );
        assert_ne!(sandbox.host_ip, before.host_ip);
        assert_eq!(sandbox.started_at, before.started_at);
    }
    assert_eq!(setup.agent.calls("ResumeSandbox"), 1);
    let read = setup
        .client
        .post(&format!("{path}/files/read"), json!({ "path": "/kept" }))
        .await;
    assert_eq!(read.bytes, b"still here");
}

#[tokio::test]
async fn only_what_runs_is_paused_and_only_what_sleeps_is_resumed() {
    let setup = Setup::new().await;
    let id = setup.client.create().await.id;
    let be = async |status: &str| {
        // In the future, so that no report is newer and changes it.
        let change =
            "UPDATE sandboxes SET status = $2, status_changed_at = now() + interval '1 hour'
             WHERE id = $1";
        sqlx::query(change)
            .bind(id.as_uuid())
            .bind(status)
            .execute(&setup.world.db)
            .await
            .unwrap();
    };
    for status in ["pending", "starting", "stopped", "missing", "error"] {
        be(status).await;
        check(&setup, id, "pause", 409, "invalid_state").await;
        check(&setup, id, "resume", 409, "invalid_state").await;
    }
    assert_eq!(setup.agent.calls("PauseSandbox"), 0);
    assert_eq!(setup.agent.calls("ResumeSandbox"), 0);
}

#[tokio::test]
async fn requests_for_the_same_join_and_others_are_refused() {
    let setup = Setup::new().await;
    let id = setup.client.create().await.id;
    let slowly = |method: &str| {
        let delay = Fault::Delay(Duration::from_millis(700));
        setup.agent.faults().set(method, delay, 1);
    };
    for (what, other, method) in [
        ("pause", "resume", "PauseSandbox"),
        ("resume", "pause", "ResumeSandbox"),
    ] {
        slowly(method);
        let all = join_all((0..20).map(|_| order(&setup, id, what)));
        let conflict = async {
            eventually("it is under way", async || setup.agent.calls(method) == 1)
                .await
                .unwrap();
            check(&setup, id, other, 409, "invalid_state").await;
        };
        let (answers, ()) = tokio::join!(all, conflict);
        assert!(answers.iter().all(|answer| answer.status == 200));
        assert_eq!(setup.agent.calls(method), 1);
    }
}

#[tokio::test]
async fn a_destroy_outranks_a_pause_and_a_resume() {
    let setup = Setup::new().await;
    for (what, method) in [("pause", "PauseSandbox"), ("resume", "ResumeSandbox")] {
        let id = setup.client.create().await.id;
        if what == "resume" {
            check(&setup, id, "pause", 200, "").await;
        }
        let before = setup.agent.calls(method);
        let delay = Fault::Delay(Duration::from_secs(2));
        setup.agent.faults().set(method, delay, 1);
        let destroyed = async {
            eventually("it is under way", async || {
                setup.agent.calls(method) > before
            })
            .await
            .unwrap();
            setup.client.delete(&format!("/v1/sandboxes/{id}")).await
        };
        let (answer, destroyed) = tokio::join!(order(&setup, id, what), destroyed);
        assert_eq!((answer.code(), destroyed.status), ("invalid_state", 204));
        is(&setup, id, SandboxStatus::Stopped, Some(Reason::User)).await;
    }
    eventually("nothing is left", async || setup.census().await == (0, 0))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_slow_resume_answers_starting_and_a_slow_pause_504_and_both_go_on() {
    let setup = Setup::new().await;
    let (one, two) = (
        setup.client.create().await.id,
        setup.client.create().await.id,
    );
    check(&setup, one, "pause", 200, "").await;
    let slow = |method: &str, seconds| {
        let delay = Fault::Delay(Duration::from_secs(seconds));
        setup.agent.faults().set(method, delay, 1);
    };
    slow("ResumeSandbox", 6);
    slow("PauseSandbox", 56);
    let begun = Instant::now();
    let resumed = async {
        let answer = order(&setup, one, "resume").await;
        assert!(begun.elapsed() < Duration::from_secs(5));
        assert_eq!(
            (answer.status, answer.sandbox().status),
            (200, SandboxStatus::Starting)
        );
        becomes(&setup, one, SandboxStatus::Running).await;
    };
    let paused = async {
        check(&setup, two, "pause", 504, "deadline_exceeded").await;
        assert!(begun.elapsed() < Duration::from_secs(56));
        becomes(&setup, two, SandboxStatus::Paused).await;
    };
    tokio::join!(resumed, paused);
}

#[tokio::test]
async fn a_pause_that_fails_leaves_it_running_and_a_lost_reply_is_found_out() {
    let setup = Setup::new().await;
    let id = setup.client.create().await.id;
    let full = Fault::RefuseFor(ErrorCode::ResourceExhausted, Why::HostDiskFull);
    setup.agent.faults().set("PauseSandbox", full, 1);
    check(&setup, id, "pause", 503, "host_unavailable").await;
    is(&setup, id, SandboxStatus::Running, None).await;
    let exec = setup
        .client
        .post(
            &format!("/v1/sandboxes/{id}/exec"),
            json!({ "cmd": "true" }),
        )
        .await;
    assert_eq!(exec.json["exit_code"], 0, "{exec:?}");

    setup
        .agent
        .faults()
        .set("PauseSandbox", Fault::LoseReply, 1);
    check(&setup, id, "pause", 200, "").await;
    setup
        .agent
        .faults()
        .set("ResumeSandbox", Fault::LoseReply, 1);
    check(&setup, id, "resume", 200, "").await;
    becomes(&setup, id, SandboxStatus::Running).await;
}

#[tokio::test]
async fn a_resume_that_fails_leaves_it_paused_as_it_was() {
    let setup = Setup::new().await;
    let id = setup.client.create().await.id;
    check(&setup, id, "pause", 200, "").await;
    let damaged = Fault::RefuseFor(ErrorCode::DataLoss, Why::SnapshotDamaged);
    setup.agent.faults().set("ResumeSandbox", damaged, 1);
    check(&setup, id, "resume", 502, "agent_error").await;
    is(&setup, id, SandboxStatus::Paused, Some(Reason::User)).await;
    check(&setup, id, "resume", 200, "").await;
}

#[tokio::test]
async fn a_host_that_says_nothing_makes_it_missing_until_it_speaks() {
    let setup = Setup::new().await;
    let id = setup.client.create().await.id;
    let silent = Fault::Refuse(ErrorCode::Unavailable);
    setup.agent.faults().set("PauseSandbox", silent.clone(), 99);
    setup.agent.faults().set("GetSandbox", silent, 99);
    let asked = order(&setup, id, "pause");
    let tried = async {
        eventually("it was tried", async || {
            setup.agent.calls("PauseSandbox") == 1
        })
        .await
        .unwrap();
        // What five claims would bring about.
        sqlx::query("UPDATE sandbox_ops SET attempts = 4 WHERE kind = 'pause'")
            .execute(&setup.world.db)
            .await
            .unwrap();
    };
    let (answer, ()) = tokio::join!(asked, tried);
    assert_eq!(answer.code(), "host_unavailable", "{answer:?}");
    setup.agent.faults().clear();
    becomes(&setup, id, SandboxStatus::Running).await;
}

#[tokio::test]
async fn a_resume_needs_quota_and_room() {
    // 512 MiB are the reserve, and one and a half sandboxes fit.
    let capacity = Capacity {
        memory_mib: 512 + 768,
        ..Capacity::default()
    };
    let setup = Setup::with(Options::default(), capacity).await;
    let id = setup.client.create().await.id;
    check(&setup, id, "pause", 200, "").await;
    let other = setup.client.create().await.id;
    let full = order(&setup, id, "resume").await;
    assert_eq!(full.code(), "host_unavailable", "{full:?}");
    assert_eq!(full.json["error"]["details"]["filter"], "memory");
    is(&setup, id, SandboxStatus::Paused, Some(Reason::User)).await;

    sqlx::query("UPDATE teams SET max_vcpus = 1")
        .execute(&setup.world.db)
        .await
        .unwrap();
    let over = order(&setup, id, "resume").await;
    assert_eq!(
        (over.status, &over.json["error"]["details"]),
        (
            429,
            &json!({ "quota": "max_vcpus", "limit": 1, "used": 1, "requested": 1 })
        )
    );
    assert_eq!(setup.agent.calls("ResumeSandbox"), 0);
    setup.client.delete(&format!("/v1/sandboxes/{other}")).await;
    check(&setup, id, "resume", 200, "").await;
}

#[tokio::test]
async fn a_paused_one_on_a_host_that_is_away_stays_paused() {
    let setup = Setup::new().await;
    let id = setup.client.create().await.id;
    check(&setup, id, "pause", 200, "").await;
    sqlx::query("UPDATE hosts SET last_heartbeat_at = now() - interval '91 seconds'")
        .execute(&setup.world.db)
        .await
        .unwrap();
    eventually("the host is unreachable", async || {
        let status: String = sqlx::query_scalar("SELECT status FROM hosts")
            .fetch_one(&setup.world.db)
            .await
            .unwrap();
        status == "unreachable"
    })
    .await
    .unwrap();
    check(&setup, id, "resume", 503, "host_unavailable").await;
    is(&setup, id, SandboxStatus::Paused, Some(Reason::User)).await;
}

#[tokio::test]
async fn the_idle_policy_reaches_the_agent_in_every_way() {
    let setup = Setup::new().await;
    let body = json!({ "timeout_sec": 60, "on_idle": "destroy" });
    let id = setup.client.post("/v1/sandboxes", body).await.sandbox().id;
    let has = |seconds: u32, destroyed: bool| {
        let listed = &setup.agent.census()[0];
        (listed.idle_timeout_sec, listed.destroyed_when_idle) == (seconds, destroyed)
    };
    assert!(has(60, true));
    let path = format!("/v1/sandboxes/{id}");
    let patch = async |body: serde_json::Value| {
        let request = setup.client.request(Method::PATCH, &path).json(&body);
        setup.client.send(request).await.status
    };
    assert_eq!(patch(json!({ "on_idle": "pause" })).await, 200);
    assert!(has(60, false));
    assert_eq!(patch(json!({ "metadata": { "a": "b" } })).await, 200);
    assert_eq!(setup.agent.calls("UpdateSandbox"), 1);

    check(&setup, id, "pause", 200, "").await;
    let refuse = Fault::RefuseFor(ErrorCode::FailedPrecondition, Why::WrongState);
    setup.agent.faults().set("UpdateSandbox", refuse, 1);
    assert_eq!(patch(json!({ "timeout_sec": 120 })).await, 200);
    assert!(has(60, false));
    check(&setup, id, "resume", 200, "").await;
    assert!(has(120, false), "a resume carries the policy");

    let lost = Fault::Refuse(ErrorCode::Unavailable);
    setup.agent.faults().set("UpdateSandbox", lost, 1);
    assert_eq!(patch(json!({ "timeout_sec": 180 })).await, 503);
    eventually("a report brings it in order", async || has(180, false))
        .await
        .unwrap();
}
