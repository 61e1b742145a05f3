//! Processes as the SDKs and the host drive them.

use std::time::{Duration, Instant};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};
use wrenn_rpc::{
    connectrpc::{CodecFormat, ConnectError, ErrorCode, client::CallOptions},
    process::{
        CloseStdinRequest, ConnectRequest, ConnectResponse, ListRequest, ProcessInput,
        ProcessSelector, SendInputRequest, SendSignalRequest, Signal, StartRequest, StartResponse,
        process_event::Event, process_input::Input,
    },
};

use crate::{
    envd::{Envd, Kept, Ran, as_user, by_pid, by_tag, is_soak, program, shell},
    terminal::on_terminal,
};

async fn check(envd: &Envd, request: StartRequest, expected: (&str, &str, &str)) {
    for codec in [CodecFormat::Proto, CodecFormat::Json] {
        let ran = envd
            .run_as(codec, request.clone(), CallOptions::default())
            .await
            .unwrap();
        let stderr = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert_eq!(
            (ran.text(), stderr.as_str(), ran.status()),
            expected,
            "{codec:?}"
        );
    }
}

async fn check_refused(envd: &Envd, request: StartRequest, code: ErrorCode, message: &str) {
    let refused = envd.run(request, CallOptions::default()).await.unwrap_err();
    assert_eq!(
        (refused.code, refused.message.as_deref()),
        (code, Some(message))
    );
}

/// Starts a process and returns its pid with the stream that keeps it followed.
pub(crate) async fn started(envd: &Envd, request: StartRequest) -> (u32, Follower) {
    started_with(envd, request, CallOptions::default()).await
}

pub(crate) type Follower = tokio::task::JoinHandle<Result<Ran, ConnectError>>;

pub(crate) async fn started_with(
    envd: &Envd,
    request: StartRequest,
    options: CallOptions,
) -> (u32, Follower) {
    let client = envd.processes(CodecFormat::Proto);
    let mut stream = client.start_with_options(request, options).await.unwrap();
    let first = stream.message::<StartResponse>().await.unwrap().unwrap();
    let event = first.to_owned_message().event.into_option().unwrap();
    let Some(Event::Start(start)) = &event.event else {
        panic!("start is first: {event:?}")
    };
    let pid = start.pid;
    let follower = tokio::spawn(async move {
        let mut ran = Ran::default();
        ran.take(event);
        while let Some(message) = stream.message::<StartResponse>().await? {
            ran.take(message.to_owned_message().event.into_option().unwrap());
        }
        stream.error().map_or(Ok(ran), |fault| Err(fault.clone()))
    });
    (pid, follower)
}

async fn signal(envd: &Envd, process: ProcessSelector, signal: Signal) -> Result<(), ConnectError> {
    let request = SendSignalRequest {
        process: process.into(),
        signal: signal.into(),
        ..Default::default()
    };
    envd.processes(CodecFormat::Json)
        .send_signal(request)
        .await
        .map(drop)
}

pub(crate) async fn input(envd: &Envd, pid: u32, bytes: &[u8]) -> Result<(), ConnectError> {
    let input = ProcessInput {
        input: Some(Input::Stdin(bytes.to_vec())),
        ..Default::default()
    };
    let request = SendInputRequest {
        process: by_pid(pid).into(),
        input: input.into(),
        ..Default::default()
    };
    envd.processes(CodecFormat::Json)
        .send_input(request)
        .await
        .map(drop)
}

/// Whether a process ends, or has ended, within ten seconds: a signal to a group reaches each in its time.
pub(crate) fn ends(pid: i32) -> bool {
    let pid = Pid::from_raw(pid).unwrap();
    let Ok(descriptor) = pidfd_open(pid, PidfdFlags::empty()) else {
        return true;
    };
    let patience = Timespec {
        tv_sec: 10,
        tv_nsec: 0,
    };
    let mut ended = [PollFd::new(&descriptor, PollFlags::IN)];
    poll(&mut ended, Some(&patience)).unwrap() == 1
}

