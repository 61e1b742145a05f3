//! The command line of QEMU.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use super::config::{Acceleration, MachineConfig};
use super::logs;
use super::ports::Ports;
use crate::image::MachineRoot;
use crate::tool::Tool;
use crate::{Captured, ToolError};

/// QEMU goes to the background once its devices are set up.
const START_DEADLINE: Duration = Duration::from_secs(60);
const KERNEL_ARGUMENTS: &str =
    "console=ttyS0 panic=-1 mitigations=off quiet loglevel=4 random.trust_cpu=on";

/// Starts QEMU in the background; its pid is then in `qemu.pid` of the state directory.
pub(crate) fn start(
    config: &MachineConfig,
    root: &MachineRoot,
    product: &Path,
    ports: Ports,
) -> Result<Captured, ToolError> {
    // One thread a CPU, where somebody asks for several: with one for all, a CPU that waits for another's
    // interrupt waits for a whole time slice, and guests hang. Five-level page tables would only make every
    // walk longer.
    let (accelerator, cpu) = match config.acceleration {
        Acceleration::Emulated => ("tcg,thread=multi", "max,+svm,+npt,-la57"),
        Acceleration::Kvm => ("kvm", "host"),
    };
    let network = format!(
        "user,id=net,net=10.0.2.0/24,hostfwd=tcp:127.0.0.1:{}-10.0.2.15:9443,\
         hostfwd=tcp:127.0.0.1:{}-10.0.2.15:22",
        ports.agent, ports.ssh
    );
    // The state directory's files are named relative to it: socket paths have a short limit.
    Tool::new("qemu-system-x86_64", START_DEADLINE)
        .dir(&config.state_dir)
        .args([
            "-name",
            "wrenn",
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
        ])
        .args(["-daemonize", "-pidfile", "qemu.pid", "-no-reboot"])
        .args(["-sandbox", "on,obsolete=deny,resourcecontrol=deny"])
        .args(["-M", "q35", "-accel", accelerator, "-cpu", cpu])
        .args([
            "-m",
            &config.memory_mib.to_string(),
            "-smp",
            &config.cpus.to_string(),
        ])
        .arg("-kernel")
        .arg(&root.vmlinuz)
        .arg("-initrd")
        .arg(&root.initrd)
        .args(["-append", KERNEL_ARGUMENTS])
        .args(disk("root", &root.disk, "readonly=on"))
        .args(disk("product", product, "readonly=on"))
        .args(disk("config", Path::new("config.tar"), "readonly=on"))
        .args(disk(
            "data",
            Path::new("data.raw"),
            "discard=unmap,detect-zeroes=unmap",
        ))
        .args(["-netdev", &network, "-device", "virtio-net-pci,netdev=net"])
        .args(["-device", "virtio-rng-pci"])
        .args(log("console", logs::CONSOLE))
        .args(["-serial", "chardev:console"])
        .args(log("agent-log", logs::AGENT))
        .args(["-device", "virtio-serial-pci"])
        .args([
            "-device",
            "virtserialport,nr=1,chardev=agent-log,name=agent-log",
        ])
        .args(["-qmp", "unix:qmp.sock,server=on,wait=off"])
        .run()
}

/// A disk that the machine finds by its serial number `id`.
fn disk(id: &str, file: &Path, options: &str) -> [OsString; 4] {
    let mut drive = OsString::from(format!("if=none,id={id},format=raw,{options},file="));
    // A comma in a path is doubled, or it would end the option.
    drive.push(file.to_string_lossy().replace(',', ",,"));
    let device = format!("virtio-blk-pci,drive={id},serial={id}");
    ["-drive".into(), drive, "-device".into(), device.into()]
}

/// A log that is appended to, so that whoever bounds it may cut it at any time.
fn log(id: &str, file: &str) -> [String; 2] {
    [
        "-chardev".into(),
        format!("file,id={id},path={file},append=on"),
    ]
}
