//! Memory of snapshots: which page of a guest lies where, and the process that brings it there.
//!
//! A snapshot's memory is a [`Mapping`] of guest pages to layers: sparse files that never change once they
//! are published, and that several snapshots share. Its [`header`] is the mapping as bytes, read as hostile.
//! [`describe`], [`data_extents`] and the [`Reader`] look into such files, the [`page_server`] serves them to a VM.
//! Who owns the files keeps them: nothing here writes or deletes a layer.

mod checksum;
mod describe;
mod extents;
pub mod header;
mod layer;
mod mapping;
pub mod page_server;
mod reader;
mod snapshot;

pub use self::{
    checksum::{Checksum, Contents, contents},
    describe::{Description, LayerDescription, describe},
    extents::data_extents,
    layer::{LayerId, ParseLayerIdError},
    mapping::{
        Extent, MAX_LAYERS, MAX_PAGES, MAX_RUNS, Mapping, MappingError, Run, Source, Written,
    },
    reader::{Packed, Reader},
    snapshot::{HEADER_FILE, SnapshotError, layer_file, read_mapping},
};

/// Bytes of a page of guest memory.
pub const PAGE_BYTES: u64 = 4096;
