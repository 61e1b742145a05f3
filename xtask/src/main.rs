//! Development tasks that the Makefile calls.

#[cfg(feature = "codegen")]
mod codegen;
mod envd;
mod invariants;
mod tiers;
mod virtual_host;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::tiers::Length;

#[derive(Debug, Parser)]
#[command(about = "Development tasks of Wrenn")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Generate `crates/rpc/src/generated` from `crates/rpc/proto`.
    #[cfg(feature = "codegen")]
    Codegen {
        /// Change nothing; fail when the checked-in code is stale.
        #[arg(long)]
        check: bool,
    },
    /// Build the guest's agent, fully static, and print its path.
    Envd,
    /// Check the invariants of ARCHITECTURE.md.
    Invariants,
    /// Run the test suite.
    Test {
        /// Run the long proofs whole.
        #[arg(long)]
        soak: bool,
        /// Run only these tiers.
        tiers: Vec<String>,
    },
    /// Run the `host` test programs of these packages as root inside a virtual host.
    InVirtualHost {
        /// Packages of the workspace.
        packages: Vec<String>,
    },
}

fn main() -> Result<()> {
    match Arguments::parse().task {
        #[cfg(feature = "codegen")]
        Task::Codegen { check } => codegen::run(check),
        Task::Envd => envd::run(),
        Task::Invariants => invariants::run(),
        Task::Test { soak, tiers } => {
            tiers::run(if soak { Length::Whole } else { Length::Short }, &tiers)
        }
        Task::InVirtualHost { packages } => virtual_host::run(&packages),
    }
}
