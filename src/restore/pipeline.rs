//! The part pipeline: plans parts out of the directory, keeps many requests in flight, and has workers verify each
//! part as it arrives and hand it to a sink.
//!
//! Threads: the caller's thread reads the directory and issues requests, those that give the workers much to do and
//! those that give them little in turn ([`mix`]); a request in flight holds a permit until its buffer is dropped, so that
//! permits bound memory; `workers` threads take parts in the order they arrive.

mod mix;
mod permits;
mod planner;
mod worker;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crossbeam_channel::unbounded;

use self::permits::{Permit, Permits};
use self::planner::Planner;
use super::StopFlag;
use super::fetch_directory::Archive;
use super::report::{Fetched, add};
use super::selection::Selection;
use crate::error::{Error, Result};
use crate::format::Entry;
use crate::format::directory_reader::PlacedEntry;
use crate::format::limits::GRID;
use crate::format::part_reader::Piece;
use crate::observe::Events;
use crate::store::Bytes;

/// How often waiting threads look whether they should stop.
pub(super) const TICK: Duration = Duration::from_millis(200);

/// How many things go on at once. [`Default`]: a worker per CPU, 16 requests of 8 MiB.
#[derive(Debug, Clone)]
pub struct PipelineOptions {
    /// Threads that verify and write.
    pub workers: usize,
    /// Requests in flight, including parts that wait for a worker.
    pub in_flight: usize,
    /// Up to as many are tried, as long as more of them are much faster. No more than `in_flight`: none are tried.
    pub most_in_flight: usize,
    /// Parts of one request: 2^k, so that a request is one aligned range of 8 MiB * 2^k.
    pub parts_per_request: u64,
    /// Longest time without any arrival while requests are in flight.
    pub stall_timeout: Duration,
}

impl Default for PipelineOptions {
    fn default() -> Self {
        let workers = std::thread::available_parallelism().map_or(2, |n| n.get());
        PipelineOptions {
            workers,
            in_flight: 16,
            most_in_flight: 16,
            parts_per_request: 1,
            stall_timeout: Duration::from_secs(60),
        }
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
    let shared = Shared::new(options);
    let (sender, receiver) = unbounded();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for n in 0..options.workers.max(1) {
            let (shared, receiver) = (&shared, receiver.clone());
            std::thread::Builder::new()
                .name(format!("burst-worker-{n}"))
                .spawn_scoped(scope, move || {
                    let outcome = worker::work(archive, selection, sink, shared, &receiver, events, begun);
                    if let Err(error) = outcome {
                        shared.fail(error);
                    }
                })
                .map_err(|e| Error::io("start a worker thread", e))?;
        }
        drop(receiver);
        let mut planner = Planner::new(archive, selection, options, events, stop, &shared, sender);
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

/// Since when nothing has arrived that was waited for.
#[derive(Debug)]
struct Arrivals(Mutex<Waiting>);

#[derive(Debug)]
struct Waiting {
    since: Instant,
    /// Requests that are not answered.
    requests: usize,
}

impl Arrivals {
    fn none_asked() -> Self {
        Arrivals(Mutex::new(Waiting { since: Instant::now(), requests: 0 }))
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// A request is sent. While there was none, nothing could arrive: the directory was read, or parts were skipped.
    fn asked(&self) {
        let mut waiting = self.waiting();
        if waiting.requests == 0 {
            waiting.since = Instant::now();
        }
        waiting.requests += 1;
    }

    fn answered(&self) {
        let mut waiting = self.waiting();
        waiting.since = Instant::now();
        waiting.requests = waiting.requests.saturating_sub(1);
    }

    /// What came is still being dealt with.
    fn now(&self) {
        self.waiting().since = Instant::now();
    }

    fn since(&self) -> Duration {
        self.waiting().since.elapsed()
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
    fn new(options: &PipelineOptions) -> Self {
        Shared {
            permits: Arc::new(Permits::new(options.in_flight.max(1), options.most_in_flight)),
            failure: Mutex::new(None),
            arrivals: Arc::new(Arrivals::none_asked()),
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
