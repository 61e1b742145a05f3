//! Real Firecracker in its jail: runs as root inside the virtual host.
//!
//! Kernel, initrd, Firecracker and jailer are those of the images directory (`WRENN_IMAGES_DIR`, default
//! `/opt/wrenn`). A guest without a disk is enough here: its kernel prints on the console.

#![expect(clippy::unwrap_used, reason = "in a test, failing is the answer")]

mod faults;
mod fixture;

use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use fixture::{DEADLINE, Fixture};
use wrenn_firecracker::api::types::{
    Balloon, EntropyDevice, MmdsConfig, RateLimiter, SnapshotCreate, SnapshotType, TokenBucket,
};
use wrenn_firecracker::{
    Configuring, IoLimit, Jail, JailError, Limits, Observed, Vm, console_tail,
};

#[tokio::test]
async fn a_vm_boots_in_its_jail_and_leaves_nothing_behind() {
    let fixture = Fixture::new("boot").await;
    let before = fixture.census().await;
    let vm = fixture.launch("boot-1").await;
    assert_eq!(
        vm.client().version().await.unwrap().firecracker_version,
        fixture.version()
    );

    let status = std::fs::read_to_string(format!("/proc/{}/status", vm.identity().pid)).unwrap();
    let uid = format!("Uid:\t{0}\t{0}\t{0}\t{0}", fixture::UID);
    assert!(status.contains(&uid), "{status}");
    let namespaces = status
        .lines()
        .find(|line| line.starts_with("NSpid:"))
        .unwrap();
    assert!(
        namespaces.ends_with("\t1"),
        "first process of its own PID namespace: {namespaces}"
    );
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", vm.identity().pid)).unwrap();
    let session = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .nth(3)
        .unwrap()
        .to_owned();
    assert_eq!(
        session,
        vm.identity().pid.to_string(),
        "leads its own session"
    );
    assert_eq!(
        std::fs::read_to_string(vm.cgroup().join("pids.max"))
            .unwrap()
            .trim(),
        "33"
    );
    assert_eq!(
        std::fs::read_to_string(vm.cgroup().join("cpu.max"))
            .unwrap()
            .trim(),
        "125000 100000"
    );

    let log = fixture.dir.path().join("console.log");
    let console = vm.console(&log, 1 << 20).unwrap();
    let running = fixture.boot(&vm).await;
    let copy = tokio::spawn(console.run());
    fixture.wait_for_console(&log, "Linux version").await;

    // The VM dies by itself (here: by a signal from outside), and that is an event.
    let pid = rustix::process::Pid::from_raw(vm.identity().pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    tokio::time::timeout(DEADLINE, vm.ended()).await.unwrap();
    copy.await.unwrap().unwrap();
    assert!(running.client().describe().await.is_err());
    vm.release().await.unwrap();
    assert_eq!(fixture.census().await, before);
    assert!(fixture.reaped().is_empty());
}

#[tokio::test]
async fn a_vm_survives_its_guard_and_is_adopted_by_identity() {
    let fixture = Fixture::new("adopt").await;
    let vm = fixture.launch("adopt-1").await;
    let running = fixture.boot(&vm).await;
    let (id, identity) = (vm.id().clone(), vm.identity());
    drop(running);
    vm.detach();

    let mut stranger = identity;
    stranger.start_time += 1;
    assert!(
        Jail::adopt(&fixture.host, id.clone(), stranger)
            .await
            .unwrap()
            .is_none()
    );
    let mut myself = identity;
    myself.pid = std::process::id() as i32;
    assert!(
        Jail::adopt(&fixture.host, id.clone(), myself)
            .await
            .unwrap()
            .is_none()
    );

    let vm = Jail::adopt(&fixture.host, id.clone(), identity)
        .await
        .unwrap()
        .unwrap();
    let Observed::Running(running) = Observed::of(vm.client()).await.unwrap() else {
        panic!("it ran")
    };
    let paused = running.pause().await.unwrap();
    assert!(matches!(
        Observed::of(vm.client()).await.unwrap(),
        Observed::Paused(_)
    ));
    paused.resume().await.unwrap();

    // A guard that is dropped hands the running VM to the reaper, who ends it.
    drop(vm);
    let mut left = fixture.reaped();
    assert_eq!(left.len(), 1);
    left[0].clean().await.unwrap();
    left[0].clean().await.unwrap();
    assert!(
        Jail::adopt(&fixture.host, id.clone(), identity)
            .await
            .unwrap()
            .is_none()
    );
    Jail::remove(&fixture.host, &id).await.unwrap();
    assert!(!fixture.census().await.ids().contains(&id));
}

#[tokio::test]
async fn devices_are_configured_and_a_snapshot_is_written_into_the_jail() {
    let fixture = Fixture::new("snapshot").await;
    let vm = fixture.launch("snap-1").await;
    let configuring: Vm<Configuring> = Vm::fresh(vm.client());
    configuring
        .entropy(&EntropyDevice::default())
        .await
        .unwrap();
    let balloon = Balloon {
        amount_mib: 0,
        deflate_on_oom: true,
        stats_polling_interval_s: 0,
    };
    configuring.balloon(&balloon).await.unwrap();
    let limit = RateLimiter {
        bandwidth: Some(TokenBucket::per_second(1 << 20)),
        ops: None,
    };
    configuring
        .network_interface(&fixture.interface(Some(limit)))
        .await
        .unwrap();
    configuring
        .mmds_config(&MmdsConfig::v2(["eth0".into()]))
        .await
        .unwrap();
    configuring
        .put_mmds(&std::collections::BTreeMap::from([("instanceID", "x")]))
        .await
        .unwrap();
    fixture.configure(&configuring).await;
    let running = configuring.start().await.unwrap();
    let paused = running.pause().await.unwrap();
    let create = SnapshotCreate {
        snapshot_type: SnapshotType::Full,
        snapshot_path: "/vmstate".into(),
        mem_file_path: "/memory".into(),
    };
    paused.create_snapshot(&create).await.unwrap();
    assert_eq!(
        std::fs::metadata(vm.root().join("memory")).unwrap().len(),
        128 << 20
    );
    paused.resume().await.unwrap();
    vm.kill(DEADLINE).await.unwrap();
    vm.release().await.unwrap();
}

#[tokio::test]
async fn what_firecracker_refuses_is_told_in_its_words_and_the_vm_is_given_back() {
    let fixture = Fixture::new("refuse").await;
    let vm = fixture.launch("refuse-1").await;
    let refused = Vm::fresh(vm.client()).start().await.unwrap_err();
    let text = refused.error.to_string();
    assert!(
        text.starts_with("start the instance: Firecracker answered 400"),
        "{text}"
    );
    assert!(text.contains("kernel"), "{text}");
    fixture.configure(&refused.vm).await;
    refused.vm.start().await.unwrap();
    vm.release().await.unwrap();
}

#[tokio::test]
async fn a_launch_that_fails_says_why_and_takes_the_jail_down() {
    let fixture = Fixture::new("fail").await;
    let before = fixture.census().await;
    let mut spec = fixture.spec("fail-1");
    spec.network_namespace = "/run/netns/no-such-namespace".into();
    let jail = Jail::create(&fixture.host, spec).await.unwrap();
    let error = jail.launch(DEADLINE).await.unwrap_err();
    assert!(
        matches!(&error, JailError::Jailer { console, .. } if console.contains("no-such-namespace")),
        "{error}"
    );
    assert_eq!(fixture.census().await, before);

    // Out of time at once: whatever the jailer was about to do is undone.
    let jail = Jail::create(&fixture.host, fixture.spec("fail-2"))
        .await
        .unwrap();
    assert!(matches!(
        jail.launch(Duration::from_millis(1)).await,
        Err(JailError::Deadline { .. })
    ));
    fixture.wait_for_census(&before).await;
}

#[tokio::test]
async fn limits_name_the_device_and_two_vms_never_share_a_jail() {
    let fixture = Fixture::new("limits").await;
    let mut spec = fixture.spec("limits-1");
    let io = IoLimit {
        major: 7,
        minor: 0,
        writes: Some(100),
        ..IoLimit::default()
    };
    spec.limits = Limits {
        io: vec![io],
        ..Limits::of_guest(2, 256)
    };
    let jail = Jail::create(&fixture.host, spec.clone()).await.unwrap();
    let cgroup = fixture
        .host
        .cgroup_root
        .join(&fixture.host.cgroup_parent)
        .join("limits-1");
    let line = std::fs::read_to_string(cgroup.join("io.max")).unwrap();
    assert_eq!(line.trim(), "7:0 rbps=max wbps=max riops=max wiops=100");
    assert!(Jail::create(&fixture.host, spec).await.is_err());
    assert!(
        cgroup.exists(),
        "the second attempt took nothing from the first"
    );
    jail.release().await.unwrap();
}

#[tokio::test]
async fn a_file_from_another_file_system_is_mounted_read_only_and_unmounted() {
    let fixture = Fixture::new("place").await;
    let jail = Jail::create(&fixture.host, fixture.spec("place-1"))
        .await
        .unwrap();
    let other = std::path::Path::new("/dev/shm/wrenn-place");
    std::fs::create_dir_all("/dev/shm").unwrap();
    std::fs::write(other, "x").unwrap();
    jail.place_file(other, "elsewhere").await.unwrap();
    let inside = jail.root().join("elsewhere");
    assert_eq!(std::fs::read(&inside).unwrap(), b"x");
    if std::fs::metadata(other).unwrap().dev() != std::fs::metadata(jail.root()).unwrap().dev() {
        assert!(std::fs::write(&inside, "y").is_err());
    }
    jail.place_block_device(7, 0, "disk").await.unwrap();
    jail.release().await.unwrap();
    assert_eq!(
        std::fs::read(other).unwrap(),
        b"x",
        "the original is untouched"
    );
    std::fs::remove_file(other).unwrap();
    assert_eq!(
        console_tail(std::path::Path::new("/nonexistent"), 1).unwrap(),
        ""
    );
}
