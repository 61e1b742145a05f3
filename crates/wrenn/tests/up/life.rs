//! One platform's life with real microVMs: an interrupted first run, the first run, use, each process killed while a
//! sandbox runs, down, up again with the data still there, purge.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::user::{User, eventually, kill};

const FIRST_UP: [&str; 3] = ["up", "--memory", "4G"];

#[test]
fn a_platform_lives_from_up_to_purge() {
    let user = User::new();
    user.run(&["status"], 7);
    user.run(&["down"], 0);
    user.run(&["up", "--plan", "--listen", &user.listen], 0);
    assert!(!user.state().exists(), "a plan changes nothing");

    an_interrupted_up_leaves_no_virtual_host(&user);
    let key = first_up(&user);
    second_up(&user);
    commands_run_in_fresh_sandboxes(&user);
    let id = a_sandbox_is_used(&user, &key);
    status_doctor_and_logs_tell(&user);

    the_sandbox_survives_every_service(&user, &id);
    a_killed_vm_is_reported(&user, &id);
    a_virtual_host_that_lost_its_power_starts_again(&user);

    let id = user.run(&["-q", "create"], 0).trim().to_owned();
    let nonce = "echo $$ > /dev/shm/nonce; cat /dev/shm/nonce";
    let nonce = user.run(&["exec", &id, "--", "sh", "-c", nonce], 0);
    let down = user.try_run(&["down"]);
    assert_eq!(down.code, Some(0));
    assert!(down.stderr.contains("1 paused"), "{}", down.stderr);
    user.assert_nothing_runs();
    user.run(&["down"], 0);

    user.run(&["up"], 0);
    let listed = curl(&user, &key, "/v1/sandboxes?status=paused");
    assert!(listed.contains(&id), "records survive: {listed}");
    let kept = user.run(&["exec", &id, "--", "cat", "/dev/shm/nonce"], 0);
    assert_eq!(kept, nonce, "its memory survives");
    user.run(&["sandbox", "rm", &id], 0);
    assert_eq!(user.run(&["run", "--", "echo", "again"], 0), "again\n");

    user.run(&["down", "--purge", "--yes"], 0);
    user.assert_nothing_runs();
    assert!(!user.state().exists());
}

/// Ctrl-C while the virtual host boots.
fn an_interrupted_up_leaves_no_virtual_host(user: &User) {
    let up = user.start(&[&FIRST_UP[..], &["--listen", &user.listen]].concat());
    // Made by the last step before the host is started, native or virtual.
    let started = ["host/host-id", "machine/machine.json"].map(|file| user.state().join(file));
    eventually("the host starts", || {
        started.iter().any(|file| file.exists())
    });
    up.interrupt();
    up.end().failed(130, &["Interrupted"]);
    user.assert_nothing_runs();
    user.run(&["status"], 7);
}

/// The first run that comes to its end; the key that it shows.
fn first_up(user: &User) -> String {
    let first = user.run(&FIRST_UP, 0);
    for word in ["is up", "API key", "password", "First run", "create "] {
        assert!(first.contains(word), "{first}");
    }
    let key = |line: &str| {
        let word = line
            .split_whitespace()
            .find(|word| word.starts_with("wrn_"))?;
        Some(word.to_owned())
    };
    first.lines().find_map(key).unwrap()
}

fn second_up(user: &User) {
    let begun = Instant::now();
    let second = user.run(&["up"], 0);
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "a second up took {:?}",
        begun.elapsed()
    );
    assert!(
        !second.contains("wrn_") && !second.contains("password"),
        "{second}"
    );
}

