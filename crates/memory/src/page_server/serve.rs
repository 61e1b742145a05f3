//! The loop: faults first, then a batch of the working set, then sleep.
//!
//! ```text
//! messages ─▶ removals at once, faults into the queue ─▶ queue ─▶ a batch of the working set ─▶ wait ─▶ …
//!                                                         └── EAGAIN: a removal is under way ──▶ ┘
//! ```
//!
//! A page that the guest gave back is zero for ever: removals are noted before any fault that was read with them is
//! served, and the kernel takes no page (EAGAIN) between the moment a removal begins and the moment it is read.
//! Which pages are there is only a guess, kept to spare calls; a page that a thread waits for is always tried.

use std::{
    collections::BTreeSet,
    fs::File,
    ops::Range,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{Errno, retry_on_intr},
};

use super::{
    bitmap::Bitmap,
    handshake::Vm,
    layers::{Content, Layers},
    prefetch::Prefetch,
    stats::{State, StatsFile},
    uffd::{Filled, Message},
    working_set::WorkingSet,
};
use crate::{PAGE_BYTES, Run};

/// Pages brought for one fault, those beside it: 64 KiB, because most of what lies beside a page is not used;
/// doubled up to 512 KiB while the guest goes on where they end.
const AROUND: (u64, u64) = (16, 128);
/// Pages of the working set between two looks at what the guest asks for: 2 MiB.
const BATCH: u64 = 512;
/// Without a fault for so long, the guest is idle.
const IDLE: Duration = Duration::from_secs(1);
/// How long the kernel is given to end a removal of which it has told. There is no event for that.
const REMOVAL: Duration = Duration::from_micros(100);

/// Why a VM is not served any more. Its threads wait for ever: it can only be ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The userfaultfd cannot be read.
    #[error("cannot read what the guest asks for")]
    Read(#[source] Errno),
    /// The wait for the next fault failed.
    #[error("cannot wait for the guest")]
    Wait(#[source] Errno),
    /// Something came that was not asked for.
    #[error("the kernel told of the event {0:#x}")]
    Event(u8),
    /// A fault outside of the regions.
    #[error("a fault at {0:#x}, where no memory of the guest is")]
    Stray(u64),
    /// A page cannot be filled; with `EFAULT` a layer was cut or cannot be read.
    #[error("cannot fill page {page}")]
    Fill {
        /// Of the guest.
        page: u64,
        /// Why.
        #[source]
        source: Errno,
    },
}

/// How far work came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    /// What was begun is done.
    Done,
    /// There is more of the working set.
    More,
    /// A removal must be read first.
    Changing,
    /// The process has ended.
    Gone,
}

/// Pages that can be filled at once.
struct Piece {
    pages: Range<u64>,
    /// Where the first is in the VM's process.
    address: u64,
    /// Where they lie; `None` when the guest gave them back.
    run: Option<Run>,
}

/// A VM and what it gets.
#[derive(Debug)]
pub(super) struct Server<'a> {
    layers: &'a Layers,
    vm: Vm,
    stats: &'a mut StatsFile,
    prefetch: Option<Prefetch>,
    /// Where the working set goes, until it is recorded.
    record: Option<File>,
    /// When the guest last did something; `None` before it did anything.
    active: Option<Instant>,
    /// Pages that threads wait for. No more than the guest has.
    faults: BTreeSet<u64>,
    /// What was brought for the last fault.
    window: Range<u64>,
    /// Pages that are there, as far as we know.
    present: Bitmap,
    /// Pages that the guest gave back.
    removed: Bitmap,
}

impl<'a> Server<'a> {
    pub(super) fn new(
        layers: &'a Layers,
        vm: Vm,
        stats: &'a mut StatsFile,
        prefetch: Option<WorkingSet>,
        record: Option<File>,
    ) -> Self {
        Self {
            vm,
            stats,
            prefetch: prefetch.map(Prefetch::new),
            record,
            active: None,
            faults: BTreeSet::new(),
            window: 0..0,
            present: Bitmap::new(layers.pages()),
            removed: Bitmap::new(layers.pages()),
            layers,
        }
    }

