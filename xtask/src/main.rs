//! Development tasks that the Makefile calls.

mod bench;
#[cfg(feature = "codegen")]
mod codegen;
mod envd;
mod fuzz;
#[cfg(test)]
mod invariants;
mod programs;
mod python;
mod sdk;
mod tiers;

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
    /// Measure, print a table, write `target/bench.json`.
    Bench,
    /// Generate `crates/rpc/src/generated` from `crates/rpc/proto`.
    #[cfg(feature = "codegen")]
    Codegen,
    /// Build the guest's agent, fully static, and print its path.
    Envd,
    /// Run the test suite.
    Test {
        /// Run the long proofs whole.
        #[arg(long)]
        soak: bool,
        /// Run only these tiers, after the build.
        tiers: Vec<String>,
    },
}

fn main() -> Result<()> {
    match Arguments::parse().task {
        Task::Bench => bench::run(),
        #[cfg(feature = "codegen")]
        Task::Codegen => codegen::run(),
        Task::Envd => envd::run(),
        Task::Test { soak, tiers } => {
            tiers::run(if soak { Length::Whole } else { Length::Short }, &tiers)
        }
    }
}
