//! Creation, as ordered steps that each push a guard:
//!
//! record → slot → CoW store → disk → jail → launch → configure and start → `/health` → `/init` → record
//!
//! After each step stands a failpoint `create.after.<step>`. A step that fails, is overtaken by a destroy or
//! takes too long ends the creation; the driver then takes the stack down.

use std::{future::Future, net::Ipv4Addr, time::Duration};

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use wrenn_block::{CowFile, DeviceName, DiskSize};
use wrenn_firecracker::{
    Jail, JailSpec, JailedVm, Limits, Vm,
    api::types::{
        BootSource, Drive, EntropyDevice, MachineConfig, MmdsConfig, NetworkInterface, RateLimiter,
        TokenBucket,
    },
    console_tail,
};

use super::{
    BadSpec, Failure, FailureKind, Host, Spec,
    host::Directory,
    manifest::{Live, Manifest},
    policy::State,
    stack::{Guard, Stack, Undo, vm_id},
    view::{Running, now_ms},
};
use crate::{
    envd::{self, Envd, Init, Unhealthy},
    failpoint::Armed,
    identity::Token,
    telemetry,
    templates::{self, Kernel, Template},
};

/// Longest time for a step of the host, before stretching.
const HOST_STEP: Duration = Duration::from_secs(20);
/// Longest time for the guest to answer after its start, before stretching (180 s where emulated).
const BOOT: Duration = Duration::from_secs(30);
/// Bytes of console kept, and shown in the log when a boot fails.
pub(crate) const CONSOLE_LIMIT: u64 = 1 << 20;
const CONSOLE_TAIL: usize = 4096;
/// Default limits of one sandbox's disk and of each direction of its network.
const DISK_BYTES_PER_SEC: u64 = 500 << 20;
const DISK_OPS_PER_SEC: u64 = 20_000;
const NETWORK_BYTES_PER_SEC: u64 = 125 << 20;

