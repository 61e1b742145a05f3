//! Creation: failing at every step, repeated, overtaken, and many at once.

use wrenn_ids::SandboxId;
use wrenn_rpc::{
    connectrpc::{ConnectError, ErrorCode, client::UnaryResponse},
    hostagent::{DestroySandboxRequest, error_detail::Reason},
};

use crate::fixture::{create, create_request, destroy, get, host, operation, reason};

/// The points of `ensure.rs`, in order.
const STEPS: [&str; 10] = [
    "record",
    "slot",
    "cow",
    "disk",
    "jail",
    "launch",
    "configure",
    "boot",
    "init",
    "running",
];

#[test]
fn a_creation_that_fails_at_any_step_leaves_nothing_behind() {
    let host = host();
    let before = host.census().expect("count");
    for action in ["fail", "fail-twice"] {
        for step in STEPS {
            host.arm(&format!("create.after.{step}={action}"))
                .expect("arm");
            let request = create_request(&host, SandboxId::new());
            let error = host
                .block_on(host.client.create_sandbox(request.clone()))
                .expect_err(step);
            assert_eq!(error.code, ErrorCode::Internal, "{step}: {error}");
            assert_eq!(
                host.census().expect("count"),
                before,
                "{action} after {step}"
            );
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
    assert_eq!(host.census().expect("count"), before);
}

#[test]
fn an_agent_that_dies_at_any_step_starts_again_without_a_trace() {
    let host = host();
    let before = host.census().expect("count");
    let whole = std::env::var_os("WRENN_SOAK").is_some();
    let short = ["slot", "disk", "launch", "boot"];
    for step in STEPS.iter().filter(|step| whole || short.contains(step)) {
        host.arm(&format!("create.after.{step}=abort"))
            .expect("arm");
        let request = create_request(&host, SandboxId::new());
        let lost = host.block_on(host.client.create_sandbox(request.clone()));
        assert!(lost.is_err(), "the connection breaks after {step}");
        host.disarm().expect("disarm");
        host.await_agent().expect("it starts again");
        assert_eq!(host.census().expect("count"), before, "after {step}");
        if *step == "boot" {
            let id = request.sandbox_id.parse().expect("an id");
            host.block_on(host.client.create_sandbox(request))
                .expect("the operation may be tried again");
            destroy(&host, id);
        }
    }
    assert_eq!(host.census().expect("count"), before);
}

#[test]
fn operations_are_idempotent_and_generations_never_fall() {
    let host = host();
    let id = SandboxId::new();
    let request = create_request(&host, id);
    let (first, second) = host.block_on(async {
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

#[test]
fn a_destroy_overtakes_a_creation() {
    let host = host();
    let before = host.census().expect("count");
    let id = SandboxId::new();
    let request = create_request(&host, id);
    host.block_on(async {
        let creating = host.client.create_sandbox(request);
        let destroying = async {
            let until = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
            loop {
                let request = wrenn_rpc::hostagent::GetSandboxRequest {
                    sandbox_id: id.to_string(),
                    ..Default::default()
                };
                if host.client.get_sandbox(request).await.is_ok() {
                    break;
                }
                assert!(
                    tokio::time::Instant::now() < until,
                    "the creation does not begin"
                );
                tokio::task::yield_now().await;
            }
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
    assert_eq!(host.census().expect("count"), before);
}

#[test]
fn many_creations_at_once_all_succeed() {
    let host = host();
    let before = host.census().expect("count");
    let count = if std::env::var_os("WRENN_SOAK").is_some() {
        20
    } else {
        4
    };
    let requests: Vec<_> = (0..count)
        .map(|_| create_request(&host, SandboxId::new()))
        .collect();
    let ids: Vec<SandboxId> = requests
        .iter()
        .map(|request| request.sandbox_id.parse().expect("an id"))
        .collect();
    let created = host.block_on(futures::future::join_all(
        requests
            .into_iter()
            .map(|request| host.client.create_sandbox(request)),
    ));
    for created in created {
        if let Err(error) = created {
            panic!("{error}\n{}", host.log());
        }
    }
    for id in ids {
        destroy(&host, id);
    }
    assert_eq!(host.census().expect("count"), before);
    // What failed before does not stand in the way of what comes.
    let id = create(&host);
    destroy(&host, id);
}
