//! The part pipeline: plans parts out of the directory, keeps many requests in flight, and has workers verify each
//! part as it arrives and hand it to a sink.
//!
//! Threads: the caller's thread reads the directory and issues requests; a request in flight holds a permit until
//! its buffer is dropped, so that permits bound memory; `workers` threads take parts in the order they arrive.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};

use super::fetch_directory::Archive;
use super::report::{Fetched, add};
use super::selection::Selection;
use super::{StopFlag, check_stop};
use crate::error::{Error, Kind, Result};
use crate::format::Entry;
use crate::format::directory_reader::PlacedEntry;
use crate::format::entry::{EMPTY_TREE, EntryType};
use crate::format::hard_links::HardLinks;
use crate::format::limits::GRID;
use crate::format::namespace::NamespaceChecker;
use crate::format::part_reader::Piece;
use crate::observe::{Event, Events};
use crate::store::Bytes;

/// How often waiting threads look whether they should stop.
const TICK: Duration = Duration::from_millis(200);

#[derive(Debug, Clone)]
pub struct PipelineOptions {
    /// Threads that verify and write.
    pub workers: usize,
    /// Requests in flight, including parts that wait for a worker.
    pub in_flight: usize,
    /// Parts of one request: 2^k, so that a request is one aligned range of 8 MiB * 2^k.
    pub parts_per_request: u64,
    /// Longest time without any arrival while requests are in flight.
    pub stall_timeout: Duration,
}

impl Default for PipelineOptions {
    fn default() -> Self {
        let workers = std::thread::available_parallelism().map_or(2, |n| n.get());
        PipelineOptions { workers, in_flight: 16, parts_per_request: 1, stall_timeout: Duration::from_secs(60) }
    }
}

/// A part whose checksum and structure were found right, and what it holds.
pub struct VerifiedPart<'a> {
    pub index: u64,
    pub bytes: &'a [u8],
    /// The entries with at least one byte in this part, in order.
    pub entries: &'a [PlacedEntry],
    /// Their content, in order.
    pub pieces: &'a [Piece],
    selection: &'a Selection,
}

impl VerifiedPart<'_> {
    /// Where an entry goes, or None if it is not wanted.
    pub fn destination<'a>(&'a self, entry: &'a Entry) -> Option<&'a [u8]> {
        self.selection.destination(entry)
    }

    /// The entries, each with its pieces in this part.
    pub fn contents(&self) -> impl Iterator<Item = (&PlacedEntry, &[Piece])> {
        let mut pieces = self.pieces;
        self.entries.iter().enumerate().map(move |(i, placed)| {
            let count = pieces.iter().take_while(|piece| piece.entry == i).count();
            let (mine, rest) = pieces.split_at(count);
            pieces = rest;
            (placed, mine)
        })
    }

    /// Whether an entry lies completely in this part.
    pub fn holds_all_of(&self, placed: &PlacedEntry) -> bool {
        let start = self.index * GRID;
        placed.entry.header_offset >= start && placed.end <= start + GRID
    }
}

/// What puts verified entries in place.
pub trait Sink: Sync {
    /// State of one worker thread.
    type Worker<'w>
    where
        Self: 'w;

    fn worker(&self) -> Result<Self::Worker<'_>>;

    /// Called once for every wanted entry, in the order of the directory, before any part with a byte of it:
    /// directories first, parents before children. `link_target` is where the target of a hard link goes.
    fn entry(&self, entry: &Entry, destination: &[u8], link_target: Option<&[u8]>) -> Result<()>;

    /// Called once when every entry has been announced and it is known how many parts are needed; parts may still come.
    fn announced(&self, _parts: u64) -> Result<()> {
        Ok(())
    }

    /// Whether an earlier run has put this part in place: then it is not fetched.
    fn has(&self, _part: u64) -> bool {
        false
    }

    /// Called once for every such part with a wanted entry; it comes without bytes and pieces.
    fn skip(&self, _part: &VerifiedPart<'_>) -> Result<()> {
        Ok(())
    }

    /// Called once for every part with a wanted entry, in any order, from any worker.
    fn part(&self, worker: &mut Self::Worker<'_>, part: &VerifiedPart<'_>) -> Result<()>;
}

/// One part to come: its number and the entries in it.
struct PartPlan {
    index: u64,
    entries: Vec<PlacedEntry>,
}

/// One request's result, for the workers.
struct Arrival {
    at: Instant,
    parts: Vec<PartPlan>,
    result: Result<Bytes>,
    permit: Permit,
}

