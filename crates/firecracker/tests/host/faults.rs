//! Launches and VMs that go wrong, with the fake Firecracker and jailer in a real cgroup: each is a typed
//! error in time, and nothing is left behind.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wrenn_firecracker::api::client::REQUEST_DEADLINE;
use wrenn_firecracker::{ApiError, Jail, JailError, JailHost, JailedVm, Vm, census};
use wrenn_testkit::fake_firecracker::program::{Scenario, install};
use wrenn_testkit::fake_firecracker::{Fault, Script};

use crate::fixture::{DEADLINE, Fixture};

/// For launches that wait for it in vain.
const SHORT: Duration = Duration::from_secs(3);

/// The fixture's host with the fake programs, which are handed over beside the tests.
fn faked(fixture: &Fixture, scenario: &Scenario) -> Arc<JailHost> {
    let programs = tempfile::tempdir_in(fixture.dir.path()).unwrap().keep();
    let program = std::env::current_exe()
        .unwrap()
        .with_file_name("fake-firecracker");
    let installed = install(&programs, &program, scenario).unwrap();
    Arc::new(JailHost {
        firecracker: installed.firecracker,
        jailer: installed.jailer,
        api_deadline: REQUEST_DEADLINE,
        ..JailHost::clone(&fixture.host)
    })
}

async fn launch(
    fixture: &Fixture,
    scenario: &Scenario,
    deadline: Duration,
) -> Result<JailedVm, JailError> {
    let host = faked(fixture, scenario);
    let jail = Jail::create(&host, fixture.spec("fault-1")).await.unwrap();
    jail.launch(deadline).await
}

/// A VM whose API has these faults.
async fn serving(fixture: &Fixture, request: &str, fault: Fault) -> JailedVm {
    let script: Script = vec![(request.to_owned(), fault)];
    launch(fixture, &Scenario::Serves(script), DEADLINE)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_launch_that_goes_wrong_is_a_typed_error_and_leaves_nothing() {
    let fixture = Fixture::new("faults").await;
    let before = fixture.census().await;
    let check = async |scenario: Scenario, deadline, expected: fn(&JailError) -> bool| {
        let begun = Instant::now();
        let error = launch(&fixture, &scenario, deadline).await.unwrap_err();
        assert!(expected(&error), "{scenario:?}: {error:?}");
        // Taking the jail down has its own time.
        assert!(begun.elapsed() < deadline + DEADLINE, "{scenario:?}");
        assert_eq!(census(&fixture.host).await.unwrap(), before, "{scenario:?}");
        assert!(fixture.reaped().is_empty(), "{scenario:?}");
    };
    let why = || "the reason".to_owned();
    check(Scenario::JailerRefuses(why()), DEADLINE, |error| {
        matches!(error, JailError::Jailer { console, .. } if console.contains("the reason"))
    })
    .await;
    check(
        Scenario::DiesBeforeListening(why()),
        DEADLINE,
        |error| matches!(error, JailError::Died { console } if console.contains("the reason")),
    )
    .await;
    check(Scenario::PidFileIsGarbage, DEADLINE, |error| {
        matches!(error, JailError::File { action: "read", .. })
    })
    .await;
    check(Scenario::PidFileNamesAnother, DEADLINE, |error| {
        matches!(error, JailError::Impostor { pid: 1 })
    })
    .await;
    for scenario in [Scenario::JailerHangs, Scenario::NeverListens] {
        check(scenario, SHORT, |error| {
            matches!(error, JailError::Deadline { after: SHORT, .. })
        })
        .await;
    }
}

#[tokio::test]
async fn a_vm_that_dies_after_its_start_is_an_event() {
    let fixture = Fixture::new("dies").await;
    let before = fixture.census().await;
    let vm = serving(&fixture, "PUT /actions", Fault::DieAfter).await;
    let running = Vm::fresh(vm.client()).start().await.unwrap();
    tokio::time::timeout(DEADLINE, vm.ended()).await.unwrap();
    let refused = running.pause().await.unwrap_err();
    assert!(
        matches!(refused.error, ApiError::Connect { .. }),
        "{refused:?}"
    );
    vm.release().await.unwrap();
    assert_eq!(fixture.census().await, before);
}

#[tokio::test]
async fn a_vm_that_hangs_in_its_start_is_given_up_and_killed() {
    let fixture = Fixture::new("hangs").await;
    let before = fixture.census().await;
    let vm = serving(&fixture, "PUT /actions", Fault::Hang).await;
    let refused = Vm::fresh(vm.client()).start().await.unwrap_err();
    assert!(
        matches!(refused.error, ApiError::Deadline { after, .. } if after == REQUEST_DEADLINE),
        "{refused:?}"
    );
    vm.release().await.unwrap();
    assert_eq!(fixture.census().await, before);
}
