//! Creation: failing at every step, repeated, overtaken, and many at once.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use wrenn_ids::SandboxId;
use wrenn_rpc::{
    connectrpc::{ConnectError, ErrorCode, client::UnaryResponse},
    hostagent::{DestroySandboxRequest, GetSandboxRequest, error_detail::Reason},
};
use wrenn_testkit::virtual_host_agent::AgentHost;

use crate::{
    fixture::{
        BOOT, NOT_READY, create_at_once, create_request, destroy, get, host, operation, reason, sh,
    },
    random::Random,
};

/// The points of `ensure.rs`, in order.
const BOOTED: [&str; 10] = [
    "record",
    "cow",
    "slot",
    "disk",
    "jail",
    "launch",
    "configure",
    "boot",
    "init",
    "running",
];

/// Those of `resume.rs` when a sandbox is created.
const RESTORED: [&str; 8] = [
    "record", "check", "slot", "disk", "launch", "load", "init", "running",
];

/// Those of `guest.rs` where no VM stands ready.
const STARTED: [&str; 3] = ["slot", "jail", "launch"];

/// The ways of creation: what is armed beside a point, and the points.
const WAYS: [(&str, &[&str]); 3] = [(BOOT, &BOOTED), ("", &RESTORED), (NOT_READY, &STARTED)];

/// All points, each with what is armed beside it; in a short run so many of them, by chance.
fn points(count: usize) -> Vec<(&'static str, &'static str)> {
    let each =
        |(way, steps): (_, &'static [&'static str])| steps.iter().map(move |step| (way, *step));
    let mut points: Vec<_> = WAYS.into_iter().flat_map(each).collect();
    if std::env::var_os("WRENN_SOAK").is_none() {
        Random::seeded("WRENN_CREATION_SEED").shuffle(&mut points);
        points.truncate(count);
    }
    points
}

#[test]
fn a_creation_that_fails_at_any_step_leaves_nothing_behind() {
    let host = host();
    let before = host.census().expect("count");
    for (at, (way, step)) in points(3).into_iter().enumerate() {
        let both = ["fail", "fail-twice"];
        let whole = std::env::var_os("WRENN_SOAK").is_some();
        let actions = if whole {
            &both[..]
        } else {
            &both[at % 2..][..1]
        };
        for action in actions {
            host.arm(&format!("create.after.{step}={action}\n{way}"))
                .expect("arm");
            let request = create_request(&host, SandboxId::new());
            let error = host
                .block_on(host.client.create_sandbox(request.clone()))
                .expect_err(step);
            assert_eq!(error.code, ErrorCode::Internal, "{step}: {error}");
            host.await_census(&before).expect(step);
            host.disarm().expect("disarm");
            let again = host
                .block_on(host.client.create_sandbox(request))
                .expect_err(step);
            assert_eq!(
                again.message, error.message,
                "a repeated operation has the first result"
            );
        }
    }
    host.await_census(&before).expect("nothing is left");
}

#[test]
fn an_agent_that_dies_at_any_step_starts_again_and_knows_what_is_done() {
    let host = host();
    let before = host.census().expect("count");
    for (way, step) in points(2) {
        host.arm(&format!("create.after.{step}=abort\n{way}"))
            .expect("arm");
        let request = create_request(&host, SandboxId::new());
        let lost = host.block_on(host.client.create_sandbox(request.clone()));
        assert!(lost.is_err(), "the connection breaks after {step}");
        host.disarm().expect("disarm");
        host.await_agent().expect("it starts again");
        // Once its record says that it runs it does, whoever heard of it; before that it never was.
        if step != "running" {
            host.await_census(&before).expect(step);
        }
        if ["boot", "load", "running"].contains(&step) {
            let id = request.sandbox_id.parse().expect("an id");
            host.block_on(host.client.create_sandbox(request))
                .expect("the operation may be tried again");
            assert_eq!(sh(&host, id, "hostname").trim(), id.to_string());
            destroy(&host, id);
        }
    }
    host.await_census(&before).expect("nothing is left");
}