fn commands_run_in_fresh_sandboxes(user: &User) {
    assert_eq!(
        user.run(&["run", "--", "python3", "-c", "print(6*7)"], 0),
        "42\n"
    );
    let said = user.try_run(&["run", "--", "sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!(
        (said.code, said.stdout.as_str(), said.stderr.as_str()),
        (Some(7), "out\n", "err\n")
    );
}

fn a_sandbox_is_used(user: &User, key: &str) -> String {
    let created = user.run(&["sandbox", "create", "--template", "minimal"], 0);
    let id = created.split_whitespace().next().unwrap().to_owned();
    assert!(user.run(&["sandbox", "ls"], 0).contains(&id));
    assert!(
        user.run(&["sandbox", "exec", &id, "--", "uname", "-a"], 0)
            .starts_with("Linux")
    );
    let local = user.file("file", "carried in\n");
    user.run(&["sandbox", "cp", &local, &format!("{id}:/root/file")], 0);
    assert!(
        user.run(&["sandbox", "cp", &format!("{id}:/etc/os-release"), "-"], 0)
            .contains("Debian")
    );
    let back = user.home().join("back").display().to_string();
    user.run(&["sandbox", "cp", &format!("{id}:/root/file"), &back], 0);
    assert_eq!(std::fs::read_to_string(back).unwrap(), "carried in\n");
    assert!(curl(user, key, "/v1/sandboxes").contains(&id));
    assert!(curl(user, "wrn_0", "/v1/sandboxes").contains("unauthorized"));
    id
}

fn curl(user: &User, key: &str, path: &str) -> String {
    let output = Command::new("curl")
        .args(["-sS", "--noproxy", "*", "-H", &format!("X-API-Key: {key}")])
        .arg(format!("http://{}{path}", user.listen))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn status_doctor_and_logs_tell(user: &User) {
    let status = user.run(&["status"], 0);
    for word in ["postgres", "redis", "control-plane", "healthy", "1 running"] {
        assert!(status.contains(word), "{status}");
    }
    let doctor = user.run(&["doctor"], 0);
    assert!(doctor.contains("PostgreSQL"), "{doctor}");
    let logs = user.run(&["logs", "--tail", "1000"], 0);
    for component in [
        "postgres",
        "redis",
        "control-plane",
        "host-agent",
        "supervisor",
    ] {
        assert!(logs.contains(component), "{component}: {logs}");
    }
}

fn the_sandbox_survives_every_service(user: &User, id: &str) {
    let is_where_it_was = || {
        assert_eq!(
            user.exec_eventually(id, &["cat", "/root/file"]),
            "carried in\n"
        );
    };
    let boot = user.exec_eventually(id, &["cat", "/proc/sys/kernel/random/boot_id"]);
    for component in ["control-plane", "redis", "postgres"] {
        user.kill_and_wait(component);
        is_where_it_was();
    }
    match user.pid("host-agent") {
        Some(_) => user.kill_and_wait("host-agent"),
        None => {
            user.run(&["machine", "ssh", "--", "kill -9 $(pidof -s wrenn)"], 0);
        }
    }
    is_where_it_was();
    // The supervisor's death takes the services along, but not the sandbox; the next up completes.
    let supervisor = user.status()["supervisor_pid"].as_u64().unwrap();
    kill(u32::try_from(supervisor).unwrap());
    user.run(&["up"], 0);
    is_where_it_was();
    assert_eq!(
        user.exec_eventually(id, &["cat", "/proc/sys/kernel/random/boot_id"]),
        boot,
        "it is the same boot"
    );
}

fn reported_dead(user: &User, id: &str) {
    eventually("the dead sandbox is reported", || {
        let output = user.command(&["--json", "sandbox", "get", id]).output();
        let sandbox: Value = serde_json::from_slice(&output.unwrap().stdout).unwrap_or(Value::Null);
        sandbox["status"] == "stopped"
    });
}

/// Kills QEMU, where there is one: its sandboxes cannot be back, that is said, and new ones run.
fn a_virtual_host_that_lost_its_power_starts_again(user: &User) {
    if user.pid("host-agent").is_some() {
        return; // the sandboxes run on this machine itself
    }
    let id = user.run(&["-q", "create"], 0).trim().to_owned();
    user.kill_and_wait("virtual-host");
    reported_dead(user, &id);
    assert_eq!(user.run(&["run", "--", "echo", "anew"], 0), "anew\n");
    user.run(&["sandbox", "rm", &id], 0);
}

/// Kills the sandbox's Firecracker: the sandbox cannot be back, and that is said.
fn a_killed_vm_is_reported(user: &User, id: &str) {
    // The first process of its record is its VMM.
    let line = |state: &Path| {
        let record = state.join(format!("sandboxes/{id}/manifest.json"));
        let pid = format!(
            "sed -n 's/.*\"pid\": \\([0-9]*\\).*/\\1/p' {}",
            record.display()
        );
        format!("kill -9 $({pid} | head -1)")
    };
    if user.pid("host-agent").is_some() {
        let kill = line(&user.state().join("host"));
        let status = Command::new("sh").args(["-c", &kill]).status().unwrap();
        assert!(status.success());
    } else {
        let kill = line(Path::new("/var/lib/wrenn"));
        user.run(&["machine", "ssh", "--", &kill], 0);
    }
    reported_dead(user, id);
    let shown = user.run(&["sandbox", "get", id], 0);
    assert!(shown.contains("vm_exited"), "{shown}");
    let said = user.try_run(&["exec", id, "--", "true"]);
    assert_eq!(said.code, Some(125), "{}", said.stderr);
    user.run(&["sandbox", "rm", id], 0);
    user.run(&["status"], 0);
}