/// Fetches, verifies and hands over everything that is selected.
pub fn run<S: Sink>(
    archive: &Archive,
    selection: &Selection,
    sink: &S,
    options: &PipelineOptions,
    events: &Events,
    stop: &StopFlag,
) -> Result<Fetched> {
    let shared = Shared::new(options.in_flight.max(1));
    let (sender, receiver) = unbounded();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for n in 0..options.workers.max(1) {
            let (shared, receiver) = (&shared, receiver.clone());
            std::thread::Builder::new()
                .name(format!("burst-worker-{n}"))
                .spawn_scoped(scope, move || {
                    let outcome = work(archive, selection, sink, shared, &receiver, events, begun);
                    if let Err(error) = outcome {
                        shared.fail(error);
                    }
                })
                .map_err(|e| Error::io("start a worker thread", e))?;
        }
        drop(receiver);
        let mut planner = Planner {
            archive,
            selection,
            options,
            events,
            stop,
            shared: &shared,
            sender,
            names: NamespaceChecker::for_archive(&archive.index.trailer),
            hard_links: HardLinks::new(),
            part: None,
            request: Vec::new(),
            requested: Fetched::default(),
            begun,
        };
        let planned = planner.plan(sink).and_then(|()| planner.wait_for_all());
        let requested = planner.requested;
        if let Err(error) = planned {
            shared.fail(error);
        }
        drop(planner);
        Ok::<_, Error>(requested)
    })
    .and_then(|requested| match shared.take_failure() {
        Some(error) => Err(error),
        None => Ok(Fetched {
            first_part: Duration::from_nanos(shared.first_part.load(Ordering::Relaxed)),
            workers_idle: Duration::from_nanos(shared.idle.load(Ordering::Relaxed)),
            parts_waited: Duration::from_nanos(shared.waited.load(Ordering::Relaxed)),
            workers_time: Duration::from_nanos(shared.workers_time.load(Ordering::Relaxed)),
            workers_cpu: Duration::from_nanos(shared.workers_cpu.load(Ordering::Relaxed)),
            workers_queued: Duration::from_nanos(shared.workers_queued.load(Ordering::Relaxed)),
            ..requested
        }),
    })
}

fn work<S: Sink>(
    archive: &Archive,
    selection: &Selection,
    sink: &S,
    shared: &Shared,
    receiver: &Receiver<Arrival>,
    events: &Events,
    begun: Instant,
) -> Result<()> {
    let started = Instant::now();
    let mut worker = sink.worker()?;
    loop {
        let idle_since = Instant::now();
        let Some(Arrival { at, parts, result, permit }) = next_arrival(receiver, shared) else {
            add(&shared.idle, idle_since.elapsed().as_nanos() as u64);
            shared.worker_ends(started);
            return Ok(());
        };
        add(&shared.idle, idle_since.elapsed().as_nanos() as u64);
        add(&shared.waited, idle_since.max(at).elapsed().as_nanos() as u64);
        let _working = Working::begin(&shared.working);
        let buffer = result?;
        let bytes = (*buffer).as_ref();
        let first = parts.first().map(|part| part.index).unwrap_or_default();
        events.emit(Event::Taken { first });
        let mut offset = 0;
        for PartPlan { index, entries } in parts {
            let range = archive.index.part_range(index);
            let length = (range.end - range.start) as usize;
            let bytes = bytes.get(offset..offset + length).unwrap_or_default();
            offset += length;
            let pieces = archive.index.read_part(index, bytes, &entries).map_err(|e| {
                let at = format!("{}: part {index} (bytes {}-{})", archive.source.name(), range.start, range.end - 1);
                Error::from(e).context(at)
            })?;
            sink.part(&mut worker, &VerifiedPart { index, bytes, entries: &entries, pieces: &pieces, selection })?;
            shared
                .first_part
                .compare_exchange(0, begun.elapsed().as_nanos() as u64, Ordering::Relaxed, Ordering::Relaxed)
                .ok();
            events.emit(Event::PartDone { part: index, bytes: length as u64 });
        }
        // The buffer goes back before the permit, which stands for its memory.
        drop(buffer);
        drop(permit);
        events.emit(Event::RequestDone { first });
    }
}

