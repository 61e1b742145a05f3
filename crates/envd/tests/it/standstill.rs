//! Freezing, snapshots and what follows them.
//!
//! The file system of this machine is not envd's to freeze and there is no metadata service: what those do
//! is shown in a real guest.

use std::time::{Duration, Instant};

use wrenn_rpc::connectrpc::client::CallOptions;

use crate::{
    cgroups::{Gate, Groups},
    envd::{Envd, is_soak, program, shell},
    processes::{ends, is_running, started, started_with},
};

const JSON: &str = "Content-Type: application/json\r\n";

fn post(envd: &Envd, path: &str, body: &str, expected: u16) -> String {
    let (status, _, answer) = envd.http(&format!("POST {path}"), JSON, body.as_bytes());
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert_eq!(status, expected, "{path} {body}: {answer}");
    answer
}

/// Checks an answer without the times in it.
fn check(answer: &str, expected: &str) {
    let mut seen: serde_json::Value = serde_json::from_str(answer).unwrap();
    let fields = seen.as_object_mut().unwrap();
    assert!(fields.remove("waitMs").is_some_and(|time| time.is_u64()));
    fields.remove("syncMs");
    let expected: serde_json::Value = serde_json::from_str(expected).unwrap();
    assert_eq!(seen, expected);
}

fn envd_in(groups: &Groups) -> Envd {
    Envd::start(&["--cgroup-root", groups.root()])
}

#[tokio::test]
async fn a_frozen_guest_stands_still_until_it_is_thawed() {
    let groups = Groups::new();
    let envd = envd_in(&groups);
    let (pid, _follower) = started(&envd, shell("sleep 1000")).await;
    assert!(groups.read("user/cgroup.procs").contains(&pid.to_string()));
    let all = r#"{"requested":2,"frozen":2,"notFrozen":0,"failed":0,"unobservable":0}"#;
    check(&post(&envd, "/freeze", "", 200), all);
    check(&post(&envd, "/freeze?maxWaitMs=50", "", 200), all);
    assert!(groups.is_frozen("user") && groups.is_frozen("pty"));
    post(&envd, "/unfreeze", "", 204);
    assert_eq!(groups.read("user/cgroup.freeze"), "0\n");
    assert_eq!(groups.read("pty/cgroup.freeze"), "0\n");
    post(&envd, "/unfreeze", "", 204);
    // Processes run on, and new ones run.
    assert!(is_running(pid));
    assert_eq!(envd.sh("echo on").await.text(), "on\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_starts_something_in_a_frozen_guest_waits_alone() {
    let groups = Groups::new();
    let envd = std::sync::Arc::new(envd_in(&groups));
    post(&envd, "/freeze", "", 200);
    let starting = tokio::spawn({
        let envd = std::sync::Arc::clone(&envd);
        async move { envd.sh("echo thawed").await }
    });
    // It is born and cannot go on.
    let begun = Instant::now();
    while groups.read("user/cgroup.procs").is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(10));
        tokio::task::yield_now().await;
    }
    assert_eq!(envd.http("GET /health", "", b"").0, 204);
    assert_eq!(envd.http("GET /files?path=/etc/passwd", "", b"").0, 200);
    assert!(!starting.is_finished());
    post(&envd, "/unfreeze", "", 204);
    let ran = tokio::time::timeout(Duration::from_secs(10), starting).await;
    assert_eq!(ran.unwrap().unwrap().text(), "thawed\n");
}

#[test]
fn what_the_guest_froze_itself_stays_frozen() {
    let groups = Groups::new();
    let envd = envd_in(&groups);
    groups.add("user/mine");
    groups.write("user/mine/cgroup.freeze", "1");
    groups.add("user/other");
    groups.write("pty/cgroup.freeze", "1");
    let all = r#"{"requested":4,"frozen":4,"notFrozen":0,"failed":0,"unobservable":0}"#;
    check(&post(&envd, "/freeze", "", 200), all);
    post(&envd, "/unfreeze", "", 204);
    assert!(groups.is_frozen("user/mine") && groups.is_frozen("pty"));
    assert!(!groups.is_frozen("user") && !groups.is_frozen("user/other"));
}

