//! Resumption, as ordered steps that each push a guard:
//!
//! check → slot, VMM and page server, beside scratch and disk → place → load → `/init` → record → merge
//!
//! Until the record says that the sandbox runs, the snapshot and the disk under it are as they were: a
//! resumption that fails is taken down to them and may be tried again.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use wrenn_block::{CowFile, DeviceName, DiskSize, SnapshotDevice};
use wrenn_firecracker::{
    Companion, JailedVm, Vm,
    api::types::{MemoryBackend, MemoryBackendType, SnapshotLoad},
};

use wrenn_memory::read_mapping;

use super::{
    Failure, FailureKind, Host,
    flat::FlatCopy,
    guest::{Keys, Metadata},
    host::{COW, Directory, SCRATCH},
    manifest::{Manifest, Role},
    pages::{self, PageServer},
    policy::State,
    seed::{Seed, SnapshotTemplate},
    snapshot::{self, Snapshot, VMSTATE},
    stack::{Guard, Stack},
    steps::{StartError, Steps},
};
use crate::{envd::Envd, templates};

/// Name of a flat memory in the jail.
const MEMORY: &str = "memory";

impl Steps<'_> {
    /// Creates the sandbox from the snapshot template in `origin_directory`. On an error `stack` holds what was made.
    pub(crate) async fn create_from(
        &self,
        template: &SnapshotTemplate,
        origin_directory: PathBuf,
        manifest: &mut Manifest,
        stack: &mut Stack,
    ) -> Result<Envd, StartError> {
        let host = self.host;
        let origin = &template.sandbox;
        let seed = Seed::of(origin_directory, origin)?;
        let seed = seed.ok_or(templates::Error::Missing(manifest.template_id))?;
        let directory = host.directory(manifest.sandbox_id);
        let owned = Directory::create(directory.clone(), host.reaper.clone());
        stack.push(Guard::Directory(owned.map_err(StartError::Directory)?));
        let (targets, size) = ([directory.clone()], seed.size);
        let copy = async {
            let copied = tokio::task::spawn_blocking(move || seed.copy(&targets)).await;
            Ok(copied.map_err(|_| StartError::Stopping)??)
        };
        let copied = self.step("copy", None, copy).await?;
        let path = directory.join(COW);
        let cow = CowFile::create(&path, size, host.block_reaper.clone());
        let cow = self.host_step("cow", async { Ok(cow.await?) }).await?;
        stack.push(Guard::Cow(cow));
        let snapshot = copied.snapshot.clone();
        manifest.made_from(origin, copied);
        manifest.write(&directory)?;
        self.passed("record")?;
        let envs = Some(&manifest.envs.clone());
        self.restore(manifest, &snapshot, None, stack, envs).await
    }

    /// Restores the sandbox from `snapshot`, its memory from `copy` where there is one. On an error `stack` holds
    /// what was made, over what it held.
    pub(crate) async fn resume(
        &self,
        manifest: &mut Manifest,
        snapshot: &Snapshot,
        copy: Option<&FlatCopy>,
        stack: &mut Stack,
    ) -> Result<Envd, StartError> {
        self.restore(manifest, snapshot, copy, stack, None).await
    }

    async fn restore(
        &self,
        manifest: &mut Manifest,
        snapshot: &Snapshot,
        copy: Option<&FlatCopy>,
        stack: &mut Stack,
        envs: Option<&BTreeMap<String, String>>,
    ) -> Result<Envd, StartError> {
        let host = self.host;
        let directory = host.directory(manifest.sandbox_id);
        let generation = snapshot::directory(&directory, snapshot.number);
        let flat = self
            .step("check", None, check(host, manifest, snapshot))
            .await?;
        let copied = || copy.and_then(FlatCopy::file).map(Path::to_owned);
        let flat = flat.or_else(copied);
        self.passed("check")?;
        let _permit = match manifest.role {
            Role::Spare => None, // nobody is to wait for it
            _ => Some(self.permit().await?),
        };
        let served = async {
            let (slot, vm) = self.ready(manifest).await?;
            let server = match flat {
                Some(_) => None,
                None => Some(
                    self.pages(manifest, &generation, &directory, (&vm, slot.uid()))
                        .await,
                ),
            };
            // Slot and VM are the stack's, whatever became of the server.
            Ok::<_, StartError>((slot, vm, server))
        };
        let (disk, ready) = tokio::join!(self.disk(manifest, &directory), served);
        let disk = disk.map(|(scratch, disk)| {
            let number = disk.device_number();
            stack.push(Guard::Scratch(scratch));
            stack.push(Guard::Disk(disk));
            number
        });
        let ready = ready.map(|(slot, vm, server)| {
            let at = (slot.slot(), slot.uid());
            stack.push(Guard::Slot(slot));
            (at, vm, server)
        });
        let (disk, (slot, vm, server)) = (disk?, ready?);
        let vmstate = generation.join(VMSTATE);
        let mut files: Vec<(&Path, &str)> = vec![(&vmstate, VMSTATE)];
        if let Some(flat) = &flat {
            files.push((flat, MEMORY));
        }
        let started = self
            .dedicate(vm, manifest, slot, disk, &files, stack)
            .await?;
        if started.firecracker_version != snapshot.firecracker_version {
            return Err(StartError::Refused(Failure::new(
                FailureKind::SnapshotDamaged,
                "the snapshot is of another version of the VMM",
            )));
        }
        let backend = match server.transpose()? {
            None => MemoryBackend {
                backend_type: MemoryBackendType::File,
                backend_path: Path::new("/").join(MEMORY),
            },
            Some(server) => {
                stack.push(Guard::Pages(server));
                MemoryBackend {
                    backend_type: MemoryBackendType::Uffd,
                    backend_path: Path::new("/").join(pages::SOCKET),
                }
            }
        };
        let keys = Keys::new()?;
        let load = SnapshotLoad {
            snapshot_path: Path::new("/").join(VMSTATE),
            mem_backend: backend,
            enable_diff_snapshots: true,
            network_overrides: Vec::new(),
        };
        let restore = async {
            let restored = Vm::fresh(started.client.clone())
                .load_snapshot(&load)
                .await
                .map_err(|refused| StartError::Start(refused.error.into()))?;
            // Firecracker's metadata is not in its snapshots: until now the guest sees none.
            Ok(restored.put_mmds(&Metadata::of(manifest, &keys)).await?)
        };
        let envd = Envd::new(
            slot.0.host_address(),
            &keys.access_token,
            &manifest.default_user,
            host.pace,
        )
        .map_err(StartError::Init)?;
        let restored = async {
            self.step("load", None, restore).await?;
            self.passed("load")?;
            self.init(manifest, &keys, &envd, envs).await
        };
        tokio::select! {
            restored = restored => restored?,
            () = stack.pages_ended() => return Err(pages::Error::Gone.into()),
        }
        let envd_version = snapshot.envd_version.clone();
        started.record(manifest, &directory, keys, envd_version, true, stack)?;
        host.hush();
        self.passed("running")?;
        Ok(envd)
    }

    /// The page server of the VM, as part of it.
    async fn pages(
        &self,
        manifest: &Manifest,
        snapshot: &Path,
        directory: &Path,
        (vm, owner): (&JailedVm, u32),
    ) -> Result<Companion, StartError> {
        let host = self.host;
        let (jail, cgroup) = (vm.root(), vm.cgroup());
        let server = PageServer {
            snapshot,
            directory,
            template: (manifest.state == State::Starting)
                .then(|| host.snapshot_template(manifest.template_id)),
            jail: &jail,
            owner,
            cgroup,
        };
        let pages = async {
            let identity = server.start(host).await?;
            vm.companion(identity)?.ok_or(pages::Error::Gone.into())
        };
        let pages = self.host_step("pages", pages).await?;
        self.passed("pages")?;
        Ok(pages)
    }

    /// The sandbox's disk, with a file over it that takes what the guest writes until it is known to run.
    async fn disk(
        &self,
        manifest: &Manifest,
        directory: &Path,
    ) -> Result<(CowFile, SnapshotDevice), StartError> {
        let host = self.host;
        let size = DiskSize::mib(manifest.disk_mib)?;
        let path = directory.join(SCRATCH);
        let reaper = || host.block_reaper.clone();
        let scratch = async {
            CowFile::open(&path, reaper()).release().await?;
            Ok(CowFile::create(&path, size, reaper()).await?)
        };
        let scratch = self.host_step("scratch", scratch).await?;
        let name = DeviceName::new(&manifest.sandbox_id.to_string())?;
        let (base, cow) = (host.base(manifest), directory.join(COW));
        let disk = host.blocks.attach_over(&name, base, &cow, &path, size);
        let disk = self.host_step("disk", async { Ok(disk.await?) }).await?;
        self.passed("disk")?;
        Ok((scratch, disk))
    }
}

/// Checks that the snapshot is what was written and still fits what it lies on; gives its memory if that is
/// one layer.
async fn check(
    host: &Host,
    manifest: &Manifest,
    snapshot: &Snapshot,
) -> Result<Option<PathBuf>, StartError> {
    host.check_base(manifest)?;
    let directory = host.directory(manifest.sandbox_id);
    let (snapshot, verified) = (snapshot.clone(), host.verified.clone());
    let frozen = manifest.frozen.clone();
    let checked = tokio::task::spawn_blocking(move || {
        snapshot.check(&directory, &verified)?;
        snapshot::check(&directory, &frozen, &verified)?;
        let generation = snapshot::directory(&directory, snapshot.number);
        let mapping = read_mapping(&generation).map_err(snapshot::Error::from)?;
        Ok(snapshot::flat_layer(&generation, &mapping))
    });
    checked.await.unwrap_or(Err(StartError::Stopping))
}
