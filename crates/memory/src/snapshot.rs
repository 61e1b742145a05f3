//! The directory of a snapshot's memory: its header, and one file a layer.
//!
//! What is opened here has been checked: the header maps something possible, and every layer's file is as long
//! as the runs in it need.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use crate::{LayerId, Mapping, PAGE_BYTES, Source, header, header::HeaderError};

/// Name of the header's file.
pub const HEADER_FILE: &str = "memory";

/// Why a directory is no snapshot's memory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The header cannot be read.
    #[error("cannot read the memory header {path}")]
    Read {
        /// Of the header.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What was read is no header.
    #[error("{path} does not describe a memory")]
    Header {
        /// Of the header.
        path: PathBuf,
        /// Why.
        #[source]
        source: HeaderError,
    },
    /// A layer cannot be opened or mapped.
    #[error("cannot open layer {layer}")]
    Layer {
        /// Its name.
        layer: LayerId,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A layer ends before its last run does.
    #[error("layer {layer} has {found} bytes where its runs need {needed}")]
    Short {
        /// Its name.
        layer: LayerId,
        /// Bytes that its runs need.
        needed: u64,
        /// Bytes that it has.
        found: u64,
    },
}

/// Name of a layer's file.
#[must_use]
pub fn layer_file(layer: LayerId) -> String {
    format!("{layer}.layer")
}

/// Reads the header of the snapshot in `directory`; the layers are not looked at.
///
/// # Errors
/// When there is none, or it is not one.
pub fn read_mapping(directory: &Path) -> Result<Mapping, SnapshotError> {
    let path = directory.join(HEADER_FILE);
    let mut bytes = Vec::new();
    // A byte more than any header has is enough to find it too long.
    let read = File::open(&path).and_then(|file| {
        file.take(header::MAX_BYTES as u64 + 1)
            .read_to_end(&mut bytes)
    });
    if let Err(source) = read {
        return Err(SnapshotError::Read { path, source });
    }
    header::decode(&bytes).map_err(|source| SnapshotError::Header { path, source })
}

/// A layer's file and how much of it is in use.
#[derive(Debug)]
pub(crate) struct OpenLayer {
    pub(crate) id: LayerId,
    pub(crate) file: File,
    /// End of its last run.
    pub(crate) needed_bytes: u64,
    /// Pages of the guest that it holds.
    pub(crate) pages: u64,
}

/// Opens every layer of `mapping` in `directory`, in the mapping's order.
pub(crate) fn open_layers(
    directory: &Path,
    mapping: &Mapping,
) -> Result<Vec<OpenLayer>, SnapshotError> {
    let mut used = vec![(0, 0); mapping.layers().len()];
    for run in mapping.runs() {
        if let Source::Layer { index, page } = run.source {
            // The mapping's rules: the index is one of its layers, and no end is beyond a file's.
            let (end, pages) = &mut used[index as usize];
            *end = (*end).max(page + run.pages);
            *pages += run.pages;
        }
    }
    let layers = mapping.layers().iter().zip(used);
    let open = |(&id, (end, pages))| {
        let failed = |source| SnapshotError::Layer { layer: id, source };
        let file = File::open(directory.join(layer_file(id))).map_err(failed)?;
        let found = file.metadata().map_err(failed)?.len();
        let needed_bytes = end * PAGE_BYTES;
        if found < needed_bytes {
            return Err(SnapshotError::Short {
                layer: id,
                needed: needed_bytes,
                found,
            });
        }
        Ok(OpenLayer {
            id,
            file,
            needed_bytes,
            pages,
        })
    };
    layers.map(open).collect()
}