#[tokio::test]
async fn a_task_that_does_not_stop_is_counted_and_others_wait_their_turn() {
    let groups = Groups::new();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let envd = envd_in(&groups);
    let mut gate = Gate::close(&file);
    let (_, _follower) = started(&envd, program("cat", &[file.to_str().unwrap()])).await;
    gate.somebody_waits();
    let begun = Instant::now();
    let (answer, refused, thawed) = std::thread::scope(|scope| {
        let frozen = scope.spawn(|| post(&envd, "/freeze?maxWaitMs=3000", "", 200));
        // The switch is written before the wait begins.
        while groups.read("user/cgroup.freeze") == "0\n" {
            assert!(begun.elapsed() < Duration::from_secs(10));
            std::thread::yield_now();
        }
        let refused = [
            post(&envd, "/freeze", "", 503),
            post(&envd, "/snapshot/prepare", r#"{"mode":"full"}"#, 503),
        ];
        let thawed = scope.spawn(|| {
            post(&envd, "/unfreeze", "", 204);
            begun.elapsed()
        });
        (frozen.join().unwrap(), refused, thawed.join().unwrap())
    });
    let some = r#"{"requested":2,"frozen":1,"notFrozen":1,"failed":0,"unobservable":0}"#;
    check(&answer, some);
    for refused in refused {
        assert_eq!(
            refused,
            r#"{"code":503,"message":"another freeze or thaw is running"}"#
        );
    }
    assert!(thawed >= Duration::from_secs(3), "the thaw came in between");
    assert_eq!(groups.read("user/cgroup.freeze"), "0\n");
}

#[test]
fn without_groups_nothing_is_observable() {
    let envd = Envd::start(&[]);
    let none = r#"{"requested":0,"frozen":0,"notFrozen":0,"failed":0,"unobservable":2}"#;
    check(&post(&envd, "/freeze", "", 200), none);
    post(&envd, "/unfreeze", "", 204);
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let envd = Envd::start(&[]);
    for query in ["maxWaitMs=soon", "maxWaitMs=-1"] {
        post(&envd, &format!("/freeze?{query}"), "", 400);
    }
    for body in [
        "",
        "{",
        "{}",
        r#"{"mode":"half"}"#,
        r#"{"mode":"full","maxWaitMs":-1}"#,
        r#"{"mode":"full","dropCaches":"yes"}"#,
    ] {
        post(&envd, "/snapshot/prepare", body, 400);
    }
    post(&envd, "/process.Process/List", "{}", 200);
}

#[test]
fn a_prepared_sandbox_serves_only_the_host_until_it_goes_on() {
    let groups = Groups::new();
    let envd = envd_in(&groups);
    for follow_up in ["/unfreeze", "/init"] {
        let body = r#"{"mode":"filesystem","maxWaitMs":1000,"dropCaches":true}"#;
        let answer = post(&envd, "/snapshot/prepare", body, 200);
        let all = r#"{"requested":2,"frozen":2,"notFrozen":0,"failed":0,"unobservable":0}"#;
        check(&answer, all);
        assert!(answer.contains("syncMs"), "{answer}");
        let refused = post(&envd, "/files?path=x", "", 503);
        assert_eq!(
            refused,
            r#"{"code":503,"message":"sandbox is being snapshotted"}"#
        );
        let refused = post(&envd, "/process.Process/List", "{}", 503);
        assert_eq!(
            refused,
            r#"{"code":"unavailable","message":"sandbox is being snapshotted"}"#
        );
        assert_eq!(envd.http("GET /envs", "", b"").0, 503);
        assert_eq!(envd.http("GET /health", "", b"").0, 204);
        post(&envd, follow_up, "{}", 204);
        post(&envd, "/process.Process/List", "{}", 200);
        assert!(!groups.is_frozen("user"));
    }
}

#[tokio::test]
async fn a_prepared_sandbox_is_not_let_go_by_an_init_that_fails() {
    let groups = Groups::new();
    let envd = envd_in(&groups);
    post(&envd, "/snapshot/prepare", r#"{"mode":"full"}"#, 200);
    post(&envd, "/init", r#"{"defaultUser":"nobody-knows"}"#, 400);
    post(&envd, "/process.Process/List", "{}", 503);
    assert!(groups.is_frozen("user"));
}

#[tokio::test]
async fn a_new_generation_drops_streams_and_keeps_processes() {
    let groups = Groups::new();
    let envd = envd_in(&groups);
    post(&envd, "/init", r#"{"generationId":"one"}"#, 204);
    let (pid, follower) = started(&envd, shell("sleep 1000")).await;
    let (_, kept) = started(&envd, shell("read x")).await;
    post(&envd, "/snapshot/prepare", r#"{"mode":"full"}"#, 200);
    // The same generation goes on as it was.
    post(&envd, "/init", r#"{"generationId":"one"}"#, 204);
    assert!(!follower.is_finished() && !kept.is_finished());
    post(&envd, "/snapshot/prepare", r#"{"mode":"full"}"#, 200);
    post(&envd, "/init", r#"{"generationId":"two"}"#, 204);
    for follower in [follower, kept] {
        let ended = tokio::time::timeout(Duration::from_secs(10), follower).await;
        assert!(ended.unwrap().unwrap().is_err(), "the stream went on");
    }
    assert!(is_running(pid));
}

#[tokio::test]
async fn a_timeout_does_not_count_the_time_of_a_snapshot() {
    let envd = Envd::start(&[]);
    let limit = Duration::from_millis(1500);
    let options = CallOptions::default().with_header("connect-timeout-ms", "1500");
    let (pid, follower) = started_with(&envd, shell("sleep 1000"), options).await;
    let begun = Instant::now();
    post(&envd, "/snapshot/prepare", r#"{"mode":"full"}"#, 200);
    tokio::time::sleep(limit * 2).await;
    assert!(
        is_running(pid),
        "the timeout came while the guest stood still"
    );
    let stood = begun.elapsed();
    post(&envd, "/unfreeze", "", 204);
    let ended = tokio::time::timeout(Duration::from_secs(10), follower).await;
    let message = ended.unwrap().unwrap().unwrap_err().message;
    assert_eq!(message.as_deref(), Some("command timed out after 1500 ms"));
    assert!(begun.elapsed() > stood, "it was still to come");
    assert!(ends(pid.cast_signed()));
}

/// The minute is shown whole in a long run; a short one shows that it has not begun to pass too early.
#[test]
fn a_preparation_that_nobody_follows_up_is_undone_after_a_minute() {
    let groups = Groups::new();
    let envd = envd_in(&groups);
    let begun = Instant::now();
    post(&envd, "/snapshot/prepare", r#"{"mode":"full"}"#, 200);
    let closed = |envd: &Envd| envd.http("GET /envs", "", b"").0 == 503;
    if is_soak() {
        while closed(&envd) {
            assert!(begun.elapsed() < Duration::from_secs(90));
            std::thread::sleep(Duration::from_secs(1));
        }
        assert!(begun.elapsed() >= Duration::from_secs(60));
        assert!(!groups.is_frozen("user"));
    } else {
        assert!(closed(&envd) && groups.is_frozen("user"));
    }
}
