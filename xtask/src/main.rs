//! Development tasks that the Makefile calls.

mod codegen;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(about = "Development tasks of Wrenn")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Generate `crates/rpc/src/generated` from `crates/rpc/proto`.
    Codegen {
        /// Change nothing; fail when the checked-in code is stale.
        #[arg(long)]
        check: bool,
    },
}

fn main() -> Result<()> {
    match Arguments::parse().task {
        Task::Codegen { check } => codegen::run(check),
    }
}
