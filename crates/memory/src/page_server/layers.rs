//! The layers of a snapshot, mapped.
//!
//! Nothing here reads a layer's bytes: they are handed to the kernel by address. Layers never change, and their
//! length was checked when they were opened; should one be cut nevertheless, the kernel's copy fails with EFAULT,
//! which ends the server with an error, and not by a signal.

use std::{ffi::c_void, marker::PhantomData, ops::Range, path::Path, ptr};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};

use super::runs::Runs;
use crate::{
    PAGE_BYTES, Run, SnapshotError, Source, read_mapping,
    snapshot::{OpenLayer, open_layers},
};

/// Bytes of a layer: an address and a length that are mapped while the layers are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes<'a> {
    address: u64,
    bytes: u64,
    layers: PhantomData<&'a Layers>,
}

impl Bytes<'_> {
    pub(super) fn address(self) -> u64 {
        self.address
    }

    pub(super) fn bytes(self) -> u64 {
        self.bytes
    }
}

/// What pages of the guest hold.
#[derive(Clone, Copy, Debug)]
pub(super) enum Content<'a> {
    /// Zeros.
    Zero,
    /// These bytes.
    Bytes(Bytes<'a>),
}

/// A snapshot's memory, open.
#[derive(Debug)]
pub(super) struct Layers {
    pages: u64,
    runs: Runs,
    /// One for each of the mapping's layers.
    mapped: Vec<Mapped>,
}

impl Layers {
    pub(super) fn open(directory: &Path) -> Result<Self, SnapshotError> {
        let mapping = read_mapping(directory)?;
        let layers = open_layers(directory, &mapping)?;
        let mapped = layers.iter().map(Mapped::new).collect::<Result<_, _>>()?;
        Ok(Self {
            pages: mapping.pages(),
            runs: Runs::new(&mapping),
            mapped,
        })
    }

    /// Pages of the guest.
    pub(super) fn pages(&self) -> u64 {
        self.pages
    }

    /// The run that holds the page; `None` beyond the guest's end.
    pub(super) fn run_of(&self, page: u64) -> Option<Run> {
        self.runs.of_page(page)
    }

    /// What `pages` hold, which lie within `run`.
    pub(super) fn content(&self, run: &Run, pages: &Range<u64>) -> Content<'_> {
        debug_assert!(run.start <= pages.start && pages.end <= run.end());
        match run.source.after(pages.start - run.start) {
            Source::Zero => Content::Zero,
            Source::Layer { index, page } => Content::Bytes(Bytes {
                // The mapping's rules: the index is one of its layers.
                address: self.mapped[index as usize].address() + page * PAGE_BYTES,
                bytes: (pages.end - pages.start) * PAGE_BYTES,
                layers: PhantomData,
            }),
        }
    }

    /// Has the kernel begin to read what `pages` hold, so that it is there when it is copied.
    pub(super) fn read_ahead(&self, pages: &Range<u64>) {
        let mut next = pages.start;
        while let Some(run) = self.run_of(next).filter(|_| next < pages.end) {
            let end = run.end().min(pages.end);
            if let Content::Bytes(bytes) = self.content(&run, &(next..end)) {
                // SAFETY: the range is mapped, and this advice changes nothing that can be seen.
                let advised = unsafe {
                    madvise(
                        ptr::with_exposed_provenance_mut(bytes.address as usize),
                        bytes.bytes as usize,
                        Advice::WillNeed,
                    )
                };
                // It is an advice: without it the pages are read when they are copied.
                let _ = advised;
            }
            next = end;
        }
    }
}

/// The part of a layer's file that is in use, mapped for reading; owns the mapping.
#[derive(Debug)]
struct Mapped {
    start: *mut c_void,
    length: usize,
}

impl Mapped {
    fn new(layer: &OpenLayer) -> Result<Self, SnapshotError> {
        // At most MAX_PAGES pages, and not empty: a mapping uses each of its layers.
        let length = layer.needed_bytes as usize;
        // SAFETY: a new mapping at an address of the kernel's choice, of which nobody makes a reference.
        let start = unsafe {
            mmap(
                ptr::null_mut(),
                length,
                ProtFlags::READ,
                MapFlags::SHARED,
                &layer.file,
                0,
            )
        };
        let start = start.map_err(|error| SnapshotError::Layer {
            layer: layer.id,
            source: error.into(),
        })?;
        Ok(Self { start, length })
    }

    fn address(&self) -> u64 {
        self.start.expose_provenance() as u64
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: this is the whole of our own mapping, and addresses into it do not outlive the layers.
        let unmapped = unsafe { munmap(self.start, self.length) };
        debug_assert!(unmapped.is_ok());
    }
}
