//! Pause and resume: what comes back is what was there, and nothing is lost when something fails.

use wrenn_ids::SandboxId;
use wrenn_rpc::{
    connectrpc::{ConnectError, ErrorCode},
    hostagent::{PauseReason, Sandbox, SandboxState, UpdateSandboxRequest, error_detail::Reason},
};
use wrenn_testkit::virtual_host_agent::AgentHost;

use crate::{
    calls::{self, state},
    fixture::{BOOT, create, create_request, destroy, flip, get, host, operation, reason, sh, vmm},
};

pub(crate) fn try_pause(host: &AgentHost, id: SandboxId) -> Result<Sandbox, ConnectError> {
    host.block_on(calls::pause(host, id))
}

pub(crate) fn try_resume(host: &AgentHost, id: SandboxId) -> Result<Sandbox, ConnectError> {
    host.block_on(calls::resume(host, id))
}

fn pause(host: &AgentHost, id: SandboxId) -> Sandbox {
    match try_pause(host, id) {
        Ok(paused) => {
            assert_eq!(state(&paused), SandboxState::Paused);
            paused
        }
        Err(error) => panic!("pause: {error}\n{}", host.log()),
    }
}

pub(crate) fn resume(host: &AgentHost, id: SandboxId) -> Sandbox {
    match try_resume(host, id) {
        Ok(resumed) => {
            assert_eq!(state(&resumed), SandboxState::Running);
            resumed
        }
        Err(error) => panic!("resume: {error}\n{}", host.log()),
    }
}

/// Its state once nothing changes it any more.
fn settled(host: &AgentHost, id: SandboxId) -> SandboxState {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(180);
    loop {
        match state(&get(host, id).expect("it is known")) {
            SandboxState::Pausing | SandboxState::Resuming => {
                assert!(std::time::Instant::now() < until, "it does not settle");
                std::thread::sleep(std::time::Duration::from_millis(200));
            }
            settled => return settled,
        }
    }
}

/// A guest program that keeps a counter in memory, an open file and a connection to itself. When another connection
/// asks, it writes to all of them, and tells of them on a line: the checksum of its memory before that and after it.
const KEEPER: &str = r#"
import os, random, socket, sys, zlib
seed, mib = 7, int(sys.argv[1])
block = bytearray(random.Random(seed).randbytes(1 << 20)) * mib
for i in range(mib):
    block[i << 20] = i & 0xff
zeros = bytearray(b"x" * (4 << 20))
log = open("/root/log", "a")
listener = socket.create_server(("127.0.0.1", 7000))
near = socket.create_connection(("127.0.0.1", 7000))
far, _ = listener.accept()
asked = socket.create_server(("127.0.0.1", 7001))
print("ready", flush=True)
count = 0
while True:
    who, _ = asked.accept()
    word = who.recv(64).decode()
    found = zlib.crc32(block)
    count += 1
    if word == "zero":
        zeros[:] = bytes(len(zeros))
    block[(count << 20) + 5] = count & 0xff
    log.write(f"{count}\n")
    log.flush()
    near.send(b"ping")
    echo = far.recv(4)
    left = zlib.crc32(block)
    who.send(f"{count} {found:08x} {left:08x} {len(zeros.strip(bytes(1)))} {echo.decode()} {os.getpid()}\n".encode())
    who.close()
"#;

