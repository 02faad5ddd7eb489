//! Jobs go out in archive order, results come back in that order, and in between all workers are busy.

use std::collections::HashSet;
use std::io::BufReader;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::Scope;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::budget::Budget;
use super::item::{Range, Read, Ready, Worker};
use super::large::{self, Run};
use super::read_ahead;
use super::record::{Record, Source};
use super::source_file::SourceFile;
use super::still_tree::{self, Small};
use super::walk::{Walked, list_of_files};
use super::{HardLinks, SnapshotOptions};
use crate::btrfs::DeviceFiles;
use crate::error::{Error, Kind, Result};
use crate::format::archive_writer::NewEntry;
use crate::format::limits::FINISHED_IN_MEMORY_MAX;
use crate::observe::Change;

/// Small files are handed out together until they hold this many bytes or are this many.
const BATCH_BYTES: u64 = 1 << 20;
const BATCH_ENTRIES: usize = 256;

/// Bytes on their way, beside a file of 16 MiB per worker: little, so that it is full, and memory at its peak, early.
const BUDGET: u64 = 16 << 20;

/// Memory of an entry without its content, about.
const ENTRY_COST: u64 = 1024;

/// What the writer gets, in archive order.
#[derive(Debug)]
pub enum Outcome {
    Entry(Box<Ready>),
    /// Another name of an inode that came before.
    Link(Record),
    /// Became too large to be finished in memory after the walk.
    Grown(Record),
    /// With its name in the archive if it was a directory: nothing can be below it.
    Missing(PathBuf, Change, Option<Vec<u8>>),
    LargeBegin {
        entry: NewEntry,
        file: Arc<SourceFile>,
    },
    LargeRange(Range),
    LargeEnd,
}

enum Item {
    Read(Record),
    Link(Record),
}

impl Item {
    fn to_read(&self) -> Option<&Record> {
        match self {
            Item::Read(record) => Some(record),
            Item::Link(_) => None,
        }
    }
}

enum Work {
    Batch(Vec<Item>),
    Range(Arc<SourceFile>, Vec<Run>),
}

type Answer = Result<Vec<Outcome>>;
type Job = (Work, Sender<Answer>);
/// What the job costs of the budget, and where its result will be.
type Place = (u64, Receiver<Answer>);

/// Reads and compresses everything that was walked, and gives it to `put` in order.
pub fn run(
    options: &SnapshotOptions,
    sources: &[Source],
    walked: &Walked,
    put: &mut dyn FnMut(Outcome) -> Result<()>,
) -> Result<()> {
    let workers = options.workers.max(1);
    let budget = Budget::new(BUDGET + FINISHED_IN_MEMORY_MAX * workers as u64);
    let (places, ordered) = bounded::<Place>(64 + 16 * workers);
    let (jobs, queue) = bounded::<Job>(64 + 16 * workers);
    let budget = &budget;
    let devices = DeviceFiles::default();
    std::thread::scope(|scope| {
        // Whatever ends this closure also ends the threads: they find their channels and the budget closed.
        let _close = Close(budget);
        let ordered = ordered;
        for _ in 0..workers {
            let queue = queue.clone();
            let mut worker = Worker::new(sources, options, &devices)?;
            spawn(scope, "compress", move || work(&mut worker, queue, budget))?;
        }
        drop(queue);
        let worker = Worker::new(sources, options, &devices)?;
        let producer =
            Producer { worker, jobs, places, budget, seen: HashSet::new(), batch: Vec::new(), batch_bytes: 0 };
        spawn(scope, "produce", move || producer.run(walked))?;
        for (cost, result) in &ordered {
            let outcomes =
                result.recv().map_err(|_| Error::new(Kind::Failure, "a worker thread ended (a fault of burst)"))??;
            for outcome in outcomes {
                put(outcome)?;
            }
            budget.give_back(cost);
        }
        Ok(())
    })
}

fn spawn<'scope>(scope: &'scope Scope<'scope, '_>, name: &str, work: impl FnOnce() + Send + 'scope) -> Result<()> {
    let thread = std::thread::Builder::new().name(name.into());
    thread.spawn_scoped(scope, work).map(drop).map_err(|e| Error::io("start a thread", e))
}

struct Close<'a>(&'a Budget);

impl Drop for Close<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

fn work(worker: &mut Worker<'_>, queue: Receiver<Job>, budget: &Budget) {
    for (work, answer) in queue {
        // What is still queued after an error or a signal is not worth the time.
        if budget.is_closed() {
            break;
        }
        let result = match work {
            Work::Batch(items) => worker.batch(items),
            Work::Range(file, runs) => worker.range(&file, &runs).map(|range| vec![Outcome::LargeRange(range)]),
        };
        // The writer may have given up.
        let _ = answer.send(result);
    }
}

