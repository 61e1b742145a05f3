//! Firecracker and its jailer as tests need them: see `fake_firecracker::program`.

use std::process::ExitCode;

use wrenn_testkit::fake_firecracker::program;

fn main() -> anyhow::Result<ExitCode> {
    program::run(&std::env::args().collect::<Vec<_>>())
}
