//! Rows and hosts come to agree.

use wrenn_api::{Reason, SandboxStatus};
use wrenn_ids::SandboxId;
use wrenn_testkit::control_plane::eventually;

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
