//! One jail base, cgroup parent and network namespace a test, so that tests do not see each other.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use wrenn_firecracker::api::types::{BootSource, MachineConfig, NetworkInterface, RateLimiter};
use wrenn_firecracker::{
    Census, Configuring, Jail, JailHost, JailSpec, JailedVm, Leftover, Limits, Running, Vm, VmId,
    census, console_tail,
};

/// Generous: the virtual host is emulated.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
pub(crate) const UID: u32 = 234_567;

pub(crate) struct Fixture {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) host: Arc<JailHost>,
    images: PathBuf,
    namespace: String,
    reaped: Arc<Mutex<Vec<Leftover>>>,
}

impl Fixture {
    pub(crate) async fn new(name: &str) -> Self {
        let images =
            PathBuf::from(std::env::var_os("WRENN_IMAGES_DIR").unwrap_or("/opt/wrenn".into()));
        let dir = tempfile::tempdir_in(
            std::env::var_os("WRENN_STATE_DIR").unwrap_or("/var/lib/wrenn".into()),
        )
        .unwrap();
        let namespace = format!("wrenn-test-{name}");
        ip(&["netns", "add", &namespace]);
        ip(&[
            "-n",
            &namespace,
            "tuntap",
            "add",
            "tap0",
            "mode",
            "tap",
            "user",
            &UID.to_string(),
        ]);
        let reaped = Arc::new(Mutex::new(Vec::new()));
        let sink = reaped.clone();
        let host = Arc::new(JailHost {
            firecracker: images.join("bin/firecracker"),
            jailer: images.join("bin/jailer"),
            base: dir.path().join("jails"),
            cgroup_root: "/sys/fs/cgroup".into(),
            cgroup_parent: format!("wrenn-test-{name}"),
            api_deadline: DEADLINE,
            reaper: Arc::new(move |leftover| sink.lock().unwrap().push(leftover)),
        });
        Self {
            dir,
            host,
            images,
            namespace,
            reaped,
        }
    }

    pub(crate) fn spec(&self, id: &str) -> JailSpec {
        JailSpec {
            id: VmId::new(id).unwrap(),
            uid: UID,
            gid: UID,
            network_namespace: Path::new("/run/netns").join(&self.namespace),
            limits: Limits::of_guest(1, 128),
        }
    }

    pub(crate) async fn launch(&self, id: &str) -> JailedVm {
        let jail = Jail::create(&self.host, self.spec(id)).await.unwrap();
        let kernel = self.kernel();
        assert_eq!(
            jail.place_file(&kernel.join("vmlinux"), "vmlinux")
                .await
                .unwrap(),
            Path::new("/vmlinux")
        );
        jail.place_file(&kernel.join("initrd"), "initrd")
            .await
            .unwrap();
        jail.launch(DEADLINE).await.unwrap()
    }

    pub(crate) async fn configure(&self, vm: &Vm<Configuring>) {
        let source = BootSource {
            kernel_image_path: "/vmlinux".into(),
            initrd_path: Some("/initrd".into()),
            boot_args:
                "console=ttyS0 reboot=k panic=1 pci=off i8042.noaux i8042.nomux i8042.dumbkbd"
                    .into(),
        };
        vm.boot_source(&source).await.unwrap();
        vm.machine(&MachineConfig {
            vcpu_count: 1,
            mem_size_mib: 128,
            track_dirty_pages: true,
        })
        .await
        .unwrap();
    }

    pub(crate) async fn boot(&self, vm: &JailedVm) -> Vm<Running> {
        let configuring = Vm::fresh(vm.client());
        self.configure(&configuring).await;
        configuring.start().await.unwrap()
    }

    pub(crate) fn interface(&self, limit: Option<RateLimiter>) -> NetworkInterface {
        NetworkInterface {
            iface_id: "eth0".into(),
            guest_mac: "02:FC:00:00:00:05".into(),
            host_dev_name: "tap0".into(),
            rx_rate_limiter: limit,
            tx_rate_limiter: limit,
        }
    }

    pub(crate) fn version(&self) -> String {
        let output = Command::new(&self.host.firecracker)
            .arg("--version")
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines()
            .next()
            .unwrap()
            .trim_start_matches("Firecracker v")
            .to_owned()
    }

    pub(crate) async fn census(&self) -> Census {
        census(&self.host).await.unwrap()
    }

    /// Waits until the census is as given; the reaper's leftovers are cleaned meanwhile.
    pub(crate) async fn wait_for_census(&self, expected: &Census) {
        let reached = async {
            loop {
                for mut leftover in self.reaped() {
                    leftover.clean().await.unwrap();
                }
                if self.census().await == *expected {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(DEADLINE, reached)
            .await
            .expect("everything is gone in time");
    }

    pub(crate) async fn wait_for_console(&self, log: &Path, expected: &str) {
        let seen = async {
            while !console_tail(log, 1 << 20).unwrap().contains(expected) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let seen = tokio::time::timeout(DEADLINE, seen).await;
        assert!(
            seen.is_ok(),
            "{expected:?} in {}",
            console_tail(log, 4096).unwrap()
        );
    }

    pub(crate) fn reaped(&self) -> Vec<Leftover> {
        std::mem::take(&mut self.reaped.lock().unwrap())
    }

    fn kernel(&self) -> PathBuf {
        let mut versions: Vec<_> = std::fs::read_dir(self.images.join("kernels"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        versions.sort();
        versions.pop().expect("a kernel is installed")
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        ip(&["netns", "del", &self.namespace]);
        let _ = std::fs::remove_dir(self.host.cgroup_root.join(&self.host.cgroup_parent));
    }
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "ip {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