/// Why a creation ended; its text is for the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CreateError {
    #[error("keep the sandbox's record")]
    Record(#[from] crate::durable::Error),
    #[error("make the sandbox's directory")]
    Directory(#[source] std::io::Error),
    #[error("find the images")]
    Images(#[from] templates::Error),
    #[error("{0}")]
    Refused(Failure),
    #[error("check the request")]
    Spec(#[source] BadSpec),
    #[error("network")]
    Network(#[from] wrenn_network::Error),
    #[error("disk")]
    Disk(#[from] wrenn_block::Error),
    #[error("jail")]
    Jail(#[from] wrenn_firecracker::JailError),
    #[error("configure the VM")]
    Configure(#[from] wrenn_firecracker::ApiError),
    #[error("start the VM")]
    Start(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the guest did not come up: {how}; its console ends with: {console}")]
    Boot { how: String, console: String },
    #[error("initialise the guest")]
    Init(#[source] envd::Error),
    #[error("make keys")]
    Random(#[source] getrandom::Error),
    #[error("step {step}: not done after {after:?}")]
    Late { step: &'static str, after: Duration },
    #[error("overtaken by a destroy")]
    Superseded,
    #[error("the agent is stopping")]
    Stopping,
    #[error("failpoint {0}")]
    Failpoint(String, Undo),
}

impl CreateError {
    /// What the caller is told.
    pub(crate) fn failure(&self) -> Failure {
        let (kind, message) = match self {
            Self::Refused(failure) => return failure.clone(),
            Self::Images(templates::Error::Missing(id)) => {
                let message = format!("template {id} is not on this host");
                return Failure::new(FailureKind::TemplateMissing, message);
            }
            Self::Boot { .. } => (FailureKind::BootFailed, "the sandbox did not boot"),
            Self::Init(_) => (
                FailureKind::BootFailed,
                "the sandbox did not accept its settings",
            ),
            Self::Superseded => (FailureKind::Superseded, "the sandbox was destroyed"),
            Self::Stopping => (FailureKind::Stopping, "the host agent is stopping"),
            _ => (
                FailureKind::Internal,
                "the host could not create the sandbox",
            ),
        };
        Failure::new(kind, message)
    }

    /// How often the undo shall run.
    pub(crate) fn undo(&self) -> Undo {
        match self {
            Self::Failpoint(_, undo) => *undo,
            _ => Undo::Once,
        }
    }
}

/// One creation.
pub(crate) struct Creation<'a> {
    pub(crate) host: &'a Host,
    pub(crate) spec: &'a Spec,
    /// Ends the creation at its present step.
    pub(crate) superseded: CancellationToken,
}

impl Creation<'_> {
    /// Creates the sandbox. On an error `stack` holds what was made.
    pub(crate) async fn run(
        &self,
        manifest: &mut Manifest,
        stack: &mut Stack,
    ) -> Result<Running, CreateError> {
        let (host, spec) = (self.host, self.spec);
        let (template, kernel) = self.check()?;
        let permit = self
            .step("permit", None, async { Ok(host.boots.acquire().await) })
            .await?;

        let directory = host.directory(spec.sandbox_id);
        let owned = Directory::create(directory.clone(), host.reaper.clone());
        stack.push(Guard::Directory(owned.map_err(CreateError::Directory)?));
        manifest.kernel_version.clone_from(&kernel.version);
        manifest.rootfs_sha256 = template.sha256;
        manifest.write(&directory)?;
        self.passed("record")?;

        let policy = spec.network.policy().map_err(CreateError::Spec)?;
        let deadline = host.pace.stretch(HOST_STEP);
        let lease = self
            .step("slot", None, async {
                Ok(host.network.acquire(deadline).await?)
            })
            .await?;
        let (slot, uid) = (lease.slot(), lease.uid());
        let policed = self
            .host_step("policy", async { Ok(lease.set_policy(&policy).await?) })
            .await;
        stack.push(Guard::Slot(lease));
        policed?;
        self.passed("slot")?;

        let size = DiskSize::mib(spec.disk_mib)?;
        let cow_path = directory.join("cow.img");
        let cow = CowFile::create(&cow_path, size, host.block_reaper.clone());
        let cow = stack.push_cow(self.host_step("cow", async { Ok(cow.await?) }).await?);
        self.passed("cow")?;
        let name = DeviceName::new(&spec.sandbox_id.to_string())?;
        let base = host.images.rootfs(spec.template_id);
        let disk = async { Ok(host.blocks.attach(&name, &base, cow, size).await?) };
        let disk = self.host_step("disk", disk).await?;
        let device = disk.device_number();
        stack.push(Guard::Disk(disk));
        self.passed("disk")?;

        let jail = JailSpec {
            id: vm_id(spec.sandbox_id)?,
            uid,
            gid: uid,
            network_namespace: slot.namespace_path(),
            limits: Limits::of_guest(spec.vcpus, spec.memory_mib),
        };
        let jail = async { Ok(Jail::create(&host.jails, jail).await?) };
        stack.push(Guard::Jail(self.host_step("jail", jail).await?));
        self.passed("jail")?;

        let jail = stack.take_jail().ok_or(CreateError::Stopping)?;
        let launch = async {
            jail.place_file(&kernel.image, "vmlinux").await?;
            jail.place_file(&kernel.initrd, "initrd").await?;
            jail.place_block_device(device.major, device.minor, "rootfs")
                .await?;
            Ok(jail.launch(host.pace.stretch(HOST_STEP)).await?)
        };
        let vm = self
            .step("launch", Some(host.pace.stretch(2 * HOST_STEP)), launch)
            .await?;
        let console = vm.console(&host.console(spec.sandbox_id), CONSOLE_LIMIT)?;
        host.tasks.spawn(console.run());
        let (process, client) = (vm.identity(), vm.client());
        stack.push(Guard::Vm(vm));
        self.passed("launch")?;

        let firecracker_version = client.describe().await?.vmm_version;
        let keys = Keys::new().map_err(CreateError::Random)?;
        let fresh = Vm::fresh(client);
        self.host_step("configure", self.configure(&fresh, &keys))
            .await?;
        self.passed("configure")?;
        let start = async {
            fresh
                .start()
                .await
                .map_err(|refused| CreateError::Start(refused.error.into()))
        };
        self.host_step("start", start).await?;

        let user = &manifest.default_user;
        let host_ip = slot.host_address();
        let envd =
            Envd::new(host_ip, &keys.access_token, user, host.pace).map_err(CreateError::Init)?;
        let envd_version = self
            .step("boot", None, self.boot(&envd, stack.vm()))
            .await?;
        self.passed("boot")?;

        let init = Init {
            host_key: &keys.host_key,
            generation_id: &keys.generation_id,
            access_token: &keys.access_token,
            env: &spec.envs,
            default_user: user,
            hostname: &spec.sandbox_id.to_string(),
            ca_bundle: host.config.guest_ca.as_deref(),
        };
        let init = async { envd.init(&init).await.map_err(CreateError::Init) };
        self.step("init", None, init).await?;
        self.passed("init")?;
        drop(permit);

        let started_at_ms = now_ms();
        manifest.state = State::Running;
        manifest.live = Some(Live {
            slot,
            process,
            access_token: keys.access_token,
            host_key: keys.host_key,
            envd_version: envd_version.clone(),
            firecracker_version: firecracker_version.clone(),
            started_at_ms,
        });
        manifest.write(&directory)?;
        self.passed("running")?;
        Ok(Running {
            envd,
            host_ip,
            kernel_version: kernel.version,
            envd_version,
            firecracker_version,
            started_at_ms,
        })
    }

    /// What can be refused before anything is made.
    fn check(&self) -> Result<(Template, Kernel), CreateError> {
        let template = self.host.images.template(self.spec.template_id)?;
        let refuse = |kind, message: String| Err(CreateError::Refused(Failure::new(kind, message)));
        if self.spec.disk_mib < template.disk_mib {
            let least = template.disk_mib;
            return refuse(
                FailureKind::BadRequest,
                format!("disk_mib must be at least {least}"),
            );
        }
        let memory = crate::facts::memory();
        if u64::from(self.spec.memory_mib) > memory.total_mib {
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
        keys: &Keys,
    ) -> Result<(), CreateError> {
        let spec = self.spec;
        vm.boot_source(&BootSource {
            kernel_image_path: "/vmlinux".into(),
            initrd_path: Some("/initrd".into()),
            boot_args: boot_args(&self.host.config.guest_dns),
        })
        .await?;
        vm.machine(&MachineConfig {
            vcpu_count: spec.vcpus,
            mem_size_mib: spec.memory_mib,
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
        let id = spec.sandbox_id.to_string();
        vm.put_mmds(&Metadata {
            instance_id: id.trim_start_matches(wrenn_ids::SandboxId::PREFIX),
            env_id: &spec.template_id.to_string(),
            host_key_hash: hash(&keys.host_key),
            access_token_hash: hash(&keys.access_token),
        })
        .await?;
        Ok(vm.entropy(&EntropyDevice::default()).await?)
    }

    /// Waits for the guest; the death of the VM ends the wait at once.
    async fn boot(&self, envd: &Envd, vm: Option<&JailedVm>) -> Result<String, CreateError> {
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
        let console = self.host.console(self.spec.sandbox_id);
        let console = console_tail(&console, CONSOLE_TAIL).unwrap_or_default();
        Err(CreateError::Boot { how, console })
    }

    async fn host_step<T>(
        &self,
        name: &'static str,
        work: impl Future<Output = Result<T, CreateError>>,
    ) -> Result<T, CreateError> {
        self.step(name, Some(self.host.pace.stretch(HOST_STEP)), work)
            .await
    }

    /// Runs one step, unless the creation is overtaken; its time goes to log and histogram.
    async fn step<T>(
        &self,
        name: &'static str,
        limit: Option<Duration>,
        work: impl Future<Output = Result<T, CreateError>>,
    ) -> Result<T, CreateError> {
        let begun = Instant::now();
        let limited = async {
            match limit {
                None => work.await,
                Some(after) => timeout(after, work)
                    .await
                    .unwrap_or(Err(CreateError::Late { step: name, after })),
            }
        };
        let done = tokio::select! {
            biased;
            () = self.superseded.cancelled() => Err(CreateError::Superseded),
            () = self.host.stopping.cancelled() => Err(CreateError::Stopping),
            done = limited => done,
        };
        telemetry::step("create", name, begun.elapsed());
        done
    }

    fn passed(&self, step: &str) -> Result<(), CreateError> {
        let name = format!("create.after.{step}");
        match self.host.failpoints.reached(&name) {
            None => Ok(()),
            Some(Armed::Fail) => Err(CreateError::Failpoint(name, Undo::Once)),
            Some(Armed::FailTwice) => Err(CreateError::Failpoint(name, Undo::Twice)),
        }
    }
}

/// Secrets and names of one start of a VM.
struct Keys {
    host_key: Token,
    access_token: Token,
    generation_id: String,
}

impl Keys {
    fn new() -> Result<Self, getrandom::Error> {
        let random = || {
            let mut bytes = [0u8; 32];
            getrandom::fill(&mut bytes)?;
            Ok(hex::encode(bytes))
        };
        Ok(Self {
            host_key: Token::new(random()?),
            access_token: Token::new(random()?),
            generation_id: uuid::Uuid::now_v7().to_string(),
        })
    }
}

/// What the guest reads at 169.254.169.254 (guest.md §9); nothing secret.
#[derive(Serialize)]
struct Metadata<'a> {
    #[serde(rename = "instanceID")]
    instance_id: &'a str,
    #[serde(rename = "envID")]
    env_id: &'a str,
    #[serde(rename = "hostKeyHash")]
    host_key_hash: String,
    #[serde(rename = "accessTokenHash")]
    access_token_hash: String,
}

fn hash(token: &Token) -> String {
    hex::encode(Sha256::digest(token.expose()))
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