fn ask(host: &AgentHost, id: SandboxId, word: &str) -> Vec<String> {
    let line = format!(
        "bash -c 'exec 3<>/dev/tcp/127.0.0.1/7001; printf {word} >&3; read -r line <&3; echo \"$line\"'"
    );
    sh(host, id, &line)
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

/// Starts the keeper of so many MiB and waits until it is ready.
fn keep(host: &AgentHost, id: SandboxId, mib: u32) {
    let start = format!(
        "cat > /root/keeper.py <<'END'\n{KEEPER}\nEND\n\
         mkfifo /root/ready; setsid python3 /root/keeper.py {mib} > /root/ready 2> /root/errors < /dev/null & \
         head -1 /root/ready; cat /root/errors"
    );
    assert_eq!(sh(host, id, &start), "ready\n");
}

#[test]
fn memory_connections_and_files_survive_many_pauses() {
    let host = host();
    let before = host.census().expect("count");
    let whole = std::env::var_os("WRENN_SOAK").is_some();
    // Twice over the number of differences that may lie on each other.
    let (cycles, mib) = if whole { (25, 200) } else { (13, 32) };
    let id = SandboxId::new();
    let mut request = create_request(&host, id);
    request.memory_mib = 256 + mib;
    host.block_on(host.client.create_sandbox(request))
        .expect("it is created");
    keep(&host, id, mib);
    let mut last = ask(&host, id, "write");
    for cycle in 1..=cycles {
        let paused = pause(&host, id);
        assert_eq!(paused.pause_reason.as_known(), Some(PauseReason::User));
        assert!(paused.snapshot_bytes > 0);
        let resumed = resume(&host, id);
        assert!(resumed.started_at_ms > 0);
        let word = if cycle == 5 { "zero" } else { "write" };
        let now = ask(&host, id, word);
        let number = |words: &[String]| words[0].parse::<u32>().expect("a count");
        assert_eq!(number(&now), number(&last) + 1, "cycle {cycle}");
        assert_eq!(now[1], last[2], "memory, cycle {cycle}");
        let not_zero = if cycle < 5 { 4 << 20 } else { 0 };
        assert_eq!(now[3], not_zero.to_string(), "zeros, cycle {cycle}");
        assert_eq!((&*now[4], &now[5]), ("ping", &last[5]), "cycle {cycle}");
        last = now;
    }
    let lines = sh(&host, id, "wc -l < /root/log");
    assert_eq!(lines.trim(), (cycles + 1).to_string());
    destroy(&host, id);
    host.await_census(&before).expect("nothing is left");
}

#[test]
fn a_paused_sandbox_takes_nothing_but_its_files_and_survives_the_agent() {
    let host = host();
    let before = host.census().expect("count");
    let id = create(&host);
    sh(&host, id, "echo kept > /root/kept; echo hot > /dev/shm/hot");
    let running = get(&host, id).expect("it runs");
    let (name, pid) = vmm(&host, id);
    pause(&host, id);
    let again = pause(&host, id);
    assert_eq!(state(&again), SandboxState::Paused);
    let left = host
        .shell(&format!(
            "ls -d /proc/{pid} 2>/dev/null | wc -l; ls /sys/fs/cgroup/wrenn | grep -c {name}; \
             dmsetup ls 2>/dev/null | grep -c sb-; true"
        ))
        .expect("look");
    assert_eq!(left, "0\n0\n0\n");
    let refused = crate::fixture::exec(&host, id, &["true"]).expect_err("it is paused");
    assert_eq!(
        (refused.code, reason(&refused)),
        (ErrorCode::FailedPrecondition, Reason::WRONG_STATE)
    );
    host.kill_agent().expect("it starts again");
    assert_eq!(
        state(&get(&host, id).expect("it is known")),
        SandboxState::Paused
    );
    let resumed = resume(&host, id);
    assert!(resumed.started_at_ms > running.started_at_ms);
    assert_eq!(sh(&host, id, "cat /root/kept /dev/shm/hot"), "kept\nhot\n");
    assert_eq!(
        state(&resume(&host, id)),
        SandboxState::Running,
        "already so"
    );
    host.kill_agent().expect("it starts again");
    assert_eq!(sh(&host, id, "cat /dev/shm/hot"), "hot\n");
    pause(&host, id);
    destroy(&host, id);
    host.await_census(&before).expect("nothing is left");
}

/// The steps of `pause.rs` and `resume.rs`, in order.
const PAUSE: [&str; 7] = [
    "merged", "record", "prepare", "stop", "snapshot", "files", "disk",
];
const RESUME: [&str; 6] = ["check", "slot", "disk", "launch", "load", "init"];

#[test]
fn a_pause_or_resumption_that_fails_at_any_step_changes_nothing() {
    let host = host();
    let before = host.census().expect("count");
    let id = create(&host);
    sh(
        &host,
        id,
        "echo hot > /dev/shm/hot; sleep 100000 > /dev/null 2>&1 &",
    );
    let whole = "cat /dev/shm/hot; pgrep -c sleep";
    for step in PAUSE {
        host.arm(&format!("pause.after.{step}=fail")).expect("arm");
        let error = try_pause(&host, id).expect_err(step);
        assert_eq!(error.code, ErrorCode::Internal, "{step}: {error}");
        host.disarm().expect("disarm");
        assert_eq!(sh(&host, id, whole), "hot\n1\n", "{step}");
    }
    pause(&host, id);
    let paused = host.census().expect("count");
    for step in RESUME {
        host.arm(&format!("resume.after.{step}=fail-twice"))
            .expect("arm");
        let error = try_resume(&host, id).expect_err(step);
        assert_eq!(error.code, ErrorCode::Internal, "{step}: {error}");
        host.disarm().expect("disarm");
        host.await_census(&paused).expect(step);
    }
    resume(&host, id);
    assert_eq!(sh(&host, id, whole), "hot\n1\n");
    destroy(&host, id);
    host.await_census(&before).expect("nothing is left");
}

#[test]
fn an_agent_that_dies_at_any_step_leaves_it_running_or_paused() {
    let host = host();
    let before = host.census().expect("count");
    let all = std::env::var_os("WRENN_SOAK").is_some();
    let id = create(&host);
    sh(
        &host,
        id,
        "echo hot > /dev/shm/hot; sleep 100000 > /dev/null 2>&1 &",
    );
    let whole = "cat /dev/shm/hot; pgrep -c sleep";
    let steps = |steps: &[&'static str], short: &[&str]| {
        let chosen = steps.iter().filter(|step| all || short.contains(step));
        chosen.copied().collect::<Vec<_>>()
    };
    let pauses = [PAUSE.as_slice(), &["paused"]].concat();
    for step in steps(&pauses, &["snapshot", "paused"]) {
        tracing::warn!("pause {step}");
        host.arm(&format!("pause.after.{step}=abort")).expect("arm");
        assert!(try_pause(&host, id).is_err(), "the connection breaks");
        host.disarm().expect("disarm");
        host.await_agent().expect("it starts again");
        let found = settled(&host, id);
        let expected = match step {
            "paused" => SandboxState::Paused,
            _ => SandboxState::Running,
        };
        assert_eq!(found, expected, "{step}");
        if found == SandboxState::Paused {
            resume(&host, id);
        }
        assert_eq!(sh(&host, id, whole), "hot\n1\n", "{step}");
    }
    let resumes = [RESUME.as_slice(), &["running"]].concat();
    for step in steps(&resumes, &["load", "running"]) {
        tracing::warn!("resume {step}");
        pause(&host, id);
        host.arm(&format!("resume.after.{step}=abort"))
            .expect("arm");
        assert!(try_resume(&host, id).is_err(), "the connection breaks");
        host.disarm().expect("disarm");
        host.await_agent().expect("it starts again");
        let found = settled(&host, id);
        let expected = match step {
            "running" => SandboxState::Running,
            _ => SandboxState::Paused,
        };
        assert_eq!(found, expected, "{step}");
        if found == SandboxState::Paused {
            resume(&host, id);
        }
        assert_eq!(sh(&host, id, whole), "hot\n1\n", "{step}");
    }
    destroy(&host, id);
    host.await_census(&before).expect("nothing is left");
}

#[test]
fn a_flipped_bit_in_any_file_of_a_snapshot_is_refused_and_it_stays_paused() {
    let host = host();
    host.arm(BOOT).expect("arm");
    let id = create(&host);
    host.disarm().expect("disarm");
    sh(&host, id, "echo hot > /dev/shm/hot");
    pause(&host, id);
    resume(&host, id);
    pause(&host, id);
    let directory = format!("/var/lib/wrenn/sandboxes/{id}/gen-2");
    let files = host.shell(&format!("ls {directory}")).expect("list");
    assert_eq!(files.lines().count(), 4, "{files}");
    for file in files.lines() {
        let path = format!("{directory}/{file}");
        flip(&host, &path);
        let refused = try_resume(&host, id).expect_err(file);
        assert_eq!(
            (refused.code, reason(&refused)),
            (ErrorCode::DataLoss, Reason::SNAPSHOT_DAMAGED),
            "{file}: {refused}"
        );
        assert_eq!(
            state(&get(&host, id).expect("it is known")),
            SandboxState::Paused
        );
        flip(&host, &path);
    }
    resume(&host, id);
    assert_eq!(sh(&host, id, "cat /dev/shm/hot"), "hot\n");
    destroy(&host, id);
}

#[test]
fn nobody_using_it_pauses_it_and_using_it_does_not() {
    let host = host();
    let id = create(&host);
    let update = UpdateSandboxRequest {
        operation: operation(&host, 1).into(),
        sandbox_id: id.to_string(),
        idle_timeout_sec: Some(3),
        ..UpdateSandboxRequest::default()
    };
    host.block_on(host.client.update_sandbox(update))
        .expect("it is changed");
    sh(&host, id, "sleep 8");
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let now = get(&host, id).expect("it is known");
        if state(&now) == SandboxState::Paused {
            assert_eq!(now.pause_reason.as_known(), Some(PauseReason::Idle));
            break;
        }
        assert!(std::time::Instant::now() < until, "it is not paused");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    destroy(&host, id);
}
