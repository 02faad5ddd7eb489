//! The thread that reads the directory, announces what is in it and asks for the parts.

use std::sync::atomic::Ordering;
use std::time::Instant;

use crossbeam_channel::Sender;

use super::mix::{Limits, Mix};
use super::permits::ENTRIES_PER_PERMIT;
use super::{Arrival, PartPlan, PipelineOptions, Shared, Sink, TICK, VerifiedPart};
use crate::error::{Error, Kind, Result};
use crate::format::Entry;
use crate::format::directory_reader::PlacedEntry;
use crate::format::entry::{EMPTY_TREE, EntryType};
use crate::format::hard_links::HardLinks;
use crate::format::limits::GRID;
use crate::format::namespace::NamespaceChecker;
use crate::observe::{Event, Events};
use crate::restore::fetch_directory::Archive;
use crate::restore::report::Fetched;
use crate::restore::selection::Selection;
use crate::restore::{StopFlag, check_stop};

/// Requests to choose from at most. A file that goes on in one of them may have to stay open.
const LOOK_AHEAD_REQUESTS: usize = 128;

/// Entries in them at most, for each request that may be in flight: about 700 KiB beside its 8 MiB.
const LOOK_AHEAD_ENTRIES: u64 = 2048;

/// The thread that reads the directory.
pub struct Planner<'a> {
    archive: &'a Archive,
    selection: &'a Selection,
    options: &'a PipelineOptions,
    events: &'a Events,
    stop: &'a StopFlag,
    shared: &'a Shared,
    sender: Sender<Arrival>,
    names: NamespaceChecker,
    hard_links: HardLinks,
    /// The part whose entries are being collected.
    part: Option<PartPlan>,
    /// Complete parts of the next request.
    request: Vec<PartPlan>,
    /// Complete requests, of which none was made yet.
    mix: Mix<Vec<PartPlan>>,
    pub requested: Fetched,
    begun: Instant,
}

impl<'a> Planner<'a> {
    pub fn new(
        archive: &'a Archive,
        selection: &'a Selection,
        options: &'a PipelineOptions,
        events: &'a Events,
        stop: &'a StopFlag,
        shared: &'a Shared,
        sender: Sender<Arrival>,
    ) -> Self {
        Planner {
            archive,
            selection,
            options,
            events,
            stop,
            shared,
            sender,
            names: NamespaceChecker::for_archive(&archive.index.trailer),
            hard_links: HardLinks::new(),
            part: None,
            request: Vec::new(),
            mix: Mix::new(Limits {
                requests: LOOK_AHEAD_REQUESTS,
                cost: LOOK_AHEAD_ENTRIES * options.in_flight.max(1) as u64,
            }),
            requested: Fetched::default(),
            begun: Instant::now(),
        }
    }

    pub fn plan<S: Sink>(&mut self, sink: &S) -> Result<()> {
        let (archive, stop, shared) = (self.archive, self.stop, self.shared);
        let visit = |placed: PlacedEntry| {
            self.announce(sink, &placed.entry)?;
            self.place(sink, placed)
        };
        archive.for_each_entry_while(|| go_on(stop, shared), visit)?;
        self.requested.directory = self.begun.elapsed();
        self.events.emit(Event::DirectoryRead);
        if let Some(part) = self.part.take() {
            self.part_complete(sink, part)?;
        }
        self.request_complete()?;
        while let Some(parts) = self.mix.take() {
            self.issue(parts)?;
        }
        let Fetched { parts, bytes, skipped, .. } = self.requested;
        self.events.emit(Event::AllRequested { parts, bytes, skipped });
        sink.announced(parts + skipped)
    }

    fn announce<S: Sink>(&mut self, sink: &S, entry: &Entry) -> Result<()> {
        // Also what is not selected: an archive with a path twice is not one of two archives.
        self.names.check(&entry.path, entry.entry_type).map_err(|e| self.archive.named(e))?;
        let target = self.hard_links.check(entry).map_err(|e| self.archive.named(e))?;
        let Some(destination) = self.selection.destination(entry) else { return Ok(()) };
        if entry.path == EMPTY_TREE {
            return Ok(());
        }
        let link_target = match (entry.entry_type, target) {
            (EntryType::HardLink { target: ordinal }, Some(path)) => Some(self.selection.link_target(ordinal, path)),
            _ => None,
        };
        sink.entry(entry, destination, link_target)
    }

    /// Adds an entry to every part it has a byte in.
    fn place<S: Sink>(&mut self, sink: &S, placed: PlacedEntry) -> Result<()> {
        let (first, last) = (placed.entry.header_offset / GRID, (placed.end - 1) / GRID);
        for index in first..last {
            self.place_in(sink, index, placed.clone())?;
        }
        self.place_in(sink, last, placed)
    }

