//! The life of one machine, with a disk that outlives it.

use std::path::Path;
use std::time::Duration;

use wrenn_virtual_host::machine::{MachineConfig, MachineError, OnDrop, Stopped};
use wrenn_virtual_host::{Cache, VirtualHost};

const COMMAND: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(60);

fn config(dir: &Path) -> MachineConfig {
    MachineConfig {
        memory_mib: 2048,
        disk_gib: 4,
        ..MachineConfig::new(dir)
    }
}

fn start(config: &MachineConfig) -> VirtualHost {
    VirtualHost::start(
        config,
        &Cache::from_env().expect("a cache directory"),
        &|_| {},
    )
    .expect("a virtual host starts")
}

#[track_caller]
fn check(host: &VirtualHost, command: &str, expected: &str) {
    let done = host.exec(command, COMMAND).expect("a command is answered");
    let stderr = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(
        (done.code, done.text().as_str(), stderr.as_str()),
        (0, expected, "")
    );
}

#[test]
fn a_machine_offers_kvm_keeps_its_data_and_leaves_no_process() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.on_drop = OnDrop::Leave;
    let host = start(&config);
    let ports = (host.agent_port(), host.ssh_port());

    check(
        &host,
        "stat -c %F /dev/kvm /dev/net/tun /dev/mapper/control | uniq",
        "character special file",
    );
    check(
        &host,
        "stat -fc %T /sys/fs/cgroup /opt/wrenn /var/lib/wrenn | tr '\\n' ' '",
        "cgroup2fs ext2/ext3 ext2/ext3",
    );
    check(
        &host,
        "touch /etc/x 2> /dev/null || echo read-only",
        "read-only",
    );
    assert_eq!(host.exec("exit 7", COMMAND).unwrap().code, 7);

    host.put(
        "/tmp/dir/it's a test",
        &std::fs::read(std::env::current_exe().unwrap()).unwrap(),
    )
    .unwrap();
    let probe = host
        .exec(
            "WRENN_TEST_EXPECT_KVM=1 \"/tmp/dir/it's a test\" --exact kvm::the_probe_answers_in_a_sentence",
            COMMAND,
        )
        .unwrap();
    assert_eq!(probe.code, 0, "{}", probe.text());

    let second = VirtualHost::start(&config, &Cache::from_env().unwrap(), &|_| {});
    assert!(matches!(second, Err(MachineError::AlreadyRunning { .. })));
    drop(host);
    let host = VirtualHost::attach(dir.path()).unwrap().unwrap();
    check(
        &host,
        "echo kept > /var/lib/wrenn/file && cat /var/lib/wrenn/file",
        "kept",
    );
    let pid = host.pid();
    assert_eq!(host.stop(STOP).unwrap(), Stopped::Clean);
    assert!(!alive(pid));
    assert!(VirtualHost::attach(dir.path()).unwrap().is_none());

    config.on_drop = OnDrop::Kill;
    let host = start(&config);
    assert_eq!((host.agent_port(), host.ssh_port()), ports);
    check(
        &host,
        "cat /var/lib/wrenn/file; grep -o clean /run/log/fsck",
        "kept\nclean",
    );
    let pid = host.pid();
    drop(host);
    assert!(!alive(pid));
}

/// A process that has ended but was not waited for by its parent is not alive.
fn alive(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}
