//! Creation, as ordered steps that each push a guard:
//!
//! record → CoW store → slot → disk → jail → launch → configure and start → `/health` → `/init` → record
//!
//! A step that fails, is overtaken by a destroy or takes too long ends the creation; the driver then takes
//! the stack down.

use std::{net::Ipv4Addr, time::Duration};

use wrenn_block::{CowFile, DeviceName, DiskSize};
use wrenn_firecracker::{
    JailedVm, Vm,
    api::types::{
        BootSource, Drive, EntropyDevice, MachineConfig, MmdsConfig, NetworkInterface, RateLimiter,
        TokenBucket,
    },
    console_tail,
};

use super::{
    Failure, FailureKind,
    guest::{Keys, Metadata},
    host::{COW, Directory},
    manifest::Manifest,
    stack::{Guard, Stack},
    steps::{StartError, Steps},
};
use crate::{
    envd::{Envd, Unhealthy},
    templates::{Kernel, Template},
};

/// Longest time for the guest to answer after its start, before stretching (180 s where emulated).
const BOOT: Duration = Duration::from_secs(30);
/// Bytes of the console shown in the log when a boot fails.
const CONSOLE_TAIL: usize = 4096;
/// Default limits of one sandbox's disk and of each direction of its network.
const DISK_BYTES_PER_SEC: u64 = 500 << 20;
const DISK_OPS_PER_SEC: u64 = 20_000;
const NETWORK_BYTES_PER_SEC: u64 = 125 << 20;