/// A zombie does not run; whose child it is reaps it in its own time.
pub(crate) fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

#[tokio::test]
async fn output_errors_and_exits_are_told_apart() {
    let envd = Envd::start(&[]);
    check(
        &envd,
        program("echo", &["hello"]),
        ("hello\n", "", "exit status 0"),
    )
    .await;
    check(
        &envd,
        shell("echo out; echo err >&2; exit 7"),
        ("out\n", "err\n", "exit status 7"),
    )
    .await;
    check(&envd, shell("kill -9 $$"), ("", "", "signal: killed")).await;
    check(
        &envd,
        shell("kill -TERM $$"),
        ("", "", "signal: terminated"),
    )
    .await;
    check(
        &envd,
        shell("printf 'no newline'"),
        ("no newline", "", "exit status 0"),
    )
    .await;
    let ran = envd.sh("printf '\\377\\0\\200'").await;
    assert_eq!(ran.stdout, [0xff, 0, 0x80]);
    let end = ran.end.unwrap();
    assert_eq!((end.exit_code, end.exited, end.error), (0, true, None));
    let end = envd.sh("kill -9 $$").await.end.unwrap();
    assert_eq!(
        (end.exit_code, end.exited, end.error.as_deref()),
        (-1, false, Some("signal: killed"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn many_echoes_lose_nothing_and_leave_nothing() {
    let envd = std::sync::Arc::new(Envd::start(&[]));
    let batches = if is_soak() { 1000 } else { 30 };
    let first = std::sync::Arc::new(std::sync::Mutex::new(None));
    for batch in 0..batches {
        let runs = (0..10).map(|index| {
            let (envd, first) = (envd.clone(), first.clone());
            tokio::spawn(async move {
                let word = format!("word-{batch}-{index}");
                let ran = envd
                    .run(program("echo", &[&word]), CallOptions::default())
                    .await
                    .unwrap();
                assert_eq!(ran.text(), format!("{word}\n"));
                assert_eq!(ran.status(), "exit status 0");
                first.lock().unwrap().get_or_insert(ran.pid.unwrap());
            })
        });
        for run in runs.collect::<Vec<_>>() {
            run.await.unwrap();
        }
    }
    let list = envd
        .processes(CodecFormat::Proto)
        .list(ListRequest::default())
        .await
        .unwrap();
    assert!(list.into_owned().processes.is_empty());
    // The records of the oldest made room for those of the newest.
    let known = envd.follow(first.lock().unwrap().unwrap(), CallOptions::default());
    assert_eq!(known.await.is_ok(), batches * 10 <= 4096);
    let zombies = envd.sh("grep -l 'State:.Z' /proc/[0-9]*/status 2>/dev/null | xargs -r grep -l \"PPid:.$PPID$\"; true").await;
    assert_eq!(zombies.text(), "");
}

#[tokio::test]
async fn a_program_inherits_nothing_of_what_envd_is_to_itself() {
    let envd = Envd::start(&[]);
    let own = || {
        let status = envd.proc("status");
        let ignored = status
            .lines()
            .find_map(|line| line.strip_prefix("SigIgn:\t"));
        // Those of threads are the C library's own.
        let ignored = u64::from_str_radix(ignored.unwrap(), 16).unwrap() & 0x7fff_ffff;
        (envd.proc("oom_score_adj"), ignored)
    };
    let before = own();
    let signals = envd.run(
        program("grep", &["^Sig[BI]", "/proc/self/status"]),
        CallOptions::default(),
    );
    let none = "0".repeat(16);
    assert_eq!(
        signals.await.unwrap().text(),
        format!("SigBlk:\t{none}\nSigIgn:\t{none}\n")
    );
    let rest = "nice; cat /proc/self/oom_score_adj; umask; ls /proc/self/fd | wc -l";
    // The fourth descriptor is of `ls` itself.
    assert_eq!(envd.sh(rest).await.text(), "0\n100\n0022\n4\n");
    // What the child was given while it lived in the memory of envd is the child's alone.
    assert_eq!(own(), before);
}

/// The records of ended processes are kept for minutes.
#[tokio::test]
async fn ended_processes_hold_no_descriptors_and_programs_have_the_limit_of_envd() {
    let limit = 64;
    let envd = Envd::start_with_limit(limit);
    for _ in 0..limit {
        assert_eq!(envd.sh("ulimit -n").await.text(), format!("{limit}\n"));
    }
    let (pid, terminal) = started(&envd, on_terminal(shell("exit 3"), 80, 24)).await;
    assert_eq!(terminal.await.unwrap().unwrap().status(), "exit status 3");
    assert_eq!(
        envd.follow(pid, CallOptions::default())
            .await
            .unwrap()
            .status(),
        "exit status 3"
    );
    assert!(envd.descriptors() < 32, "{} are open", envd.descriptors());
    // What runs at once may need more than envd was given.
    let mut running = Vec::new();
    for _ in 0..limit {
        running.push(started(&envd, shell("read word")).await);
    }
    for (pid, follower) in running {
        input(&envd, pid, b"go\n").await.unwrap();
        assert_eq!(follower.await.unwrap().unwrap().status(), "exit status 0");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_megabytes_arrive_byte_for_byte_at_every_subscriber() {
    let envd = std::sync::Arc::new(Envd::start(&[]));
    // Waits for a line, so that the second subscriber is there before the first byte.
    let script = "read go; seq 1 1500000 | head -c 10485760; seq 1 1000 >&2";
    let (pid, first) = started(&envd, shell(script)).await;
    let second = {
        let envd = std::sync::Arc::clone(&envd);
        tokio::spawn(async move { envd.follow(pid, CallOptions::default()).await })
    };
    // The stream of the second begins with its start event; only then is it sure to be attached.
    let attached = envd
        .follow(
            pid,
            CallOptions::default().with_timeout(Duration::from_millis(300)),
        )
        .await;
    drop(attached);
    input(&envd, pid, b"go\n").await.unwrap();
    let expected: Vec<u8> = (1..=1_500_000)
        .flat_map(|number| format!("{number}\n").into_bytes())
        .take(10 << 20)
        .collect();
    for ran in [
        first.await.unwrap().unwrap(),
        second.await.unwrap().unwrap(),
    ] {
        assert_eq!(ran.stdout.len(), expected.len());
        assert!(ran.stdout == expected);
        assert_eq!(ran.stderr.len(), 3893);
        assert_eq!(ran.status(), "exit status 0");
    }
}

#[tokio::test]
async fn what_cannot_start_is_refused_in_the_agreed_words() {
    let envd = Envd::start(&[]);
    let invalid = ErrorCode::InvalidArgument;
    let request = program("no-such-program", &[]);
    let message = "cannot start 'no-such-program': no such file or directory";
    check_refused(&envd, request, invalid, message).await;
    let message = "cannot start '/etc/passwd': permission denied";
    check_refused(&envd, program("/etc/passwd", &[]), invalid, message).await;
    check_refused(&envd, program("", &[]), invalid, "cmd is empty").await;
    let mut request = program("true", &[]);
    request.process.as_option_mut().unwrap().cwd = Some("/nowhere".into());
    check_refused(
        &envd,
        request.clone(),
        invalid,
        "cwd '/nowhere' no such file or directory",
    )
    .await;
    request.process.as_option_mut().unwrap().cwd = Some("/etc/passwd".into());
    check_refused(&envd, request, invalid, "cwd '/etc/passwd' not a directory").await;

    let refused = envd
        .run(program("true", &[]), as_user("nobody-knows"))
        .await
        .unwrap_err();
    assert_eq!(refused.code, ErrorCode::Unauthenticated);
    assert_eq!(
        refused.message.as_deref(),
        Some("unknown user 'nobody-knows'")
    );
}

#[tokio::test]
async fn nothing_runs_that_cannot_become_its_user() {
    let directory = tempfile::tempdir().unwrap();
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(directory.path(), everybody).unwrap();
    let ran = directory.path().join("ran");
    let request = program("touch", &[ran.to_str().unwrap()]);
    for capability in ["setuid", "setgid"] {
        let envd = Envd::start_without(capability);
        let refused = envd.run(request.clone(), as_user("daemon")).await;
        let refused = refused.unwrap_err();
        assert_eq!(
            (refused.code, refused.message.as_deref()),
            (ErrorCode::Internal, Some("cannot become user 'daemon'"))
        );
        assert!(!ran.exists(), "without {capability} it ran");
    }
    let envd = Envd::start(&[]);
    envd.run(request, as_user("daemon")).await.unwrap();
    assert!(ran.exists());
}

/// Process numbers come again when they have all been used.
#[tokio::test]
async fn a_number_that_comes_again_means_the_new_process() {
    const LAST: &str = "/proc/sys/kernel/ns_last_pid";
    let envd = Envd::start_apart();
    let options = || CallOptions::default().with_header("x-wrenn-replay", "1");
    let mut said = std::collections::BTreeMap::new();
    for word in 0..20 {
        let ran = envd.sh(&format!("echo old {word}")).await;
        said.insert(ran.pid.unwrap(), ran.text().to_owned());
    }
    let lowest = *said.keys().next().unwrap();
    // What starts this has a number above; the next one has the lowest that is free.
    envd.sh(&format!("echo {} > {LAST}", lowest - 1)).await;
    let mut again = 0;
    for word in 0..10 {
        let ran = envd.sh(&format!("echo new {word}")).await;
        let before = said.insert(ran.pid.unwrap(), ran.text().to_owned());
        again += usize::from(before.is_some());
    }
    // A thread of envd may have taken one.
    assert!(again >= 5, "{again} of {said:?}");
    for (pid, words) in &said {
        assert_eq!(envd.follow(*pid, options()).await.unwrap().text(), words);
    }
    // Nor does a signal reach who has a number that was another's.
    envd.sh(&format!("echo {} > {LAST}", lowest - 1)).await;
    let strangers = "for n in 1 2 3 4 5; do sleep 1000 <&- >&- 2>&- & echo $!; done";
    let strangers = envd.sh(strangers).await;
    let mut met = 0;
    for pid in strangers.text().split_whitespace() {
        let pid = pid.parse().unwrap();
        met += usize::from(said.contains_key(&pid));
        let missed = signal(&envd, by_pid(pid), Signal::Sigkill).await;
        assert_eq!(missed.unwrap_err().code, ErrorCode::NotFound);
    }
    assert!(met >= 2, "{} of {said:?}", strangers.text());
    let living = envd.sh("pgrep -c -x sleep").await;
    assert_eq!(living.text(), "5\n");
}

#[tokio::test]
async fn a_process_has_the_ids_groups_and_directory_of_its_user() {
    let envd = Envd::start(&[]);
    let ran = envd
        .run(shell("id -u; id -g; id -G; pwd; umask"), as_user("daemon"))
        .await
        .unwrap();
    let expected = std::process::Command::new("id")
        .args(["-G", "daemon"])
        .output()
        .unwrap();
    let groups = String::from_utf8(expected.stdout).unwrap();
    assert_eq!(ran.text(), format!("1\n1\n{groups}/usr/sbin\n0022\n"));
    // Root may enter its home, this user may not.
    let mut request = shell("true");
    request.process.as_option_mut().unwrap().cwd = Some("/root".into());
    let refused = envd.run(request, as_user("daemon")).await.unwrap_err();
    assert_eq!(
        refused.message.as_deref(),
        Some("cwd '/root' permission denied")
    );
    // A session and group of its own, no descriptor but the three, no signal ignored. The last program
    // replaces the shell, which blocks signals while it starts others.
    let ran = envd.sh("ps -o pid=,pgid=,sid= $$ | xargs; ls /proc/$$/fd; exec grep -E 'Sig(Ign|Blk)' /proc/self/status").await;
    let mut lines = ran.text().lines();
    let pid = ran.pid.unwrap();
    assert_eq!(lines.next(), Some(format!("{pid} {pid} {pid}").as_str()));
    assert_eq!([0, 1, 2].map(|_| lines.next().unwrap()), ["0", "1", "2"]);
    assert_eq!(
        lines.collect::<Vec<_>>(),
        ["SigBlk:\t0000000000000000", "SigIgn:\t0000000000000000"]
    );
}

#[tokio::test]
async fn input_flows_until_it_is_closed() {
    let envd = Envd::start(&[]);
    let (pid, follower) = started(&envd, program("cat", &[])).await;
    for word in ["one ", "two ", "three"] {
        input(&envd, pid, word.as_bytes()).await.unwrap();
    }
    let close = CloseStdinRequest {
        process: by_pid(pid).into(),
        ..Default::default()
    };
    envd.processes(CodecFormat::Proto)
        .close_stdin(close.clone())
        .await
        .unwrap();
    let ran = follower.await.unwrap().unwrap();
    assert_eq!(
        (ran.text(), ran.status()),
        ("one two three", "exit status 0")
    );
    let gone = envd
        .processes(CodecFormat::Proto)
        .close_stdin(close)
        .await
        .unwrap_err();
    assert_eq!(
        (gone.code, gone.message),
        (
            ErrorCode::NotFound,
            Some(format!("no process with pid {pid}"))
        )
    );

    let mut without = program("cat", &[]);
    without.stdin = Some(false);
    assert_eq!(
        envd.run(without, CallOptions::default())
            .await
            .unwrap()
            .status(),
        "exit status 0"
    );
    let mut without = shell("sleep 100");
    without.stdin = Some(false);
    let (pid, follower) = started(&envd, without).await;
    let refused = input(&envd, pid, b"x").await.unwrap_err();
    assert_eq!(
        refused.message,
        Some(format!("stdin of process {pid} is closed"))
    );
    signal(&envd, by_pid(pid), Signal::Sigkill).await.unwrap();
    follower.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_timeout_ends_the_whole_group() {
    let envd = Envd::start(&[]);
    let options = CallOptions::default().with_timeout(Duration::from_millis(700));
    let script = "sleep 100 & echo $!; sleep 100 & echo $!; wait";
    let begun = Instant::now();
    let client = envd.processes(CodecFormat::Proto);
    let mut stream = client
        .start_with_options(shell(script), options)
        .await
        .unwrap();
    let mut ran = Ran::default();
    let fault = loop {
        match stream.message::<StartResponse>().await {
            Ok(Some(message)) => ran.take(message.to_owned_message().event.into_option().unwrap()),
            Ok(None) => break stream.error().cloned().unwrap(),
            Err(fault) => break fault,
        }
    };
    assert_eq!(fault.code, ErrorCode::DeadlineExceeded);
    assert!(begun.elapsed() < Duration::from_secs(10));
    let follower = envd
        .follow(ran.pid.unwrap(), CallOptions::default())
        .await
        .unwrap();
    assert_eq!(follower.status(), "signal: killed");
    for pid in ran.text().split_whitespace() {
        assert!(ends(pid.parse().unwrap()), "{pid} lives on");
    }
}

#[tokio::test]
async fn the_server_tells_the_timeout_in_its_own_words() {
    let envd = Envd::start(&[]);
    let json = br#"{"process":{"cmd":"sleep","args":["100"]}}"#;
    let mut frame = vec![0];
    frame.extend(u32::try_from(json.len()).unwrap().to_be_bytes());
    frame.extend(json);
    let headers = "Content-Type: application/connect+json\r\nConnect-Timeout-Ms: 300\r\n";
    let (status, _, body) = envd.http("POST /process.Process/Start", headers, &frame);
    let body = String::from_utf8_lossy(&body).into_owned();
    assert_eq!(status, 200);
    assert!(
        body.contains(
            r#"{"error":{"code":"deadline_exceeded","message":"command timed out after 300 ms"}}"#
        ),
        "{body}"
    );
    for bad in ["-1", "soon", "12345678901"] {
        let headers = format!("Content-Type: application/json\r\nConnect-Timeout-Ms: {bad}\r\n");
        let (status, _, body) = envd.http("POST /process.Process/List", &headers, b"{}");
        assert_eq!(status, 400, "{}", String::from_utf8_lossy(&body));
    }
}

#[tokio::test]
async fn signals_reach_the_group_and_kill_is_done_when_answered() {
    let envd = Envd::start(&[]);
    let mut request = shell("sleep 100 & wait");
    request.tag = Some("job".into());
    let (pid, follower) = started(&envd, request.clone()).await;

    let clash = envd.run(request, CallOptions::default()).await.unwrap_err();
    assert_eq!(clash.code, ErrorCode::AlreadyExists);
    assert_eq!(
        clash.message,
        Some(format!("tag 'job' is in use by pid {pid}"))
    );

    let list = envd
        .processes(CodecFormat::Json)
        .list(ListRequest::default())
        .await
        .unwrap()
        .into_owned();
    let [one] = list.processes.as_slice() else {
        panic!("one process: {list:?}")
    };
    assert_eq!((one.pid, one.tag.as_deref()), (pid, Some("job")));
    assert_eq!(one.config.as_option().unwrap().cmd, "/bin/sh");

    signal(&envd, by_tag("job"), Signal::Sigkill).await.unwrap();
    assert!(!is_running(pid));
    assert_eq!(follower.await.unwrap().unwrap().status(), "signal: killed");
    let gone = signal(&envd, by_tag("job"), Signal::Sigterm)
        .await
        .unwrap_err();
    assert_eq!(
        (gone.code, gone.message.as_deref()),
        (ErrorCode::NotFound, Some("no process with tag 'job'"))
    );

    let (pid, follower) = started(
        &envd,
        shell("trap 'echo caught; exit 3' TERM; echo ready; sleep 100 & wait"),
    )
    .await;
    let mut ready = Ran::default();
    while ready.stdout.is_empty() {
        // The replay tells that the trap is set; the stream is left when it has been seen.
        let options = CallOptions::default()
            .with_header("x-wrenn-replay", "1")
            .with_timeout(Duration::from_millis(200));
        let client = envd.processes(CodecFormat::Proto);
        let request = wrenn_rpc::process::ConnectRequest {
            process: by_pid(pid).into(),
            ..Default::default()
        };
        let mut stream = client.connect_with_options(request, options).await.unwrap();
        ready = Ran::default();
        while let Ok(Some(message)) = stream
            .message::<wrenn_rpc::process::ConnectResponse>()
            .await
        {
            ready.take(message.to_owned_message().event.into_option().unwrap());
        }
    }
    signal(&envd, by_pid(pid), Signal::Sigterm).await.unwrap();
    let ran = follower.await.unwrap().unwrap();
    assert_eq!(
        (ran.text(), ran.status()),
        ("ready\ncaught\n", "exit status 3")
    );
    let refused = signal(&envd, by_pid(pid), Signal::Unspecified)
        .await
        .unwrap_err();
    assert_eq!(refused.code, ErrorCode::InvalidArgument);
}

#[tokio::test]
async fn a_late_follower_gets_the_end_and_the_replay() {
    let envd = Envd::start(&[]);
    let ran = envd.sh("echo past; exit 4").await;
    let pid = ran.pid.unwrap();
    let late = envd.follow(pid, CallOptions::default()).await.unwrap();
    assert_eq!(
        (late.pid, late.text(), late.status()),
        (Some(pid), "", "exit status 4")
    );
    let replayed = envd
        .follow(
            pid,
            CallOptions::default().with_header("x-wrenn-replay", "1"),
        )
        .await
        .unwrap();
    assert_eq!(
        (replayed.text(), replayed.status()),
        ("past\n", "exit status 4")
    );
    if is_soak() {
        // What it said is kept for a minute, how it ended for ten.
        tokio::time::sleep(Duration::from_secs(62)).await;
        let options = CallOptions::default().with_header("x-wrenn-replay", "1");
        let replayed = envd.follow(pid, options).await.unwrap();
        assert_eq!((replayed.text(), replayed.status()), ("", "exit status 4"));
    }
    let missing = envd
        .follow(4_000_000, CallOptions::default())
        .await
        .unwrap_err();
    assert_eq!(missing.code, ErrorCode::NotFound);
}

#[tokio::test]
async fn a_process_has_so_many_followers_and_a_tag_means_its_latest_holder() {
    let envd = Envd::start(&[]);
    let mut request = shell("read word; exit 5");
    request.tag = Some("job".into());
    let (first, follower) = started(&envd, request.clone()).await;
    let connect = ConnectRequest {
        process: by_tag("job").into(),
        ..Default::default()
    };
    // Whoever has started it is one.
    let mut others: Vec<_> = (1..64)
        .map(|_| Kept::stream(&envd, "/process.Process/Connect", &connect))
        .collect();
    let refused = envd.follow(first, CallOptions::default()).await;
    assert_eq!(refused.unwrap_err().code, ErrorCode::ResourceExhausted);
    others.pop();
    // Who has gone is noticed in its time.
    let begun = Instant::now();
    let latest = loop {
        let client = envd.processes(CodecFormat::Proto);
        let mut stream = client.connect(connect.clone()).await.unwrap();
        if stream
            .message::<ConnectResponse>()
            .await
            .is_ok_and(|first| first.is_some())
        {
            break stream;
        }
        assert!(begun.elapsed() < Duration::from_secs(10));
    };
    drop((latest, others));
    input(&envd, first, b"go\n").await.unwrap();
    assert_eq!(follower.await.unwrap().unwrap().status(), "exit status 5");
    let options = CallOptions::default();
    assert_eq!(
        envd.follow(first, options.clone()).await.unwrap().pid,
        Some(first)
    );

    let (second, follower) = started(&envd, request).await;
    let mut stream = envd
        .processes(CodecFormat::Proto)
        .connect(connect)
        .await
        .unwrap();
    let event = stream.message::<ConnectResponse>().await.unwrap().unwrap();
    let mut ran = Ran::default();
    ran.take(event.to_owned_message().event.into_option().unwrap());
    assert_eq!(ran.pid, Some(second));
    // The record of the first gave way to the second, also under its pid.
    let forgotten = envd.follow(first, options).await.unwrap_err();
    assert_eq!(forgotten.code, ErrorCode::NotFound);
    input(&envd, second, b"go\n").await.unwrap();
    assert_eq!(follower.await.unwrap().unwrap().status(), "exit status 5");
}

#[tokio::test]
async fn a_process_outlives_the_stream_that_started_it() {
    let envd = Envd::start(&[]);
    let (pid, follower) = started(&envd, shell("read line; echo got $line")).await;
    follower.abort();
    let _ = follower.await;
    input(&envd, pid, b"it\n").await.unwrap();
    let options = CallOptions::default().with_header("x-wrenn-replay", "1");
    let ran = envd.follow(pid, options).await.unwrap();
    assert_eq!((ran.text(), ran.status()), ("got it\n", "exit status 0"));
}

#[tokio::test]
async fn a_descendant_that_keeps_the_pipe_does_not_keep_a_killed_process() {
    let envd = Envd::start(&[]);
    // A session of its own takes the sleeper out of the group; it still holds the pipe.
    let (pid, follower) = started(&envd, shell("setsid sleep 6 & echo up; sleep 100")).await;
    signal(&envd, by_pid(pid), Signal::Sigkill).await.unwrap();
    let begun = Instant::now();
    let ran = follower.await.unwrap().unwrap();
    assert_eq!(ran.status(), "signal: killed");
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn silence_is_broken_by_keepalives() {
    let envd = Envd::start(&[]);
    let options = CallOptions::default().with_header("keepalive-ping-interval", "1");
    let ran = envd.run(shell("sleep 2.5"), options).await.unwrap();
    assert_eq!(ran.keepalives, 2);
}
