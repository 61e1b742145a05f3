//! `wrenn debug`: looks into a host's files.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;
use wrenn_ids::{SandboxId, TemplateId};
use wrenn_memory::{Description, PAGE_BYTES};

use crate::{
    DONE, Outcome,
    context::Context,
    error::{Attempt, CliError, Exit},
    out::Table,
    units,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what the memory of a paused sandbox or a snapshot is made of
    Snapshot(Snapshot),
}

#[derive(Debug, Args)]
#[command(
    after_help = "Runs on the host that has the snapshot.\n\nExamples:\n  wrenn debug snapshot sb-03ha71iwkjwzmk5phq6ykw0jv\n  wrenn debug snapshot tpl-03ha71iwkjwzmk5phq6ykw0jv --state-dir /srv/wrenn"
)]
pub(crate) struct Snapshot {
    /// Id of a sandbox or of a snapshot template
    #[arg(value_name = "ID")]
    id: String,
    /// The host's state directory
    #[arg(
        long,
        value_name = "DIR",
        env = "WRENN_STATE_DIR",
        default_value = "/var/lib/wrenn"
    )]
    state_dir: PathBuf,
}

/// A snapshot's memory as JSON.
#[derive(Serialize)]
struct Shown {
    directory: PathBuf,
    memory_bytes: u64,
    zero_bytes: u64,
    runs: usize,
    layers: Vec<ShownLayer>,
}

#[derive(Serialize)]
struct ShownLayer {
    id: String,
    seen_bytes: u64,
    apparent_bytes: u64,
    allocated_bytes: u64,
}

/// Runs `command`.
pub(crate) fn run(context: &Context, command: Command) -> Outcome {
    let Command::Snapshot(Snapshot { id, state_dir }) = command;
    let holder = holder(&state_dir, &id)?;
    let directory = newest(&holder).ok_or_else(|| {
        CliError::new(
            Exit::NotFound,
            "not_found",
            format_args!("there is no snapshot of {id} in {}", state_dir.display()),
        )
    })?;
    let described =
        wrenn_memory::describe(&directory).attempt(|| format!("read the snapshot of {id}"))?;
    let shown = Shown::of(directory, &described);
    if context.out.is_json() {
        context.out.json(&shown)?;
        return Ok(DONE);
    }
    context.out.pairs(&[
        ("directory", shown.directory.display().to_string()),
        ("memory", size(shown.memory_bytes)),
        ("zeros", size(shown.zero_bytes)),
        ("runs", shown.runs.to_string()),
    ])?;
    let mut table = Table::new(&["LAYER", "SEEN", "LENGTH", "ON DISK"]);
    for layer in &shown.layers {
        table.row(vec![
            layer.id.clone(),
            size(layer.seen_bytes),
            size(layer.apparent_bytes),
            size(layer.allocated_bytes),
        ]);
    }
    context.out.table(&table)?;
    Ok(DONE)
}

impl Shown {
    fn of(directory: PathBuf, described: &Description) -> Self {
        let layer = |layer: &wrenn_memory::LayerDescription| ShownLayer {
            id: layer.id.to_string(),
            seen_bytes: layer.pages * PAGE_BYTES,
            apparent_bytes: layer.apparent_bytes,
            allocated_bytes: layer.allocated_bytes,
        };
        Self {
            directory,
            memory_bytes: described.pages * PAGE_BYTES,
            zero_bytes: described.zero_pages * PAGE_BYTES,
            runs: described.runs,
            layers: described.layers.iter().map(layer).collect(),
        }
    }
}

/// The directory of what has this id; only an id becomes a part of a path.
fn holder(state_dir: &Path, id: &str) -> Result<PathBuf, CliError> {
    if let Ok(id) = id.parse::<SandboxId>() {
        return Ok(state_dir.join("sandboxes").join(id.to_string()));
    }
    match id.parse::<TemplateId>() {
        Ok(id) => Ok(state_dir.join("templates").join(id.to_string())),
        Err(_) => Err(CliError::usage(
            "ID must be that of a sandbox or a template",
        )),
    }
}

/// The newest generation in a directory.
fn newest(holder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(holder).ok()?.flatten();
    let numbered = entries.filter_map(|entry| {
        let name = entry.file_name();
        let number = name.to_str()?.strip_prefix("gen-")?.parse::<u64>().ok()?;
        Some((number, entry.path()))
    });
    numbered.max().map(|(_, path)| path)
}

/// In MiB, or KiB when it is less than one.
fn size(bytes: u64) -> String {
    match bytes >> 20 {
        0 => format!("{} KiB", bytes >> 10),
        mebibytes => units::show_mebibytes(mebibytes),
    }
}