impl Steps<'_> {
    /// Creates the sandbox. On an error `stack` holds what was made.
    pub(crate) async fn create(
        &self,
        manifest: &mut Manifest,
        stack: &mut Stack,
    ) -> Result<Envd, StartError> {
        let host = self.host;
        let (template, kernel) = self.check(manifest)?;
        let permit = self.permit().await?;

        let directory = host.directory(manifest.sandbox_id);
        let owned = Directory::create(directory.clone(), host.reaper.clone());
        stack.push(Guard::Directory(owned.map_err(StartError::Directory)?));
        manifest.kernel_version.clone_from(&kernel.version);
        manifest.rootfs_sha256 = template.sha256;
        manifest.write(&directory)?;
        host.keep_base(manifest).map_err(StartError::Directory)?;
        self.passed("record")?;

        let size = DiskSize::mib(manifest.disk_mib)?;
        let cow_path = directory.join(COW);
        let cow = CowFile::create(&cow_path, size, host.block_reaper.clone());
        let cow = self.host_step("cow", async { Ok(cow.await?) }).await?;
        stack.push(Guard::Cow(cow));
        self.passed("cow")?;
        let lease = self.slot(manifest).await?;
        let slot = (lease.slot(), lease.uid());
        stack.push(Guard::Slot(lease));
        let name = DeviceName::new(&manifest.sandbox_id.to_string())?;
        let base = host.base(manifest);
        let disk = async { Ok(host.blocks.attach(&name, base, &cow_path, size).await?) };
        let disk = self.host_step("disk", disk).await?;
        let device = disk.device_number();
        stack.push(Guard::Disk(disk));
        self.passed("disk")?;

        let files = [
            (kernel.image.as_path(), "vmlinux"),
            (kernel.initrd.as_path(), "initrd"),
        ];
        let vm = self.spawn(slot, manifest, &files).await?;
        let started = self
            .dedicate(vm, manifest, slot, device, &[], stack)
            .await?;
        let keys = Keys::new()?;
        let fresh = Vm::fresh(started.client.clone());
        self.host_step("configure", self.configure(&fresh, manifest, &keys))
            .await?;
        self.passed("configure")?;
        let start = async {
            fresh
                .start()
                .await
                .map_err(|refused| StartError::Start(refused.error.into()))
        };
        self.host_step("start", start).await?;

        let envd = Envd::new(
            slot.0.host_address(),
            &keys.access_token,
            &manifest.default_user,
            host.pace,
        )
        .map_err(StartError::Init)?;
        let envd_version = self
            .step("boot", None, self.boot(manifest, &envd, stack.vm()))
            .await?;
        self.passed("boot")?;
        let envs = manifest.envs.clone();
        self.init(manifest, &keys, &envd, Some(&envs)).await?;
        drop(permit);
        started.record(manifest, &directory, keys, envd_version, false, stack)?;
        self.passed("running")?;
        Ok(envd)
    }

    /// What can be refused before anything is made.
    fn check(&self, manifest: &Manifest) -> Result<(Template, Kernel), StartError> {
        let template = self.host.images.template(manifest.template_id)?;
        let refuse = |kind, message: String| Err(StartError::Refused(Failure::new(kind, message)));
        if manifest.disk_mib < template.disk_mib {
            let least = template.disk_mib;
            return refuse(
                FailureKind::BadRequest,
                format!("disk_mib must be at least {least}"),
            );
        }
        let memory = crate::facts::memory();
        if u64::from(manifest.memory_mib) > memory.total_mib {
            let most = memory.total_mib;
            return refuse(
                FailureKind::NoCapacity,
                format!("this host has {most} MiB of memory"),
            );
        }
        Ok((template, self.host.images.kernel()?))
    }

    async fn configure(
        &self,
        vm: &Vm<wrenn_firecracker::Configuring>,
        manifest: &Manifest,
        keys: &Keys,
    ) -> Result<(), StartError> {
        vm.boot_source(&BootSource {
            kernel_image_path: "/vmlinux".into(),
            initrd_path: Some("/initrd".into()),
            boot_args: boot_args(&self.host.config.guest_dns),
        })
        .await?;
        vm.machine(&MachineConfig {
            vcpu_count: manifest.vcpus,
            mem_size_mib: manifest.memory_mib,
            track_dirty_pages: false,
        })
        .await?;
        vm.drive(&Drive {
            drive_id: "rootfs".to_owned(),
            path_on_host: "/rootfs".into(),
            is_root_device: false,
            is_read_only: false,
            cache_type: None,
            rate_limiter: Some(RateLimiter {
                bandwidth: Some(TokenBucket::per_second(DISK_BYTES_PER_SEC)),
                ops: Some(TokenBucket::per_second(DISK_OPS_PER_SEC)),
            }),
            io_engine: None,
        })
        .await?;
        let limiter = RateLimiter {
            bandwidth: Some(TokenBucket::per_second(NETWORK_BYTES_PER_SEC)),
            ops: None,
        };
        vm.network_interface(&NetworkInterface {
            iface_id: "eth0".to_owned(),
            guest_mac: wrenn_network::guest_mac_text(),
            host_dev_name: wrenn_network::TAP_NAME.to_owned(),
            rx_rate_limiter: Some(limiter),
            tx_rate_limiter: Some(limiter),
        })
        .await?;
        vm.mmds_config(&MmdsConfig::v2(["eth0".to_owned()])).await?;
        vm.put_mmds(&Metadata::of(manifest, keys)).await?;
        Ok(vm.entropy(&EntropyDevice::default()).await?)
    }

    /// Waits for the guest; the death of the VM ends the wait at once.
    async fn boot(
        &self,
        manifest: &Manifest,
        envd: &Envd,
        vm: Option<&JailedVm>,
    ) -> Result<String, StartError> {
        let death = async {
            match vm {
                Some(vm) => vm.ended().await,
                None => std::future::pending().await,
            }
        };
        let how = match envd.wait_healthy(BOOT, death).await {
            Ok(version) => return Ok(version),
            Err(Unhealthy::Died(())) => "the VM ended".to_owned(),
            Err(Unhealthy::Late(limit)) => format!("no answer within {limit:?}"),
        };
        let console = self.host.console(manifest.sandbox_id);
        let console = console_tail(&console, CONSOLE_TAIL).unwrap_or_default();
        Err(StartError::Boot { how, console })
    }
}

/// Kernel arguments of guest.md §2.
fn boot_args(dns: &[Ipv4Addr]) -> String {
    let mut args = format!(
        "console=ttyS0 quiet loglevel=1 reboot=k panic=1 pci=off clocksource=kvm-clock random.trust_cpu=on \
         i8042.noaux i8042.nomux i8042.dumbkbd root=/dev/vda rw init=/usr/local/bin/wrenn-init \
         ip={}::{}:{}::eth0:off",
        wrenn_network::GUEST_ADDRESS,
        wrenn_network::GATEWAY_ADDRESS,
        Ipv4Addr::from_bits(u32::MAX << (32 - wrenn_network::GUEST_PREFIX)),
    );
    if !dns.is_empty() {
        let list: Vec<_> = dns.iter().map(ToString::to_string).collect();
        args.push_str(" wrenn.dns=");
        args.push_str(&list.join(","));
    }
    args
}