/// The next arrival; None when there will be none, or when the run has failed. Requests that never come back
/// must not keep a failed run from ending.
fn next_arrival(receiver: &Receiver<Arrival>, shared: &Shared) -> Option<Arrival> {
    loop {
        match receiver.recv_timeout(TICK) {
            Ok(_) if shared.failed() => return None,
            Ok(arrival) => return Some(arrival),
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) if shared.failed() => return None,
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// Counts a thread as working while it exists.
struct Working<'a>(&'a AtomicU64);

impl<'a> Working<'a> {
    fn begin(counter: &'a AtomicU64) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Working(counter)
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The thread that reads the directory.
struct Planner<'a> {
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
    requested: Fetched,
    begun: Instant,
}

impl Planner<'_> {
    fn plan<S: Sink>(&mut self, sink: &S) -> Result<()> {
        let archive = self.archive;
        archive.for_each_entry(|placed| {
            self.announce(sink, &placed.entry)?;
            self.place(sink, placed)
        })?;
        self.requested.directory = self.begun.elapsed();
        self.events.emit(Event::DirectoryRead);
        if let Some(part) = self.part.take() {
            self.part_complete(sink, part)?;
        }
        self.issue()?;
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
        let next = self.request.last().map(|last| last.index + 1);
        if next.is_some_and(|next| next != part.index || next.is_multiple_of(per_request)) {
            self.issue()?;
        }
        self.request.push(part);
        Ok(())
    }

    fn issue(&mut self) -> Result<()> {
        let parts = std::mem::take(&mut self.request);
        let (Some(first), Some(last)) = (parts.first(), parts.last()) else { return Ok(()) };
        let range = self.archive.index.part_range(first.index).start..self.archive.index.part_range(last.index).end;
        let entries: usize = parts.iter().map(|part| part.entries.len()).sum();
        let permit = loop {
            check_stop(self.stop)?;
            if self.shared.failed() {
                return Err(Error::new(Kind::Failure, "another thread failed"));
            }
            if let Some(permit) = self.shared.permits.take(1 + entries / ENTRIES_PER_PERMIT, TICK) {
                break permit;
            }
            self.check_stall()?;
        };
        self.requested.parts += parts.len() as u64;
        let bytes = range.end - range.start;
        self.requested.bytes += bytes;
        let sender = self.sender.clone();
        let shared = self.shared.arrivals.clone();
        let events = self.events.clone();
        let first = first.index;
        events.emit(Event::Requested { first, parts: parts.len() as u64, bytes });
        self.archive.source.start(
            range,
            Box::new(move |result| {
                shared.now();
                events.emit(Event::Arrived { first, bytes, good: result.is_ok() });
                // The workers are gone only if the run has failed already.
                drop(sender.send(Arrival { at: Instant::now(), parts, result, permit }));
            }),
        );
        Ok(())
    }

    fn wait_for_all(&self) -> Result<()> {
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

/// When the last request was answered.
#[derive(Debug)]
struct Arrivals(Mutex<Instant>);

impl Arrivals {
    fn now(&self) {
        *self.0.lock().unwrap_or_else(|e| e.into_inner()) = Instant::now();
    }

    fn since(&self) -> Duration {
        self.0.lock().unwrap_or_else(|e| e.into_inner()).elapsed()
    }
}

struct Shared {
    permits: Arc<Permits>,
    failure: Mutex<Option<Error>>,
    arrivals: Arc<Arrivals>,
    first_part: AtomicU64,
    idle: AtomicU64,
    waited: AtomicU64,
    working: AtomicU64,
    workers_time: AtomicU64,
    workers_cpu: AtomicU64,
    workers_queued: AtomicU64,
}

impl Shared {
    fn new(permits: usize) -> Self {
        Shared {
            permits: Arc::new(Permits { total: permits, free: Mutex::new(permits), changed: Condvar::new() }),
            failure: Mutex::new(None),
            arrivals: Arc::new(Arrivals(Mutex::new(Instant::now()))),
            first_part: AtomicU64::new(0),
            idle: AtomicU64::new(0),
            waited: AtomicU64::new(0),
            working: AtomicU64::new(0),
            workers_time: AtomicU64::new(0),
            workers_cpu: AtomicU64::new(0),
            workers_queued: AtomicU64::new(0),
        }
    }

    /// Adds up the times of the calling thread.
    fn worker_ends(&self, started: Instant) {
        let (cpu, queued) = crate::linux::thread_times();
        add(&self.workers_time, started.elapsed().as_nanos() as u64);
        add(&self.workers_cpu, cpu.as_nanos() as u64);
        add(&self.workers_queued, queued.as_nanos() as u64);
    }

    /// The first failure is the one that is reported.
    fn fail(&self, error: Error) {
        self.failure.lock().unwrap_or_else(|e| e.into_inner()).get_or_insert(error);
    }

    fn failed(&self) -> bool {
        self.failure.lock().unwrap_or_else(|e| e.into_inner()).is_some()
    }

    fn take_failure(&self) -> Option<Error> {
        self.failure.lock().unwrap_or_else(|e| e.into_inner()).take()
    }
}

/// Bounds what is in flight.
struct Permits {
    total: usize,
    free: Mutex<usize>,
    changed: Condvar,
}

/// The right to hold one request's buffer and its list of entries; weighs as many permits as it says.
struct Permit(Arc<Permits>, usize);

/// Entries that are planned for weigh a permit (a buffer of 8 MiB) for so many: a part of tiny files has so many that
/// they would take more memory than the parts.
const ENTRIES_PER_PERMIT: usize = 8192;

impl Permits {
    /// Waits for `weight` permits, or for all if there are fewer.
    fn take(self: &Arc<Self>, weight: usize, timeout: Duration) -> Option<Permit> {
        let weight = weight.min(self.total);
        let free = self.free.lock().unwrap_or_else(|e| e.into_inner());
        let (mut free, _) =
            self.changed.wait_timeout_while(free, timeout, |free| *free < weight).unwrap_or_else(|e| e.into_inner());
        *free = free.checked_sub(weight)?;
        Some(Permit(self.clone(), weight))
    }

    fn taken(&self) -> usize {
        self.total - *self.free.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn wait_until_all_free(&self, timeout: Duration) -> bool {
        let free = self.free.lock().unwrap_or_else(|e| e.into_inner());
        let (free, _) = self
            .changed
            .wait_timeout_while(free, timeout, |free| *free < self.total)
            .unwrap_or_else(|e| e.into_inner());
        *free == self.total
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(|e| e.into_inner()) += self.1;
        self.0.changed.notify_all();
    }
}
