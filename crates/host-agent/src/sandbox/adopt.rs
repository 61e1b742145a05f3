//! After a start: finds the VMs that an earlier agent left running, finishes or undoes what it left half
//! done, and sweeps what carries our mark and belongs to nobody.

use std::path::Path;

use wrenn_block::{CowFile, DeviceName, DiskSize};
use wrenn_firecracker::Jail;
use wrenn_ids::SandboxId;

use super::{
    Host,
    guest::CONSOLE_LIMIT,
    host::{COW, Directory, SCRATCH, remove_directory},
    manifest::{Live, Manifest, Role},
    policy::State,
    seed::SnapshotTemplate,
    snapshot,
    stack::{Guard, Stack},
    tombstone::Tombstone,
    view::{Phase, Running},
};
use crate::{chain, envd::Envd, events::EventKind};

type Adopted = (Manifest, Stack, Phase);
/// A recorded sandbox that the agent does not take over.
enum Unadoptable {
    /// Its record cannot be read: nothing is touched.
    Unknown(super::manifest::Error),
    /// It ran, and cannot be held any more.
    Running(BoxError),
}

impl From<super::manifest::Error> for Unadoptable {
    fn from(error: super::manifest::Error) -> Self {
        Self::Unknown(error)
    }
}

impl From<BoxError> for Unadoptable {
    fn from(error: BoxError) -> Self {
        Self::Running(error)
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Everything above, in this order: adopt, then sweep, then forget.
pub(super) async fn adopt(host: &Host) -> Vec<Adopted> {
    let mut adopted = Vec::new();
    let mut ended = Vec::new();
    for id in recorded(&host.sandboxes()) {
        match examine(host, id).await {
            Ok(Some(running)) => {
                tracing::info!(sandbox_id = %id, state = ?running.0.state, "sandbox found");
                adopted.push(running);
            }
            Ok(None) => ended.push(id),
            Err(Unadoptable::Unknown(error)) => {
                tracing::error!(sandbox_id = %id, error = %chain(&error), "its files stay: what they are is not known");
            }
            Err(Unadoptable::Running(error)) => {
                tracing::error!(sandbox_id = %id, error = %chain(&*error), "sandbox cannot be taken over");
                ended.push(id);
            }
        }
    }
    sweep(host, &adopted).await;
    for id in ended {
        bury(host, id).await;
    }
    if let Err(error) = SnapshotTemplate::sweep(&host.snapshot_templates()) {
        tracing::error!(error = %chain(&error), "templates were not swept");
    }
    host.warm.sweep(host);
    host.graveyard.forget_old();
    adopted
}

/// Ids that have a directory.
fn recorded(directory: &Path) -> Vec<SandboxId> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// Takes a sandbox over if its record says that it is paused, or that it runs and its VM does.
async fn examine(host: &Host, id: SandboxId) -> Result<Option<Adopted>, Unadoptable> {
    let directory = host.directory(id);
    let Some(manifest) = Manifest::read(&directory, id)? else {
        return Ok(None);
    };
    if manifest.role != Role::Sandbox || manifest.is_unborn() {
        return Ok(None);
    }
    if manifest.state == State::Paused
        && let Some(paused) = manifest.paused(&directory)
    {
        let stack = rest(host, &manifest);
        return Ok(Some((manifest, stack, Phase::Paused(paused))));
    }
    Ok(live(host, manifest).await?)
}

/// Takes a sandbox over whose record says that it runs, if its VM does.
async fn live(host: &Host, manifest: Manifest) -> Result<Option<Adopted>, BoxError> {
    let id = manifest.sandbox_id;
    let directory = host.directory(id);
    let (State::Running | State::Pausing, Some(live)) = (manifest.state, manifest.live.clone())
    else {
        return Ok(None);
    };
    let Some(vm) = Jail::adopt(&host.jails, live.vm.clone(), live.process).await? else {
        return Ok(None);
    };
    // From here an error drops guards, so that the reaper takes down what cannot be kept.
    let mut stack = Stack::default();
    let owned = Directory::standing(directory.clone(), host.reaper.clone());
    stack.push(Guard::Directory(owned));
    let open = |name| CowFile::open(&directory.join(name), host.block_reaper.clone());
    let (cow, scratch) = (open(COW), live.restored.then(|| open(SCRATCH)));
    let (name, size) = (
        DeviceName::new(&live.disk.unwrap_or(id).to_string())?,
        DiskSize::mib(manifest.disk_mib)?,
    );
    let disk = match &scratch {
        None => host.blocks.adopt(&name, cow.path(), size).await,
        Some(scratch) => {
            let (cow, scratch) = (cow.path(), scratch.path());
            host.blocks.adopt_over(&name, cow, scratch, size).await
        }
    };
    stack.push(Guard::Cow(cow));
    stack.push(Guard::Slot(host.network.adopt(live.slot).await?));
    if let Some(scratch) = scratch {
        stack.push(Guard::Scratch(scratch));
    }
    stack.push(Guard::Disk(disk?));
    let console = vm.console(&host.console(id), CONSOLE_LIMIT)?;
    host.tasks.spawn(console.run());
    let pages = live.pages.map(|pages| vm.companion(pages)).transpose()?;
    stack.push(Guard::Vm(vm));
    match pages {
        None => {}
        Some(Some(pages)) => stack.push(Guard::Pages(pages)),
        Some(None) => return Err("its page server has ended".into()),
    }
    let running = running(host, &manifest, &live)?;
    Ok(Some((manifest, stack, Phase::Running(running))))
}

/// Takes a paused sandbox over: what a pause or a resumption left half done beside its snapshot goes.
pub(super) fn rest(host: &Host, manifest: &Manifest) -> Stack {
    let (id, directory) = (manifest.sandbox_id, host.directory(manifest.sandbox_id));
    let kept = manifest.snapshot.as_ref().map(|snapshot| snapshot.number);
    if let Err(error) = snapshot::remove_others(&directory, kept) {
        tracing::warn!(sandbox_id = %id, error = %chain(&error), "an older snapshot stays");
    }
    let mut stack = Stack::default();
    let owned = Directory::standing(directory.clone(), host.reaper.clone());
    stack.push(Guard::Directory(owned));
    let cow = CowFile::open(&directory.join(COW), host.block_reaper.clone());
    stack.push(Guard::Cow(cow));
    stack
}

fn running(host: &Host, manifest: &Manifest, live: &Live) -> Result<Running, BoxError> {
    let envd = Envd::new(
        live.slot.host_address(),
        &live.access_token,
        &manifest.default_user,
        host.pace,
    )?;
    Ok(Running::of(manifest, live, envd))
}

/// Removes what is ours and not in use, top first: jails, disks, networks.
async fn sweep(host: &Host, adopted: &[Adopted]) {
    let kept: Vec<_> = adopted
        .iter()
        .filter(|(.., phase)| matches!(phase, Phase::Running(_)))
        .filter_map(|(manifest, ..)| Some(&manifest.live.as_ref()?.vm))
        .collect();
    match wrenn_firecracker::census(&host.jails).await {
        Ok(census) => {
            for id in census.ids().into_iter().filter(|id| !kept.contains(&id)) {
                match Jail::remove(&host.jails, &id).await {
                    Ok(()) => tracing::info!(%id, "swept a jail"),
                    Err(error) => tracing::error!(%id, error = %chain(&error), "a jail stays"),
                }
            }
        }
        Err(error) => tracing::error!(error = %chain(&error), "jails were not swept"),
    }
    // First the disks with what lies under them, then base files that nobody uses any more.
    for files in [host.state_dir.clone(), host.config.images_dir.clone()] {
        match host.blocks.sweep(&files).await {
            Ok((removed, failed)) => report("block device", &removed, &failed),
            Err(error) => tracing::error!(error = %chain(&error), "disks were not swept"),
        }
    }
    match host.network.sweep().await {
        Ok((removed, failed)) => {
            let removed: Vec<_> = removed.iter().map(ToString::to_string).collect();
            report("network slot", &removed, &failed);
        }
        Err(error) => tracing::error!(error = %chain(&error), "networks were not swept"),
    }
}

fn report<E: std::error::Error + 'static>(kind: &str, removed: &[String], failed: &[E]) {
    for name in removed {
        tracing::info!(kind, name, "swept");
    }
    for error in failed {
        tracing::error!(kind, error = %chain(error), "not swept");
    }
}

/// Ends a sandbox whose VM does not run: an exit is an event, and either way its files go.
async fn bury(host: &Host, id: SandboxId) {
    let directory = host.directory(id);
    if let Ok(Some(manifest)) = Manifest::read(&directory, id)
        && manifest.role == Role::Sandbox
    {
        if matches!(manifest.state, State::Running | State::Pausing) {
            tracing::warn!(sandbox_id = %id, "its VM ended while no agent ran");
            let generation = manifest.generation;
            if let Err(error) = host.events.record(id, generation, EventKind::Exited) {
                tracing::error!(sandbox_id = %id, error = %chain(&error), "an event is not durable");
            }
        }
        // A creation that was cut off may be tried again under the same operation, so none is named.
        let op_id = (manifest.state == State::Stopping).then_some(manifest.op_id);
        let tombstone = Tombstone {
            generation: manifest.generation,
            op_id,
            failure: None,
        };
        if let Err(error) = host.graveyard.bury(id, &tombstone) {
            tracing::error!(sandbox_id = %id, error = %chain(&error), "its end is not durable");
        }
    }
    if let Err(error) = remove_directory(&directory).await {
        tracing::error!(sandbox_id = %id, error = %chain(&error), "its files stay");
    }
}
