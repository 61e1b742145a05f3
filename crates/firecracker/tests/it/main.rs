//! The client against a Firecracker that misbehaves: each fault is its own typed error, in time, and the
//! client leaves no connection behind.

#![expect(clippy::unwrap_used, reason = "in a test, failing is the answer")]

use std::time::{Duration, Instant};

use wrenn_firecracker::api::client::REQUEST_DEADLINE;
use wrenn_firecracker::api::types::{
    BalloonUpdate, MemoryBackend, MemoryBackendType, SnapshotLoad,
};
use wrenn_firecracker::{ApiClient, ApiError, Configuring, Observed, Running, Vm};
use wrenn_testkit::fake_firecracker::{FakeFirecracker, Fault, SOCKET, VERSION};

/// For what happens at once, on a busy machine.
const SOON: Duration = Duration::from_secs(5);

struct Fixture {
    fake: FakeFirecracker,
    client: ApiClient,
    _directory: tempfile::TempDir,
}

impl Fixture {
    /// A Firecracker whose next requests of these names fail so.
    fn new(script: &[(&str, Fault)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let script = script
            .iter()
            .map(|(request, fault)| ((*request).to_owned(), fault.clone()));
        Self {
            fake: FakeFirecracker::listen(directory.path(), script.collect()).unwrap(),
            client: ApiClient::new(directory.path(), SOCKET).unwrap(),
            _directory: directory,
        }
    }

    fn fresh(&self) -> Vm<Configuring> {
        Vm::fresh(self.client.clone())
    }

    async fn running(&self) -> Vm<Running> {
        self.fresh().start().await.unwrap()
    }
}

/// Asks for the version of a Firecracker with this fault; the error, which came between the two times.
async fn check(fault: Fault, earliest: Duration, latest: Duration) -> ApiError {
    let fixture = Fixture::new(&[("GET /version", fault.clone())]);
    let begun = Instant::now();
    let error = fixture.client.version().await.unwrap_err();
    let taken = begun.elapsed();
    assert!(
        (earliest..latest).contains(&taken),
        "{fault:?}: {error} after {taken:?}"
    );
    tokio::time::timeout(SOON, fixture.fake.left_alone())
        .await
        .unwrap_or_else(|_| panic!("{fault:?}: a connection is left"));
    // One fault does not spoil the next call.
    let version = fixture.client.version().await.unwrap();
    assert_eq!(version.firecracker_version, VERSION);
    error
}

#[tokio::test]
async fn what_is_refused_is_told_in_firecrackers_words_and_the_vm_is_given_back() {
    let refusal = Fault::Refuse("no kernel".into());
    let fixture = Fixture::new(&[("PUT /actions", refusal)]);
    let refused = fixture.fresh().start().await.unwrap_err();
    assert_eq!(
        refused.error.to_string(),
        "start the instance: Firecracker answered 400 Bad Request: no kernel"
    );
    refused.vm.start().await.unwrap();
}

#[tokio::test]
async fn a_failure_without_firecrackers_json_is_still_a_refusal_with_its_status() {
    let error = check(Fault::Fail, Duration::ZERO, SOON).await;
    assert_eq!(
        error.to_string(),
        "get the version: Firecracker answered 500 Internal Server Error: the VMM is confused"
    );
}

#[tokio::test]
async fn an_answer_that_is_no_answer_is_a_broken_exchange() {
    for fault in [Fault::Cut, Fault::Close, Fault::Garbage, Fault::Huge] {
        let error = check(fault.clone(), Duration::ZERO, SOON).await;
        assert!(
            matches!(error, ApiError::Exchange { .. }),
            "{fault:?}: {error}"
        );
    }
}

#[tokio::test]
async fn a_body_that_is_not_the_documented_json_is_malformed() {
    let error = check(Fault::WrongBody, Duration::ZERO, SOON).await;
    assert!(matches!(error, ApiError::Malformed { .. }), "{error}");
}

#[tokio::test]
async fn silence_ends_at_the_deadline() {
    let latest = REQUEST_DEADLINE + SOON;
    let (whole, half) = tokio::join!(
        check(Fault::Hang, REQUEST_DEADLINE, latest),
        check(Fault::HangInBody, REQUEST_DEADLINE, latest)
    );
    for error in [whole, half] {
        assert_eq!(
            error.to_string(),
            "get the version: no answer from Firecracker after 10000 ms"
        );
    }
}

#[tokio::test]
async fn a_snapshot_may_take_longer_than_any_other_request() {
    let late = Fault::Delay(REQUEST_DEADLINE + Duration::from_secs(1));
    let fixture = Fixture::new(&[("PUT /snapshot/load", late)]);
    let load = SnapshotLoad {
        snapshot_path: "/vmstate".into(),
        mem_backend: MemoryBackend {
            backend_type: MemoryBackendType::File,
            backend_path: "/memory".into(),
        },
        enable_diff_snapshots: true,
        network_overrides: Vec::new(),
    };
    let paused = fixture.fresh().load_snapshot_paused(&load).await.unwrap();
    paused.resume().await.unwrap();
}

#[tokio::test]
async fn a_firecracker_that_dies_of_a_request_breaks_it_and_refuses_the_next() {
    let mut fixture = Fixture::new(&[("PUT /actions", Fault::Die)]);
    let refused = fixture.fresh().start().await.unwrap_err();
    assert!(
        matches!(refused.error, ApiError::Exchange { .. }),
        "{refused:?}"
    );
    fixture.fake.died().await;
    let error = Observed::of(fixture.client.clone()).await.unwrap_err();
    assert!(matches!(error, ApiError::Connect { .. }), "{error}");
}

#[tokio::test]
async fn a_firecracker_that_dies_after_its_start_was_started_and_is_gone() {
    let mut fixture = Fixture::new(&[("PUT /actions", Fault::DieAfter)]);
    let running = fixture.running().await;
    fixture.fake.died().await;
    let refused = running.pause().await.unwrap_err();
    assert!(
        matches!(refused.error, ApiError::Connect { .. }),
        "{refused:?}"
    );
}

#[tokio::test]
async fn after_a_broken_change_of_phase_the_vm_is_asked_what_it_does() {
    let fixture = Fixture::new(&[("PATCH /vm", Fault::Cut)]);
    let refused = fixture.running().await.pause().await.unwrap_err();
    let observed = Observed::of(refused.vm.client().clone()).await.unwrap();
    assert!(matches!(observed, Observed::Running(_)), "{observed:?}");
}

#[tokio::test]
async fn a_request_is_json_on_its_path() {
    let fixture = Fixture::new(&[]);
    let running = fixture.running().await;
    running
        .update_balloon(&BalloonUpdate { amount_mib: 7 })
        .await
        .unwrap();
    let asked = fixture.fake.asked().pop().unwrap();
    assert_eq!(asked.to_string(), "PATCH /balloon");
    assert_eq!(asked.body, br#"{"amount_mib":7}"#);
}
