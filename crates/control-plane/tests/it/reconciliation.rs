//! Rows and hosts come to agree.

use wrenn_api::{Reason, SandboxStatus};
use wrenn_ids::SandboxId;
use wrenn_rpc::{connectrpc::ErrorCode, hostagent::PauseReason};
use wrenn_testkit::{control_plane::eventually, simulated_agent::Fault};

use crate::setup::Setup;

async fn ends(setup: &Setup, id: SandboxId, status: SandboxStatus, reason: Option<Reason>) {
    eventually(&format!("{id} is {status}"), async || {
        let sandbox = setup.client.sandbox(id).await;
        (sandbox.status, sandbox.reason) == (status, reason)
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_sandbox_that_ended_by_itself_or_vanished_is_stopped() {
    let setup = Setup::new().await;
    let (exited, lost, kept) = (
        setup.client.create().await.id,
        setup.client.create().await.id,
        setup.client.create().await.id,
    );
    setup.agent.crash_sandbox(exited);
    let begun = std::time::Instant::now();
    ends(
        &setup,
        exited,
        SandboxStatus::Stopped,
        Some(Reason::VmExited),
    )
    .await;
    assert!(
        begun.elapsed().as_secs() < 4,
        "an event is told at once, not by the next report"
    );
    setup.agent.lose_sandbox(lost);
    ends(
        &setup,
        lost,
        SandboxStatus::Stopped,
        Some(Reason::Reconciled),
    )
    .await;
    ends(&setup, kept, SandboxStatus::Running, None).await;
}

#[tokio::test]
async fn a_silent_host_loses_its_sandboxes_from_sight_and_shows_them_again() {
    let setup = Setup::new().await;
    let id = setup.client.create().await.id;
    sqlx::query("UPDATE hosts SET last_heartbeat_at = now() - interval '91 seconds'")
        .execute(&setup.world.db)
        .await
        .unwrap();
    ends(
        &setup,
        id,
        SandboxStatus::Missing,
        Some(Reason::HostUnreachable),
    )
    .await;
    let none = setup
        .client
        .post("/v1/sandboxes", serde_json::json!({}))
        .await;
    assert_eq!(
        none.json["error"]["details"]["filter"], "online",
        "{none:?}"
    );
    setup
        .agent
        .identity()
        .heartbeat(&setup.replica.base_url())
        .await
        .unwrap();
    ends(&setup, id, SandboxStatus::Running, None).await;
}

#[tokio::test]
async fn what_should_not_be_on_a_host_is_destroyed_there() {
    let setup = Setup::new().await;
    for state in ["stopped", "error"] {
        let id = setup.client.create().await.id;
        sqlx::query("UPDATE sandboxes SET status = $2, status_changed_at = now() WHERE id = $1")
            .bind(id.as_uuid())
            .bind(state)
            .execute(&setup.world.db)
            .await
            .unwrap();
    }
    eventually("the host is clean", async || {
        setup.agent.census().is_empty()
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn creates_during_reports_are_never_taken_for_lost() {
    let setup = Setup::new().await;
    let victims: Vec<_> = futures::future::join_all((0..10).map(|_| setup.client.create())).await;
    // Each exit wakes a report while others are being created.
    for victim in victims {
        setup.agent.crash_sandbox(victim.id);
        let (one, two) = tokio::join!(setup.client.create(), setup.client.create());
        assert_ne!(one.id, two.id);
    }
    eventually("twenty are left", async || setup.census().await == (20, 20))
        .await
        .unwrap();
    let stopped = "SELECT count(*) FROM sandboxes WHERE reason = 'reconciled'";
    let stopped: i64 = sqlx::query_scalar(stopped)
        .fetch_one(&setup.world.db)
        .await
        .unwrap();
    assert_eq!(stopped, 0);
}

#[tokio::test]
async fn what_a_host_does_to_idle_sandboxes_is_taken_over() {
    let setup = Setup::new().await;
    let (paused, destroyed, failed) = (
        setup.client.create().await.id,
        setup.client.create().await.id,
        setup.client.create().await.id,
    );
    // The first report with the news is lost on its way.
    setup.agent.faults().set("Sync", Fault::LoseReply, 1);
    setup.agent.pause_sandbox(paused, PauseReason::Idle);
    setup.agent.destroy_idle_sandbox(destroyed);
    setup.agent.fail_pause_of_sandbox(failed);
    ends(&setup, paused, SandboxStatus::Paused, Some(Reason::Idle)).await;
    ends(
        &setup,
        destroyed,
        SandboxStatus::Stopped,
        Some(Reason::Idle),
    )
    .await;
    ends(&setup, failed, SandboxStatus::Running, None).await;
}

#[tokio::test]
async fn a_lost_snapshot_is_told_and_a_late_order_is_taken_back() {
    let setup = Setup::new().await;
    let (lost, woken) = (
        setup.client.create().await.id,
        setup.client.create().await.id,
    );
    for id in [lost, woken] {
        let path = format!("/v1/sandboxes/{id}/pause");
        let request = setup.client.request(reqwest::Method::POST, &path);
        assert_eq!(setup.client.send(request).await.status, 200);
    }
    setup.agent.lose_sandbox(lost);
    setup.agent.wake_sandbox_late(woken);
    ends(
        &setup,
        lost,
        SandboxStatus::Error,
        Some(Reason::SnapshotLost),
    )
    .await;
    eventually("it is paused again", async || {
        let census = setup.agent.census();
        census.len() == 1 && census[0].paused
    })
    .await
    .unwrap();
    ends(&setup, woken, SandboxStatus::Paused, Some(Reason::User)).await;
}

#[tokio::test]
async fn what_a_host_paused_because_it_had_lost_us_runs_again_when_it_is_back() {
    let setup = Setup::new().await;
    let id = setup.client.create().await.id;
    sqlx::query("UPDATE hosts SET last_heartbeat_at = now() - interval '91 seconds'")
        .execute(&setup.world.db)
        .await
        .unwrap();
    ends(
        &setup,
        id,
        SandboxStatus::Missing,
        Some(Reason::HostUnreachable),
    )
    .await;
    setup.agent.pause_sandbox(id, PauseReason::HostDisconnected);
    setup
        .agent
        .identity()
        .heartbeat(&setup.replica.base_url())
        .await
        .unwrap();
    ends(&setup, id, SandboxStatus::Running, None).await;
    assert!(!setup.agent.census()[0].paused, "it runs there too");
    let written =
        "SELECT count(*) FROM audit_logs WHERE action = 'auto_resume' AND actor_type = 'system'";
    let written: i64 = sqlx::query_scalar(written)
        .fetch_one(&setup.world.db)
        .await
        .unwrap();
    assert_eq!(written, 1);
}

#[tokio::test]
async fn what_could_not_run_again_is_left_alone_for_a_while() {
    let setup = Setup::new().await;
    let id = setup.client.create().await.id;
    let refused = Fault::Refuse(ErrorCode::FailedPrecondition);
    setup.agent.faults().set("ResumeSandbox", refused, 1);
    setup.agent.pause_sandbox(id, PauseReason::HostDisconnected);
    eventually("it was tried", async || {
        setup.agent.calls("ResumeSandbox") == 1
    })
    .await
    .unwrap();
    let reason = Some(Reason::HostDisconnected);
    ends(&setup, id, SandboxStatus::Paused, reason).await;
    sqlx::query("UPDATE sandboxes SET status_changed_at = now() - interval '11 minutes'")
        .execute(&setup.world.db)
        .await
        .unwrap();
    ends(&setup, id, SandboxStatus::Running, None).await;
}

#[tokio::test]
async fn what_nobody_knows_is_stopped_and_destroyed_a_day_later() {
    let setup = Setup::new().await;
    let (one, two) = (
        setup.client.create().await.id,
        setup.client.create().await.id,
    );
    let kept = setup.client.create().await.id;
    sqlx::query("DELETE FROM sandboxes WHERE id = ANY($1)")
        .bind([one.as_uuid(), two.as_uuid()])
        .execute(&setup.world.db)
        .await
        .unwrap();
    let paused = |id: SandboxId| {
        let census = setup.agent.census();
        census.iter().find(|one| one.id == id).map(|one| one.paused)
    };
    eventually("both are stopped", async || {
        paused(one) == Some(true) && paused(two) == Some(true)
    })
    .await
    .unwrap();
    sqlx::query("UPDATE quarantined_sandboxes SET destroy_at = now() WHERE sandbox_id = $1")
        .bind(one.as_uuid())
        .execute(&setup.world.db)
        .await
        .unwrap();
    eventually("its time is over", async || paused(one).is_none())
        .await
        .unwrap();
    assert_eq!((paused(two), paused(kept)), (Some(true), Some(false)));
    let purged = wrenn_control_plane::operator::unknown_purge(&setup.world.db);
    // The one before may be in the report yet that is on its way.
    assert!((1..=2).contains(&purged.await.unwrap()));
    eventually("an operator ended it", async || paused(two).is_none())
        .await
        .unwrap();
    assert_eq!(paused(kept), Some(false));
    eventually("nothing is left of them", async || {
        let left: i64 = sqlx::query_scalar("SELECT count(*) FROM quarantined_sandboxes")
            .fetch_one(&setup.world.db)
            .await
            .unwrap();
        left == 0
    })
    .await
    .unwrap();
    let written: Vec<(String, String)> = sqlx::query_as(
        "SELECT action, status FROM audit_logs WHERE resource_id = $1 AND actor_type = 'system'",
    )
    .bind(two.to_string())
    .fetch_all(&setup.world.db)
    .await
    .unwrap();
    assert_eq!(written, [("pause".to_owned(), "warning".to_owned())]);
}
