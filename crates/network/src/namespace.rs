//! Named network namespaces, as `ip netns` names them: a mount over a file in `/run/netns`.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, UnmountFlags};

use crate::slot::{NAMESPACE_MARK, NAMESPACES};
use crate::{Error, Result, Slot};

/// Makes `/run/netns` a mount that other mount namespaces follow. Else a namespace, once removed here,
/// would live on in the mount namespace of every VM that was started while it existed.
pub(crate) fn prepare_directory() -> Result<()> {
    let directory = Path::new(NAMESPACES);
    std::fs::create_dir_all(directory).map_err(|source| Error::File {
        action: "create",
        path: directory.into(),
        source,
    })?;
    let failed = |action| move |source| Error::Namespace { action, source };
    let share = || {
        rustix::mount::mount_change(
            directory,
            MountPropagationFlags::SHARED | MountPropagationFlags::REC,
        )
    };
    match share() {
        Err(Errno::INVAL) => {
            // Not a mount point yet.
            rustix::mount::mount_bind_recursive(directory, directory)
                .map_err(failed("make the directory of names a mount"))?;
            share().map_err(failed("share the directory of names"))
        }
        other => other.map_err(failed("share the directory of names")),
    }
}

/// Names the namespace that this thread is in.
pub(crate) fn name_current(slot: Slot) -> Result<()> {
    let path = slot.namespace_path();
    File::create_new(&path).map_err(|source| Error::File {
        action: "create",
        path: path.clone(),
        source,
    })?;
    rustix::mount::mount_bind("/proc/thread-self/ns/net", &path).map_err(|source| {
        Error::Namespace {
            action: "give it a name",
            source,
        }
    })
}

/// Takes the name away; the namespace goes with its last user. No such name is success.
pub(crate) fn remove_name(slot: Slot) -> Result<()> {
    let path = slot.namespace_path();
    match rustix::mount::unmount(&path, UnmountFlags::DETACH) {
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {} // not mounted, or not there
        Err(source) => {
            return Err(Error::Namespace {
                action: "take its name away",
                source,
            });
        }
    }
    match std::fs::remove_file(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::File {
            action: "delete",
            path,
            source,
        }),
        _ => Ok(()),
    }
}

/// The slots whose namespaces have names.
pub(crate) fn list() -> Result<Vec<Slot>> {
    marked(Path::new(NAMESPACES), NAMESPACE_MARK)
}

/// The slots named in a directory by `mark` + number.
pub(crate) fn marked(directory: &Path, mark: &str) -> Result<Vec<Slot>> {
    let listing = match std::fs::read_dir(directory) {
        Ok(listing) => listing,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => {
            return Err(Error::File {
                action: "list",
                path: PathBuf::from(directory),
                source,
            });
        }
    };
    let mut slots: Vec<_> = listing
        .flatten()
        .filter_map(|entry| Slot::parse(entry.file_name().to_str()?.strip_prefix(mark)?))
        .collect();
    slots.sort();
    Ok(slots)
}