    /// Serves until the VM's process ends.
    pub(super) fn serve(&mut self) -> Result<(), ServeError> {
        self.stats.now.state = match self.prefetch {
            Some(_) => State::Prefetching,
            None => State::Serving,
        };
        self.stats.show();
        loop {
            self.take_messages()?;
            let patience = match self.work()? {
                Flow::Done => self.until_idle(),
                Flow::More => Some(Duration::ZERO),
                Flow::Changing => Some(REMOVAL),
                Flow::Gone => return Ok(()),
            };
            if self.has_ended(patience)? {
                return Ok(());
            }
            if self.until_idle() == Some(Duration::ZERO) {
                self.record();
            }
        }
    }

    /// Notes what is asked for and what was given back.
    fn take_messages(&mut self) -> Result<(), ServeError> {
        for message in self.vm.uffd.messages().map_err(ServeError::Read)? {
            match message {
                Message::Fault(address) => {
                    let page = self.vm.regions.page_at(address);
                    self.faults.insert(page.ok_or(ServeError::Stray(address))?);
                    self.stats.now.faults += 1;
                    self.active = Some(Instant::now());
                }
                Message::Removed(addresses) => {
                    for pages in self.vm.regions.pages_within(&addresses) {
                        self.stats.now.removed_pages += pages.end - pages.start;
                        self.present.remove(pages.clone());
                        self.removed.add(pages);
                    }
                }
                Message::Unexpected(event) => return Err(ServeError::Event(event)),
            }
        }
        Ok(())
    }

    /// Serves the queue, then a batch of the working set.
    fn work(&mut self) -> Result<Flow, ServeError> {
        while let Some(&page) = self.faults.first() {
            self.window = around(page, &self.window);
            match self.fill(page, self.window.clone())? {
                Flow::Done => self.faults.remove(&page),
                other => return Ok(other),
            };
        }
        self.prefetch_batch()
    }

    fn prefetch_batch(&mut self) -> Result<Flow, ServeError> {
        let Some(mut prefetch) = self.prefetch.take() else {
            return Ok(Flow::Done);
        };
        let mut left = BATCH;
        while left > 0 {
            let Some(pages) = prefetch.take(left) else {
                self.stats.now.state = State::Serving;
                self.active = Some(Instant::now());
                return Ok(Flow::Done);
            };
            left -= pages.end - pages.start;
            let mut next = pages.start;
            while next < pages.end {
                if self.present.has(next) || self.removed.has(next) {
                    next += 1;
                    continue;
                }
                let before = self.filled_pages();
                let flow = self.fill(next, next..pages.end)?;
                self.stats.now.prefetched_pages += self.filled_pages() - before;
                if flow != Flow::Done {
                    prefetch.put_back(next..pages.end);
                    self.prefetch = Some(prefetch);
                    return Ok(flow);
                }
            }
        }
        self.prefetch = Some(prefetch);
        Ok(Flow::More)
    }

    fn filled_pages(&self) -> u64 {
        self.stats.now.copied_pages + self.stats.now.zero_pages
    }

