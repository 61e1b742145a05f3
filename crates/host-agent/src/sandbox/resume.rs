//! Resumption, as ordered steps that each push a guard:
//!
//! check → slot → scratch and disk → jail → launch → (page server) → load → `/init` → record → merge
//!
//! Until the record says that the sandbox runs, the snapshot and the disk under it are as they were: a
//! resumption that fails is taken down to them and may be tried again.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use wrenn_block::{CowFile, DeviceName, DiskSize};
use wrenn_firecracker::{
    Vm,
    api::types::{MemoryBackend, MemoryBackendType, SnapshotLoad},
};

use wrenn_memory::read_mapping;

use super::{
    Failure, FailureKind, Host,
    guest::{Keys, Metadata},
    host::{COW, Directory, SCRATCH},
    manifest::Manifest,
    pages::{self, PageServer},
    policy::State,
    seed::{Copied, Seed, SnapshotTemplate},
    snapshot::{self, Snapshot, VMSTATE},
    stack::{Guard, Stack},
    steps::{StartError, Steps},
    working_set,
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
        let Copied { snapshot, frozen } = self.step("copy", None, copy).await?;
        let path = directory.join(COW);
        let cow = CowFile::create(&path, size, host.block_reaper.clone());
        let cow = self.host_step("cow", async { Ok(cow.await?) }).await?;
        stack.push(Guard::Cow(cow));
        let base = origin.base_template();
        manifest.base_template_id = (base != manifest.template_id).then_some(base);
        manifest.rootfs_sha256.clone_from(&origin.rootfs_sha256);
        manifest.kernel_version.clone_from(&origin.kernel_version);
        (manifest.vcpus, manifest.memory_mib) = (origin.vcpus, origin.memory_mib);
        manifest.disk_mib = origin.disk_mib;
        manifest.frozen = frozen;
        manifest.snapshot = Some(snapshot.clone());
        manifest.write(&directory)?;
        self.passed("record")?;
        let envs = Some(&manifest.envs.clone());
        self.restore(manifest, &snapshot, stack, envs).await
    }

    /// Restores the sandbox from `snapshot`. On an error `stack` holds what was made, over what it held.
    pub(crate) async fn resume(
        &self,
        manifest: &mut Manifest,
        snapshot: &Snapshot,
        stack: &mut Stack,
    ) -> Result<Envd, StartError> {
        self.restore(manifest, snapshot, stack, None).await
    }

    async fn restore(
        &self,
        manifest: &mut Manifest,
        snapshot: &Snapshot,
        stack: &mut Stack,
        envs: Option<&BTreeMap<String, String>>,
    ) -> Result<Envd, StartError> {
        let host = self.host;
        let directory = host.directory(manifest.sandbox_id);
        let generation = snapshot::directory(&directory, snapshot.number);
        let flat = self
            .step("check", None, check(host, manifest, snapshot))
            .await?;
        self.passed("check")?;
        let _permit = self
            .step("permit", None, async { Ok(host.boots.acquire().await) })
            .await?;
        let slot = self.slot(manifest, stack).await?;

        let size = DiskSize::mib(manifest.disk_mib)?;
        let scratch_path = directory.join(SCRATCH);
        let reaper = || host.block_reaper.clone();
        CowFile::open(&scratch_path, reaper()).release().await?;
        let scratch = CowFile::create(&scratch_path, size, reaper());
        let scratch = self
            .host_step("scratch", async { Ok(scratch.await?) })
            .await?;
        stack.push(Guard::Cow(scratch));
        let name = DeviceName::new(&manifest.sandbox_id.to_string())?;
        let (base, cow) = (host.base(manifest), directory.join(COW));
        let disk = host
            .blocks
            .attach_over(&name, base, &cow, &scratch_path, size);
        let disk = self.host_step("disk", async { Ok(disk.await?) }).await?;
        let device = disk.device_number();
        stack.push(Guard::Disk(disk));
        self.passed("disk")?;

        let vmstate = generation.join(VMSTATE);
        let mut files: Vec<(&Path, &str)> = vec![(&vmstate, VMSTATE)];
        if let Some(flat) = &flat {
            files.push((flat, MEMORY));
        }
        let started = self.launch(manifest, slot, device, &files, stack).await?;
        if started.firecracker_version != snapshot.firecracker_version {
            return Err(StartError::Refused(Failure::new(
                FailureKind::SnapshotDamaged,
                "the snapshot is of another version of the VMM",
            )));
        }
        let backend = match (flat, stack.vm()) {
            (Some(_), _) => {
                working_set::forget(&directory);
                MemoryBackend {
                    backend_type: MemoryBackendType::File,
                    backend_path: Path::new("/").join(MEMORY),
                }
            }
            (None, None) => return Err(StartError::Stopping),
            (None, Some(vm)) => {
                let (jail, cgroup) = (vm.root(), vm.cgroup());
                let server = PageServer {
                    snapshot: &generation,
                    directory: &directory,
                    template: (manifest.state == State::Starting)
                        .then(|| host.snapshot_template(manifest.template_id)),
                    jail: &jail,
                    owner: slot.1,
                    cgroup,
                };
                let pages = async {
                    let identity = server.start(host).await?;
                    vm.companion(identity)?.ok_or(pages::Error::Gone.into())
                };
                let pages = self.host_step("pages", pages).await?;
                stack.push(Guard::Pages(pages));
                self.passed("pages")?;
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
        let pages = stack.pages().map(|pages| pages.identity());
        let envd_version = snapshot.envd_version.clone();
        started.record(
            manifest,
            &directory,
            slot.0,
            keys,
            envd_version,
            Some(pages),
        )?;
        self.passed("running")?;
        Ok(envd)
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