    fn place_in<S: Sink>(&mut self, sink: &S, index: u64, placed: PlacedEntry) -> Result<()> {
        if self.part.as_ref().is_some_and(|part| part.index != index)
            && let Some(part) = self.part.take()
        {
            self.part_complete(sink, part)?;
        }
        let part = self.part.get_or_insert_with(|| PartPlan { index, entries: Vec::new() });
        part.entries.push(placed);
        Ok(())
    }

    /// Collects complete parts to aligned requests.
    fn part_complete<S: Sink>(&mut self, sink: &S, mut part: PartPlan) -> Result<()> {
        // It grew by doubling and may wait for long.
        part.entries.shrink_to_fit();
        let per_request = self.options.parts_per_request.max(1);
        // A directory is all in the directory of the archive: for it alone no part of a selection need be fetched.
        let everything = self.selection.is_everything();
        let needed = |entry: &Entry| {
            self.selection.destination(entry).is_some() && (everything || entry.entry_type != EntryType::Directory)
        };
        if !part.entries.iter().any(|placed| needed(&placed.entry)) {
            return Ok(());
        }
        if sink.has(part.index) {
            let PartPlan { index, entries } = &part;
            sink.skip(&VerifiedPart { index: *index, bytes: &[], entries, pieces: &[], selection: self.selection })?;
            let range = self.archive.index.part_range(*index);
            self.events.emit(Event::Skipped { part: *index, bytes: range.end - range.start });
            self.requested.skipped += 1;
            return Ok(());
        }
        let next = part.index + 1;
        if self.request.last().is_some_and(|last| last.index + 1 != part.index) {
            self.request_complete()?;
        }
        self.request.push(part);
        // What follows belongs to another request.
        if next.is_multiple_of(per_request) {
            self.request_complete()?;
        }
        Ok(())
    }

    /// Puts the parts collected to those that may be asked for.
    fn request_complete(&mut self) -> Result<()> {
        let parts = std::mem::take(&mut self.request);
        if !parts.is_empty() {
            self.mix.push(entries_of(&parts) as u64, parts);
        }
        while self.mix.is_full() || self.shared.permits.any_left() {
            let Some(parts) = self.mix.take() else { break };
            self.issue(parts)?;
        }
        Ok(())
    }

    fn issue(&mut self, parts: Vec<PartPlan>) -> Result<()> {
        let (Some(first), Some(last)) = (parts.first(), parts.last()) else { return Ok(()) };
        let range = self.archive.index.part_range(first.index).start..self.archive.index.part_range(last.index).end;
        let entries = entries_of(&parts);
        let permit = loop {
            let permit = self.shared.permits.take(1 + entries / ENTRIES_PER_PERMIT, TICK);
            // Also what came while this waited: nothing more is asked for then.
            go_on(self.stop, self.shared)?;
            if let Some(permit) = permit {
                break permit;
            }
            self.check_stall()?;
        };
        self.requested.parts += parts.len() as u64;
        let bytes = range.end - range.start;
        self.requested.bytes += bytes;
        let sender = self.sender.clone();
        let (first, events) = (first.index, self.events.clone());
        events.emit(Event::Requested { first, parts: parts.len() as u64, bytes });
        let (arrivals, permits) = (self.shared.arrivals.clone(), self.shared.permits.clone());
        arrivals.asked();
        self.archive.source.start(
            range,
            Box::new(move |result| {
                arrivals.answered();
                permits.answered();
                events.emit(Event::Arrived { first, bytes, good: result.is_ok() });
                // The workers are gone only if the run has failed already.
                drop(sender.send(Arrival { at: Instant::now(), parts, result, permit }));
            }),
        );
        Ok(())
    }

    pub fn wait_for_all(&self) -> Result<()> {
        while !self.shared.permits.wait_until_all_free(TICK) {
            check_stop(self.stop)?;
            if self.shared.failed() {
                return Ok(());
            }
            self.check_stall()?;
        }
        Ok(())
    }

    fn check_stall(&self) -> Result<()> {
        let waited = self.shared.arrivals.since();
        // Parts that wait for a slow disk are no stall of the source.
        let writing = !self.sender.is_empty() || self.shared.working.load(Ordering::Relaxed) > 0;
        if writing {
            self.shared.arrivals.now();
        }
        if writing || waited < self.options.stall_timeout {
            return Ok(());
        }
        let message = format!(
            "{}: nothing arrived for {} s with {} requests in flight",
            self.archive.source.name(),
            waited.as_secs(),
            self.shared.permits.taken(),
        );
        Err(Error::new(Kind::Deadline, message))
    }
}

/// An error when told to stop, or when another thread failed, whose error is the one that is reported.
fn go_on(stop: &StopFlag, shared: &Shared) -> Result<()> {
    check_stop(stop)?;
    match shared.failed() {
        true => Err(Error::new(Kind::Failure, "another thread failed")),
        false => Ok(()),
    }
}

fn entries_of(parts: &[PartPlan]) -> usize {
    parts.iter().map(|part| part.entries.len()).sum()
}
