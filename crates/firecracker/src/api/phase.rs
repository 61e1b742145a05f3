//! A VM whose phase is in its type, so that a call that Firecracker would refuse does not compile.

use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;

use super::client::{ApiClient, ApiError};
use super::types::{
    Action, ActionType, Balloon, BalloonUpdate, BootSource, Drive, DriveUpdate, EntropyDevice,
    InstanceState, Logger, MachineConfig, MmdsConfig, NetworkInterface, NetworkInterfaceUpdate,
    SnapshotCreate, SnapshotLoad, VmState, VmStateName,
};

/// Not started: devices are being configured.
#[derive(Debug)]
pub struct Configuring;
/// vCPUs run.
#[derive(Debug)]
pub struct Running;
/// vCPUs stand still.
#[derive(Debug)]
pub struct Paused;

/// A VM in a phase, spoken to over its API socket. Holds no resource: the process belongs to its jail.
#[derive(Debug)]
pub struct Vm<Phase> {
    client: ApiClient,
    phase: PhantomData<Phase>,
}

/// A VM in the phase that it was found in.
#[derive(Debug)]
pub enum Observed {
    Configuring(Vm<Configuring>),
    Running(Vm<Running>),
    Paused(Vm<Paused>),
}

/// A change of phase that failed; the VM is given back. Its phase is as before unless the connection broke
/// or the deadline passed, in which case [`Observed::of`] tells.
#[derive(thiserror::Error)]
#[error("the VM did not change its phase")]
pub struct Refused<Phase> {
    pub vm: Vm<Phase>,
    #[source]
    pub error: ApiError,
}

impl Observed {
    /// Asks the VM what it is doing.
    pub async fn of(client: ApiClient) -> Result<Self, ApiError> {
        Ok(match client.describe().await?.state {
            InstanceState::NotStarted => Self::Configuring(Vm::assume(client)),
            InstanceState::Running => Self::Running(Vm::assume(client)),
            InstanceState::Paused => Self::Paused(Vm::assume(client)),
        })
    }
}

impl<Phase> Vm<Phase> {
    fn assume(client: ApiClient) -> Self {
        Self {
            client,
            phase: PhantomData,
        }
    }

    /// For the calls that every phase allows.
    pub fn client(&self) -> &ApiClient {
        &self.client
    }

    /// Replaces the metadata that the guest can read. Before this the store must have been configured.
    pub async fn put_mmds(&self, contents: &impl Serialize) -> Result<(), ApiError> {
        self.client.put("put the metadata", "/mmds", contents).await
    }

    async fn turn<Next>(
        self,
        action: &str,
        state: VmStateName,
    ) -> Result<Vm<Next>, Refused<Phase>> {
        match self.client.patch(action, "/vm", &VmState { state }).await {
            Ok(()) => Ok(Vm::assume(self.client)),
            Err(error) => Err(Refused { vm: self, error }),
        }
    }
}

impl Vm<Configuring> {
    /// A fresh Firecracker behind this client.
    pub fn fresh(client: ApiClient) -> Self {
        Self::assume(client)
    }

    /// Kernel, initrd and arguments.
    pub async fn boot_source(&self, source: &BootSource) -> Result<(), ApiError> {
        self.client
            .put("put the boot source", "/boot-source", source)
            .await
    }

    /// vCPUs and memory.
    pub async fn machine(&self, machine: &MachineConfig) -> Result<(), ApiError> {
        self.client
            .put("put the machine configuration", "/machine-config", machine)
            .await
    }

    /// Adds a block device; the order of calls is the order of `/dev/vd*`.
    pub async fn drive(&self, drive: &Drive) -> Result<(), ApiError> {
        self.client.put_drive(drive).await
    }

    /// Adds a network interface.
    pub async fn network_interface(&self, interface: &NetworkInterface) -> Result<(), ApiError> {
        self.client.put_network_interface(interface).await
    }

    /// Opens the metadata service to the guest.
    pub async fn mmds_config(&self, config: &MmdsConfig) -> Result<(), ApiError> {
        self.client
            .put("configure the metadata service", "/mmds/config", config)
            .await
    }

    /// Adds virtio-rng.
    pub async fn entropy(&self, device: &EntropyDevice) -> Result<(), ApiError> {
        self.client
            .put("put the entropy device", "/entropy", device)
            .await
    }

    /// Adds a balloon.
    pub async fn balloon(&self, balloon: &Balloon) -> Result<(), ApiError> {
        self.client.put_balloon(balloon).await
    }

    /// Says where Firecracker itself logs.
    pub async fn logger(&self, logger: &Logger) -> Result<(), ApiError> {
        self.client.put("put the logger", "/logger", logger).await
    }

    /// Boots the kernel.
    pub async fn start(self) -> Result<Vm<Running>, Refused<Configuring>> {
        let action = Action {
            action_type: ActionType::InstanceStart,
        };
        match self
            .client
            .put("start the instance", "/actions", &action)
            .await
        {
            Ok(()) => Ok(Vm::assume(self.client)),
            Err(error) => Err(Refused { vm: self, error }),
        }
    }

    /// Loads a snapshot and resumes it in the same call.
    pub async fn load_snapshot(
        self,
        load: &SnapshotLoad,
    ) -> Result<Vm<Running>, Refused<Configuring>> {
        self.load(load, true).await
    }

    /// Loads a snapshot and leaves its vCPUs standing.
    pub async fn load_snapshot_paused(
        self,
        load: &SnapshotLoad,
    ) -> Result<Vm<Paused>, Refused<Configuring>> {
        self.load(load, false).await
    }

    async fn load<Next>(
        self,
        load: &SnapshotLoad,
        resume_vm: bool,
    ) -> Result<Vm<Next>, Refused<Configuring>> {
        #[derive(Serialize)]
        struct Body<'a> {
            #[serde(flatten)]
            load: &'a SnapshotLoad,
            resume_vm: bool,
        }
        match self
            .client
            .put_slow(
                "load the snapshot",
                "/snapshot/load",
                &Body { load, resume_vm },
            )
            .await
        {
            Ok(()) => Ok(Vm::assume(self.client)),
            Err(error) => Err(Refused { vm: self, error }),
        }
    }
}

impl Vm<Running> {
    /// Stops the vCPUs.
    pub async fn pause(self) -> Result<Vm<Paused>, Refused<Running>> {
        self.turn("pause the vCPUs", VmStateName::Paused).await
    }

    /// Changes a drive's file or limits; with a file of another size the guest sees the new size.
    pub async fn update_drive(&self, drive: &DriveUpdate) -> Result<(), ApiError> {
        self.client.patch_drive(drive).await
    }

    /// Changes an interface's limits.
    pub async fn update_network_interface(
        &self,
        interface: &NetworkInterfaceUpdate,
    ) -> Result<(), ApiError> {
        self.client.patch_network_interface(interface).await
    }

    /// Changes the balloon's size.
    pub async fn update_balloon(&self, balloon: &BalloonUpdate) -> Result<(), ApiError> {
        self.client.patch_balloon(balloon).await
    }
}

impl Vm<Paused> {
    /// Lets the vCPUs run again.
    pub async fn resume(self) -> Result<Vm<Running>, Refused<Paused>> {
        self.turn("resume the vCPUs", VmStateName::Resumed).await
    }

    /// Writes memory and device state; the VM stays paused.
    pub async fn create_snapshot(&self, create: &SnapshotCreate) -> Result<(), ApiError> {
        self.client
            .put_slow("create the snapshot", "/snapshot/create", create)
            .await
    }
}

impl<Phase> fmt::Debug for Refused<Phase> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refused")
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}