    /// Fills `page` and those beside it within `window` that lie with it and are not there yet.
    fn fill(&mut self, page: u64, window: Range<u64>) -> Result<Flow, ServeError> {
        let Some(piece) = self.piece(page, window) else {
            return Ok(Flow::Done); // beyond the guest's end, which no fault and no working set is
        };
        let mut next = piece.pages.start;
        while next < piece.pages.end {
            let address = piece.address + (next - piece.pages.start) * PAGE_BYTES;
            let pages = next..piece.pages.end;
            let content = match &piece.run {
                Some(run) => self.layers.content(run, &pages),
                None => Content::Zero,
            };
            let failed = |source| ServeError::Fill { page: next, source };
            let count = pages.end - pages.start;
            let uffd = &self.vm.uffd;
            let filled = match uffd.fill(address, count, content).map_err(failed)? {
                Filled::Pages(filled) => {
                    match content {
                        Content::Zero => self.stats.now.zero_pages += filled,
                        Content::Bytes(_) => self.stats.now.copied_pages += filled,
                    }
                    filled
                }
                Filled::Present => {
                    uffd.wake(address).map_err(failed)?;
                    1
                }
                Filled::Changing => return Ok(Flow::Changing),
                Filled::Gone => return Ok(Flow::Gone),
            };
            self.present.add(next..next + filled);
            next += filled;
        }
        Ok(Flow::Done)
    }

    fn piece(&self, page: u64, window: Range<u64>) -> Option<Piece> {
        let region = self.vm.regions.of_page(page)?;
        let is_removed = self.removed.has(page);
        let run = if is_removed {
            None
        } else {
            Some(self.layers.run_of(page)?)
        };
        let bound = run.map_or(region.pages.clone(), |run| run.start..run.end());
        let first = window.start.max(bound.start).max(region.pages.start);
        let last = window.end.min(bound.end).min(region.pages.end);
        let fits = |at: &u64| !self.present.has(*at) && self.removed.has(*at) == is_removed;
        let start = (first..page).rev().take_while(fits).last();
        let end = (page + 1..last).take_while(fits).last();
        let pages = start.unwrap_or(page)..end.unwrap_or(page) + 1;
        Some(Piece {
            address: region.address(pages.start),
            pages,
            run,
        })
    }

    /// Waits for messages or the end of `patience`; whether the VM's process has ended.
    fn has_ended(&mut self, patience: Option<Duration>) -> Result<bool, ServeError> {
        if patience != Some(Duration::ZERO) {
            self.stats.show();
        }
        // No patience is longer than a second.
        let patience = patience.and_then(|patience| Timespec::try_from(patience).ok());
        let mut fds = [
            PollFd::new(self.vm.uffd.fd(), PollFlags::IN),
            PollFd::new(&self.vm.process, PollFlags::IN),
        ];
        retry_on_intr(|| poll(&mut fds, patience.as_ref())).map_err(ServeError::Wait)?;
        Ok(!fds[1].revents().is_empty())
    }

    /// How long until the guest is idle, when that is of interest.
    fn until_idle(&self) -> Option<Duration> {
        let idle_at = self.active? + IDLE;
        let is_awaited = self.record.is_some() && self.prefetch.is_none();
        is_awaited.then(|| idle_at.saturating_duration_since(Instant::now()))
    }

    /// Writes down what the guest has used until now.
    fn record(&mut self) {
        let Some(file) = self.record.take() else {
            return;
        };
        let used = WorkingSet::new(self.present.ranges());
        // It is a hint: without it the next restore is slower.
        if used.write(&file, self.layers.pages()).is_ok() {
            self.stats.now.recorded_pages = used.pages();
        }
    }
}

/// The pages to be brought with `page`, after `last` was brought.
fn around(page: u64, last: &Range<u64>) -> Range<u64> {
    let size = last.end - last.start;
    let goes_on = (last.end..last.end + size).contains(&page);
    let size = if goes_on { 2 * size } else { AROUND.0 }.min(AROUND.1);
    page / size * size..(page / size + 1) * size
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_reads_on_gets_more() {
        let mut window = 0..0;
        for (page, expected) in [
            (5, 0..16),
            (16, 0..32),
            (40, 0..64),
            (64, 0..128),
            (128, 128..256),
            (300, 256..384),
            (7, 0..16),
            (15, 0..16),
            (40, 32..48),
            (47, 32..48),
        ] {
            window = around(page, &window);
            assert_eq!(window, expected, "{page}");
        }
    }
}
