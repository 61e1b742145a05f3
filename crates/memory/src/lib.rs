//! Memory of snapshots: which page of a guest lies where.
//!
//! A snapshot's memory is a [`Mapping`] of guest pages to layers: sparse files that never change once they
//! are published, and that several snapshots share. Its [`header`] is the mapping as bytes, read as hostile.
//! This crate opens no layer and starts no process; who owns the files keeps them.

mod checksum;
pub mod header;
mod layer;
mod mapping;

pub use self::{
    checksum::{Checksum, Contents, contents, data_pages},
    layer::{LayerId, ParseLayerIdError},
    mapping::{
        Extent, MAX_LAYERS, MAX_PAGES, MAX_RUNS, Mapping, MappingError, Run, Source, Written,
    },
};

/// Bytes of a page of guest memory.
pub const PAGE_BYTES: u64 = 4096;
