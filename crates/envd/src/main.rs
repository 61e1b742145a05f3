//! The binary of the guest's agent.

use std::process::ExitCode;

fn main() -> ExitCode {
    wrenn_envd::run(std::env::args_os())
}