#[test]
fn operations_are_idempotent_and_generations_never_fall() {
    let host = host();
    let id = SandboxId::new();
    let request = create_request(&host, id);
    let (first, second) = host.block_on(async {
        // Its caller hangs up in the middle of it; it goes on, and those who ask again get its result.
        tokio::select! {
            created = host.client.create_sandbox(request.clone()) => panic!("too soon: {created:?}"),
            () = begun(&host, id) => {}
        }
        tokio::join!(
            host.client.create_sandbox(request.clone()),
            host.client.create_sandbox(request.clone())
        )
    });
    let created = |created: Result<UnaryResponse<_>, ConnectError>| match created {
        Ok(created) => created.into_owned(),
        Err(error) => panic!("{error}\n{}", host.log()),
    };
    let (first, second) = (created(first), created(second));
    assert_eq!(first.sandbox.started_at_ms, second.sandbox.started_at_ms);

    let other = create_request(&host, id);
    let refused = host
        .block_on(host.client.create_sandbox(other))
        .expect_err("it exists");
    assert_eq!(
        (refused.code, reason(&refused)),
        (ErrorCode::FailedPrecondition, Reason::WRONG_STATE)
    );
    let stale = DestroySandboxRequest {
        operation: operation(&host, 0).into(),
        sandbox_id: id.to_string(),
        ..DestroySandboxRequest::default()
    };
    let refused = host
        .block_on(host.client.destroy_sandbox(stale))
        .expect_err("it is stale");
    assert_eq!(reason(&refused), Reason::STALE_GENERATION);
    destroy(&host, id);
    let late = host
        .block_on(host.client.create_sandbox(request))
        .expect_err("it is late");
    assert_eq!(reason(&late), Reason::STALE_GENERATION);
}

/// Half a second is what guest.md §9 allows a guest without a hardware clock.
fn its_clock_is_right(host: &AgentHost, id: SandboxId) {
    let millis = |text: String| text.trim().parse::<u64>().expect("milliseconds");
    let now = |host: &AgentHost| millis(host.shell("date +%s%3N").expect("the host's time"));
    let before = now(host);
    let guest = millis(sh(host, id, "date +%s%3N"));
    let after = now(host);
    assert!(
        (before.saturating_sub(500)..=after + 500).contains(&guest),
        "the guest says {guest}, the host {before} to {after}"
    );
}

/// Waits until the agent knows the sandbox.
async fn begun(host: &AgentHost, id: SandboxId) {
    let until = Instant::now() + Duration::from_secs(60);
    let request = GetSandboxRequest {
        sandbox_id: id.to_string(),
        ..GetSandboxRequest::default()
    };
    while host.client.get_sandbox(request.clone()).await.is_err() {
        assert!(Instant::now() < until, "the creation does not begin");
    }
}

#[test]
fn a_destroy_overtakes_a_creation() {
    let host = host();
    let before = host.census().expect("count");
    let whole = std::env::var_os("WRENN_SOAK").is_some();
    for _ in 0..if whole { 30 } else { 1 } {
        let id = SandboxId::new();
        let request = create_request(&host, id);
        host.block_on(async {
            let creating = host.client.create_sandbox(request);
            let destroying = async {
                begun(&host, id).await;
                let request = DestroySandboxRequest {
                    operation: operation(&host, 2).into(),
                    sandbox_id: id.to_string(),
                    ..DestroySandboxRequest::default()
                };
                host.client.destroy_sandbox(request).await
            };
            let (created, destroyed) = tokio::join!(creating, destroying);
            destroyed.expect("destroyed");
            created.expect_err("overtaken");
        });
        assert!(get(&host, id).is_err());
        host.await_census(&before).expect("nothing is left");
    }
}

#[test]
fn many_creations_at_once_all_succeed_and_no_two_are_alike() {
    let host = host();
    let before = host.census().expect("count");
    let ids = if std::env::var_os("WRENN_SOAK").is_some() {
        create_at_once::<20>(&host).to_vec()
    } else {
        create_at_once::<8>(&host).to_vec()
    };
    let mut seen = HashSet::new();
    for id in &ids {
        let said = sh(
            &host,
            *id,
            "hostname; cat /etc/machine-id /proc/sys/kernel/random/uuid; head -c 1024 /dev/urandom | sha256sum",
        );
        let (hostname, unique) = said.split_once('\n').expect("lines");
        assert_eq!(hostname, id.to_string());
        for line in unique.lines() {
            assert!(line.len() >= 32, "{id}: {unique}");
            assert!(seen.insert(line.to_owned()), "{id}: {line} is another's");
        }
        its_clock_is_right(&host, *id);
    }
    assert_eq!(seen.len(), 3 * ids.len());
    for id in ids {
        destroy(&host, id);
    }
    host.await_census(&before).expect("nothing is left");
}
