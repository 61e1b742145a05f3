//! Runs test programs as root inside a virtual host: `in-virtual-host PROGRAM… [-- ARGUMENT…]`.
//!
//! For crates whose tests make namespaces, devices and VMs: such a test needs a kernel of its own. The
//! images are at `/opt/wrenn` there, as they are for an agent.

use std::{io::Write as _, path::Path, process::ExitCode, time::Duration};

use anyhow::{Context as _, Result};
use wrenn_testkit::images;
use wrenn_virtual_host::{Cache, VirtualHost, machine::MachineConfig};

/// For one test program, emulated.
const DEADLINE: Duration = Duration::from_secs(15 * 60);

fn main() -> Result<ExitCode> {
    let say = |line: &str| {
        let _ = writeln!(std::io::stderr(), "{line}");
    };
    let state = tempfile::tempdir().context("make the machine's directory")?;
    let mut config = MachineConfig::new(state.path());
    config.images = Some(images::ensure(&say)?);
    config.memory_mib = 4096;
    let cache = Cache::from_env().context("open the cache")?;
    let host = VirtualHost::start(&config, &cache, &say).context("start the virtual host")?;

    // Some tests start the fake Firecracker from beside themselves.
    let fake = std::env::current_exe()?.with_file_name("fake-firecracker");
    let fake = std::fs::read(fake).context("read the fake Firecracker")?;
    host.put("/tmp/tests/fake-firecracker", &fake)
        .context("hand over the fake Firecracker")?;

    let mut words = std::env::args().skip(1);
    let programs: Vec<_> = words.by_ref().take_while(|word| word != "--").collect();
    let arguments = words.collect::<Vec<_>>().join(" ");
    let mut failed = false;
    for program in programs {
        let bytes = std::fs::read(&program).with_context(|| format!("read {program}"))?;
        let name = Path::new(&program)
            .file_name()
            .context("a program without a name")?;
        let there = format!("/tmp/tests/{}", name.to_string_lossy());
        say(&format!(
            "── {program} ({} MiB), in the virtual host",
            bytes.len() >> 20
        ));
        host.put(&there, &bytes).context("hand over the program")?;
        let soak = if std::env::var_os("WRENN_SOAK").is_some() {
            "WRENN_SOAK=1 "
        } else {
            ""
        };
        let command = format!(
            "cd /tmp && {soak}RUST_BACKTRACE=1 {there} --test-threads=1 {arguments} 2>&1; rc=$?; rm {there}; exit $rc"
        );
        let output = host.exec(&command, DEADLINE).context("run the program")?;
        std::io::stderr().write_all(&output.stdout)?;
        failed |= output.code != 0;
    }
    host.stop(Duration::from_secs(60))
        .context("stop the virtual host")?;
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}