impl Worker<'_> {
    fn batch(&mut self, items: Vec<Item>) -> Answer {
        let records: Vec<_> = items.iter().map(Item::to_read).collect();
        let small = self.read_batch(&records);
        // The producer left to the batch what it could not read after all.
        let missed = records.iter().zip(&small).filter(|(_, small)| small.is_none()).filter_map(|(record, _)| *record);
        let missed = missed.filter(|record| still_tree::can_read(record, self.sources));
        read_ahead::files(&mut self.stored, missed, self.sources);
        items.into_iter().zip(small).map(|(item, small)| self.outcome(item, small)).collect()
    }

    fn outcome(&mut self, item: Item, small: Option<Small>) -> Result<Outcome> {
        let record = match item {
            Item::Link(record) => return Ok(Outcome::Link(record)),
            Item::Read(record) => record,
        };
        if let Some(small) = small
            && let Some(ready) = self.read_small(&record, &small)?
        {
            return Ok(Outcome::Entry(ready));
        }
        Ok(match self.read(&record)? {
            Read::Ready(ready) => Outcome::Entry(ready),
            Read::Large(_) => Outcome::Grown(record),
            Read::Missing(path, missing) => {
                let directory = record.stat.is_directory().then(|| record.name(self.sources));
                Outcome::Missing(path, missing, directory)
            }
        })
    }
}

/// The writer has given up; its error is the one to report.
fn stopped() -> Error {
    Error::new(Kind::Failure, "stopped")
}

struct Producer<'a> {
    /// For names and attributes of large files; compresses nothing.
    worker: Worker<'a>,
    jobs: Sender<Job>,
    places: Sender<Place>,
    budget: &'a Budget,
    /// Inodes with several names of which one is on its way.
    seen: HashSet<(u64, u64)>,
    batch: Vec<Item>,
    batch_bytes: u64,
}

impl Producer<'_> {
    fn run(mut self, walked: &Walked) {
        if let Err(error) = self.all(walked) {
            let (send, receive) = bounded(1);
            // Nobody listens any more if the writer ended first.
            let _ = send.send(Err(error));
            let _ = self.places.send((0, receive));
        }
    }

    fn all(&mut self, walked: &Walked) -> Result<()> {
        for spool in [&walked.directories, &walked.others] {
            let mut reader = BufReader::with_capacity(1 << 16, spool.reader());
            let read = |e| Error::io(format!("read {}", list_of_files(spool)), e);
            while let Some(record) = Record::read(&mut reader).map_err(read)? {
                self.record(record)?;
            }
        }
        self.flush()
    }

    fn record(&mut self, record: Record) -> Result<()> {
        let stat = &record.stat;
        let is_link = self.worker.hard_links == HardLinks::Keep
            && !stat.is_directory()
            && stat.nlink > 1
            && !self.seen.insert(stat.inode());
        if is_link {
            return self.add(Item::Link(record), 0);
        }
        if !stat.is_regular() || stat.size <= FINISHED_IN_MEMORY_MAX {
            let bytes = if stat.is_regular() { stat.size } else { 0 };
            return self.add(Item::Read(record), bytes);
        }
        let sources = self.worker.sources;
        match SourceFile::open(&record.location(sources), record.shown(sources))? {
            Ok(file) if file.stat.size > FINISHED_IN_MEMORY_MAX => self.large(&record, file),
            // It shrank or is gone: the worker looks again.
            _ => self.add(Item::Read(record), FINISHED_IN_MEMORY_MAX),
        }
    }

    fn add(&mut self, item: Item, bytes: u64) -> Result<()> {
        if self.batch_bytes + bytes > BATCH_BYTES && !self.batch.is_empty() {
            self.flush()?;
        }
        self.batch.push(item);
        self.batch_bytes += bytes;
        if self.batch.len() >= BATCH_ENTRIES || self.batch_bytes >= BATCH_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        let batch = std::mem::take(&mut self.batch);
        let cost = std::mem::take(&mut self.batch_bytes) + batch.len() as u64 * ENTRY_COST;
        if batch.is_empty() {
            return Ok(());
        }
        let sources = self.worker.sources;
        let records = batch.iter().filter_map(Item::to_read).filter(|record| !still_tree::can_read(record, sources));
        read_ahead::files(&mut self.worker.stored, records, sources);
        self.send(cost, Work::Batch(batch))
    }

    fn large(&mut self, record: &Record, file: SourceFile) -> Result<()> {
        self.flush()?;
        let begin = large_begin(&self.worker, record, file)?;
        let Outcome::LargeBegin { file, .. } = &begin else { return Ok(()) };
        let file = file.clone();
        self.answer(begin)?;
        large::jobs(&file, |runs| {
            read_ahead::runs(&mut self.worker.stored, &file, &runs);
            let data: u64 = runs.iter().filter(|run| !run.is_hole).map(|run| run.range.end - run.range.start).sum();
            self.send(data + 64 * ENTRY_COST, Work::Range(file.clone(), runs))
        })?;
        self.answer(Outcome::LargeEnd)
    }

    fn send(&self, cost: u64, work: Work) -> Result<()> {
        let (answer, result) = bounded(1);
        if !self.budget.take(cost) {
            return Err(stopped());
        }
        self.places.send((cost, result)).map_err(|_| stopped())?;
        self.jobs.send((work, answer)).map_err(|_| stopped())
    }

    /// An outcome that needs no work.
    fn answer(&self, outcome: Outcome) -> Result<()> {
        let (answer, result) = bounded(1);
        answer.send(Ok(vec![outcome])).map_err(|_| stopped())?;
        self.places.send((0, result)).map_err(|_| stopped())
    }
}

/// The beginning of a file that is not finished in memory.
pub fn large_begin(worker: &Worker<'_>, record: &Record, file: SourceFile) -> Result<Outcome> {
    let entry = worker.entry(record, crate::format::EntryType::Regular, file.attributes()?, &file.stat);
    Ok(Outcome::LargeBegin { entry, file: Arc::new(file) })
}
