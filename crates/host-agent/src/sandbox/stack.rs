//! The resources of one sandbox, as a stack of guards: pushed while it is created, taken down from the top
//! when creation fails, when it is destroyed and when its VM has died.

use wrenn_block::{CowFile, SnapshotDevice};
use wrenn_firecracker::{Companion, Jail, JailedVm};
use wrenn_ids::SandboxId;
use wrenn_network::SlotLease;

use super::host::{Directory, Host, remove_directory};

/// One resource.
#[derive(Debug)]
pub(crate) enum Guard {
    Directory(Directory),
    Slot(SlotLease),
    Cow(CowFile),
    /// What a restored sandbox writes until it is known to run.
    Scratch(CowFile),
    Disk(SnapshotDevice),
    Vm(JailedVm),
    /// In the VM's cgroup: it ends with the VM, so nothing is to be released.
    Pages(Companion),
}

/// How often each undo is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Undo {
    Once,
    /// A test wants to know that a second run does no harm.
    Twice,
}

/// What a sandbox holds, bottom first. Dropped, each guard hands its resource to the reaper.
#[derive(Debug, Default)]
pub(crate) struct Stack {
    guards: Vec<Guard>,
}

impl Stack {
    pub(crate) fn push(&mut self, guard: Guard) {
        self.guards.push(guard);
    }

    /// Replaces guards by those of the same resources elsewhere.
    pub(crate) fn replace(&mut self, by: impl FnMut(Guard) -> Guard) {
        self.guards = std::mem::take(&mut self.guards)
            .into_iter()
            .map(by)
            .collect();
    }

    /// Parts from all that is not on the disk: what a paused sandbox does not hold. The rest stays.
    pub(crate) fn split_live(&mut self) -> Self {
        let durable = |guard: &Guard| matches!(guard, Guard::Directory(_) | Guard::Cow(_));
        let from = self.guards.iter().position(|guard| !durable(guard));
        Self {
            guards: self.guards.split_off(from.unwrap_or(self.guards.len())),
        }
    }

    pub(crate) fn vm(&self) -> Option<&JailedVm> {
        self.guards.iter().find_map(|guard| match guard {
            Guard::Vm(vm) => Some(vm),
            _ => None,
        })
    }

    pub(crate) fn pages(&self) -> Option<&Companion> {
        self.guards.iter().find_map(|guard| match guard {
            Guard::Pages(pages) => Some(pages),
            _ => None,
        })
    }

    /// Resolves when the page server has ended; never without one.
    pub(crate) async fn pages_ended(&self) {
        match self.pages() {
            Some(pages) => pages.ended().await,
            None => std::future::pending().await,
        }
    }

    /// Resolves when what runs has ended: without its pages a VM stands still for ever.
    pub(crate) async fn ended(&self) {
        let vm = async {
            match self.vm() {
                Some(vm) => vm.ended().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = vm => {}
            () = self.pages_ended() => {}
        }
    }

    /// Whether what runs has ended by now.
    pub(crate) fn has_ended(&self) -> bool {
        self.vm().is_some_and(JailedVm::has_ended) || self.pages().is_some_and(Companion::has_ended)
    }

    pub(crate) fn slot(&self) -> Option<&SlotLease> {
        self.guards.iter().find_map(|guard| match guard {
            Guard::Slot(slot) => Some(slot),
            _ => None,
        })
    }

    pub(crate) fn disk(&self) -> Option<&SnapshotDevice> {
        self.guards.iter().find_map(|guard| match guard {
            Guard::Disk(disk) => Some(disk),
            _ => None,
        })
    }

    /// Takes everything down, top first. What fails is logged and left to the reaper.
    pub(crate) async fn release(mut self, host: &Host, id: SandboxId, undo: Undo) {
        while let Some(guard) = self.guards.pop() {
            let kind = guard.kind();
            if let Err(error) = guard.release(host, id, undo).await {
                tracing::warn!(sandbox_id = %id, kind, error = %crate::chain(&*error), "left to the reaper");
            }
        }
    }

    /// Leaves everything standing, for the next start to find.
    pub(crate) fn detach(mut self) {
        while let Some(guard) = self.guards.pop() {
            match guard {
                Guard::Directory(directory) => directory.detach(),
                Guard::Slot(slot) => slot.detach(),
                Guard::Cow(cow) | Guard::Scratch(cow) => cow.keep(),
                Guard::Disk(disk) => disk.detach(),
                Guard::Vm(vm) => vm.detach(),
                Guard::Pages(_) => {}
            }
        }
    }
}

impl Guard {
    fn kind(&self) -> &'static str {
        match self {
            Self::Directory(_) => "directory",
            Self::Slot(_) => "slot",
            Self::Cow(_) => "cow",
            Self::Scratch(_) => "scratch",
            Self::Disk(_) => "disk",
            Self::Vm(_) => "vm",
            Self::Pages(_) => "pages",
        }
    }

    async fn release(
        self,
        host: &Host,
        id: SandboxId,
        undo: Undo,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let again = undo == Undo::Twice;
        match self {
            Self::Directory(directory) => {
                directory.release().await?;
                if again {
                    remove_directory(&host.directory(id)).await?;
                }
            }
            Self::Slot(slot) => {
                slot.release().await?;
                if again {
                    host.network.sweep().await?;
                }
            }
            Self::Cow(cow) | Self::Scratch(cow) => {
                let path = cow.path().to_owned();
                cow.release().await?;
                if again {
                    CowFile::open(&path, host.block_reaper.clone())
                        .release()
                        .await?;
                }
            }
            Self::Disk(disk) => {
                disk.release().await?;
                if again {
                    host.blocks.sweep(&host.directory(id)).await?;
                }
            }
            Self::Pages(_) => {}
            Self::Vm(vm) => {
                let name = vm.id().clone();
                vm.release().await?;
                if again {
                    Jail::remove(&host.jails, &name).await?;
                }
            }
        }
        Ok(())
    }
}
