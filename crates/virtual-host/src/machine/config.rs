//! What a virtual host is made of.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::image::ImagesDir;

/// The smallest machine by default; also the memory that is used where `/proc` does not tell.
const LEAST_MEMORY_MIB: u32 = 4096;
/// The fewest CPUs by default where they are real.
const LEAST_CPUS: u32 = 2;

/// What to start. [`MachineConfig::new`] gives a bare machine of the default size; fields that are
/// not set leave out what they describe.
#[derive(Debug, Clone)]
pub struct MachineConfig {
    /// Holds everything that belongs to the machine.
    pub state_dir: PathBuf,
    /// Kernels, templates and Firecracker, seen in the machine at `/opt/wrenn`.
    pub images: Option<ImagesDir>,
    /// The `wrenn` binary, seen at `/opt/wrenn/bin/wrenn`.
    pub wrenn: Option<PathBuf>,
    /// Environment of `wrenn host-agent`; the agent runs if this and `wrenn` are set.
    ///
    /// Filled in where absent: `WRENN_AGENT_LISTEN`, `WRENN_ADDRESS` (127.0.0.1 and the forwarded
    /// port), `WRENN_STATE_DIR`, `WRENN_IMAGES_DIR`, `WRENN_GUEST_DNS`.
    pub agent_env: Option<BTreeMap<String, String>>,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Apparent size in GiB of the data disk when it is first made; it is sparse.
    pub disk_gib: u32,
    /// How the CPUs are run.
    pub acceleration: Acceleration,
    /// What becomes of the machine when its handle is dropped.
    pub on_drop: OnDrop,
}

/// How the virtual CPUs are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Acceleration {
    /// By software, with AMD SVM emulated: anywhere, slowly.
    Emulated,
    /// By this machine's KVM, which must allow nesting.
    Kvm,
}

impl Acceleration {
    /// How many virtual CPUs a machine has by default: half of this machine's and at least two; one where
    /// they are emulated.
    ///
    /// QEMU 7.2's emulation of SVM does not bear two CPUs that run guests at the same moment: guests die
    /// while they boot, and the machine's own kernel takes page faults right after a guest's exit and ends
    /// with an overrun stack. Seen each time that twenty VMs were started with two CPUs on two idle cores,
    /// never with one. Nor does it bear a kernel that patches its own code, as Linux does when the first VM is
    /// made: a CPU that translates the code while another writes it may keep the breakpoint that stood there
    /// for a moment, and then meets it for ever. Seen as both CPUs at one `int3` that memory no longer held.
    #[must_use]
    pub fn default_cpus(self) -> u32 {
        match self {
            Self::Emulated => 1,
            Self::Kvm => std::thread::available_parallelism()
                .map_or(LEAST_CPUS, |n| n.get() as u32 / 2)
                .max(LEAST_CPUS),
        }
    }
}

/// What becomes of a machine when its handle is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDrop {
    /// It is killed, also when the process that holds the handle is.
    Kill,
    /// It runs on; [`crate::VirtualHost::attach`] finds it.
    Leave,
}

impl MachineConfig {
    /// A machine without a product, with one CPU, half of this machine's memory (at least 4 GiB) and a
    /// data disk of 40 GiB, emulated, which ends with its handle.
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self {
            state_dir: state_dir.into(),
            images: None,
            wrenn: None,
            agent_env: None,
            memory_mib: (total_memory_mib() / 2).max(LEAST_MEMORY_MIB),
            cpus: Acceleration::Emulated.default_cpus(),
            disk_gib: 40,
            acceleration: Acceleration::Emulated,
            on_drop: OnDrop::Kill,
        }
    }
}

fn total_memory_mib() -> u32 {
    let pages = rustix::system::sysinfo();
    let bytes = u64::from(pages.mem_unit) * pages.totalram;
    u32::try_from(bytes >> 20).unwrap_or(LEAST_MEMORY_MIB)
}
