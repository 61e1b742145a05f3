//! The floor of a boot: Firecracker alone, with the product's kernel and a copy of its template.
//!
//! No jail, no cgroup, no namespace, no copy-on-write device: one TAP in the namespace of the caller, who
//! is root in a virtual host that is thrown away afterwards.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;
use tokio::{process::Command, time::timeout};
use wrenn_ids::TemplateId;

use super::{
    agent::{ENVD_PORT, MEMORY_MIB, VCPUS},
    raw::GuestHttp,
};

const IMAGES: &str = "/opt/wrenn";
const TAP: &str = "bare0";
const GUEST: &str = "169.254.0.21";
const GATEWAY: &str = "169.254.0.22";
const MASK: &str = "255.255.255.252";
const GUEST_MAC: &str = "02:FC:00:00:00:05";
/// For a boot, emulated.
const DEADLINE: Duration = Duration::from_secs(180);

/// Where bare VMs boot, one at a time.
#[derive(Debug)]
pub struct BareHost {
    directory: PathBuf,
}

impl BareHost {
    /// Prepares the network and a place for disks in `directory`.
    ///
    /// # Errors
    /// When a command fails.
    pub async fn prepare(directory: &Path) -> Result<Self> {
        std::fs::create_dir_all(directory).context("make the bare VMs' directory")?;
        run("ip", &["tuntap", "add", TAP, "mode", "tap"]).await?;
        run(
            "ip",
            &["address", "add", &format!("{GATEWAY}/30"), "dev", TAP],
        )
        .await?;
        run("ip", &["link", "set", TAP, "up"]).await?;
        let neighbour = [
            "neighbour",
            "replace",
            GUEST,
            "lladdr",
            GUEST_MAC,
            "dev",
            TAP,
        ];
        run("ip", &neighbour).await?;
        Ok(Self {
            directory: directory.to_owned(),
        })
    }

    /// Boots a VM, and ends it: the time from the start of the process to the guest's first answer. The
    /// disk is copied before the clock starts.
    ///
    /// # Errors
    /// When a file is missing, or the guest does not answer in time.
    pub async fn boot(&self) -> Result<Duration> {
        let config = self.prepare_boot("boot").await?;
        let guest = Self::guest()?;
        let begun = Instant::now();
        let mut firecracker = Command::new(Self::firecracker())
            .arg("--no-api")
            .arg("--config-file")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("start Firecracker")?;
        tokio::select! {
            waited = timeout(DEADLINE, GuestHttp::wait_healthy(guest)) => {
                waited.context("wait for the bare guest")?;
            }
            ended = firecracker.wait() => bail!("the bare Firecracker ended: {ended:?}"),
        }
        let taken = begun.elapsed();
        firecracker
            .kill()
            .await
            .context("end the bare Firecracker")?;
        Ok(taken)
    }

    /// Copies the disk and writes the settings of the VM of this name; gives the settings' file.
    pub(super) async fn prepare_boot(&self, name: &str) -> Result<PathBuf> {
        let images = Path::new(IMAGES);
        let template = images.join("templates").join(TemplateId::ZERO.to_string());
        let (from, to) = (
            template.join("rootfs.ext4"),
            self.directory.join(format!("{name}.ext4")),
        );
        let (from, to) = (from.to_string_lossy(), to.to_string_lossy());
        run("cp", &["--sparse=always", &from, &to]).await?;
        let config = self.directory.join(format!("{name}.json"));
        std::fs::write(&config, vm(&kernel(images)?, &to)).context("write the VM's settings")?;
        Ok(config)
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn firecracker() -> PathBuf {
        Path::new(IMAGES).join("bin/firecracker")
    }

    /// Where the guest answers.
    pub(super) fn guest() -> Result<SocketAddr> {
        Ok(format!("{GUEST}:{ENVD_PORT}").parse()?)
    }
}

/// The one kernel of the images.
fn kernel(images: &Path) -> Result<PathBuf> {
    let mut versions = std::fs::read_dir(images.join("kernels")).context("list the kernels")?;
    Ok(versions.next().context("find a kernel")??.path())
}

fn vm(kernel: &Path, disk: &str) -> String {
    // What guest.md asks for, as the agent writes it.
    let arguments = format!(
        "console=ttyS0 quiet loglevel=1 reboot=k panic=1 pci=off clocksource=kvm-clock \
         random.trust_cpu=on i8042.noaux i8042.nomux i8042.dumbkbd root=/dev/vda rw \
         init=/usr/local/bin/wrenn-init ip={GUEST}::{GATEWAY}:{MASK}::eth0:off"
    );
    json!({
        "boot-source": {
            "kernel_image_path": kernel.join("vmlinux"),
            "initrd_path": kernel.join("initrd"),
            "boot_args": arguments,
        },
        "drives": [{
            "drive_id": "rootfs", "path_on_host": disk,
            "is_root_device": false, "is_read_only": false,
        }],
        "machine-config": { "vcpu_count": VCPUS, "mem_size_mib": MEMORY_MIB },
        "network-interfaces": [{
            "iface_id": "eth0", "guest_mac": GUEST_MAC, "host_dev_name": TAP,
        }],
        "entropy": {},
    })
    .to_string()
}

async fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let status = Command::new(program).args(arguments).status();
    let status = timeout(DEADLINE, status)
        .await?
        .with_context(|| format!("start {program}"))?;
    ensure!(
        status.success(),
        "{program} {arguments:?} ended with {status}"
    );
    Ok(())
}
