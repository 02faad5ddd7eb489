//! What a run did.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What the pipeline fetched.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Fetched {
    /// Parts that were fetched.
    pub parts: u64,
    /// Their length.
    pub bytes: u64,
    /// Parts that were not fetched because an earlier run had put them in place.
    pub skipped: u64,
    /// Time until the first part had been put in place.
    pub first_part: Duration,
    /// Time until the whole directory had been read.
    pub directory: Duration,
    /// Sum over the workers of the time they had nothing to do.
    pub workers_idle: Duration,
    /// Sum over the requests of the time their result waited while the worker that took it had nothing to do.
    pub parts_waited: Duration,
    /// Sums over the workers: how long they lived, had a CPU, and waited for one.
    pub workers_time: Duration,
    /// How long they had a CPU.
    pub workers_cpu: Duration,
    /// How long they were ready and waited for a CPU.
    pub workers_queued: Duration,
}

/// Where the time of the workers went; sums over them. What is missing to their lifetime they waited for each other.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Spent {
    /// Sum of the workers' lifetimes.
    pub total: Duration,
    /// Nothing to do: waiting for parts of the archive.
    pub waiting_for_data: Duration,
    /// On a CPU.
    pub at_work: Duration,
    /// In a system call without a CPU: the disk, or locks of the file system.
    pub waiting_for_disk: Duration,
    /// Ready to run.
    pub waiting_for_cpu: Duration,
}

/// What a restore did.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Report {
    /// By range; all 0 for a restore from a stream.
    pub fetched: Fetched,
    /// The target was complete before: nothing was done.
    pub was_complete: bool,
    /// An unfinished restore was continued.
    pub continued: bool,
    /// Regular files.
    pub files: u64,
    /// Without the target itself.
    pub directories: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Further names of files.
    pub hard_links: u64,
    /// FIFOs and devices.
    pub nodes: u64,
    /// Content bytes of regular files, holes included.
    pub content_bytes: u64,
    /// Frames that went to the disk as they are, and their bytes.
    pub encoded_frames: u64,
    /// Bytes in the archive.
    pub encoded_bytes: u64,
    /// Frames that had to be decompressed.
    pub decoded_frames: u64,
    /// Frames that the kernel refused although they should have fitted.
    pub refused_frames: u64,
    /// Sum over the workers of the time they waited because another was writing the same file.
    pub waited_for_files: Duration,
    /// Time after the last part: links, attributes of directories, the rest of a file system, and that all is on the disk.
    pub finishing: Duration,
    /// Why no encoded writes were used, if so.
    pub not_encoded: Option<String>,
    /// What could not be restored exactly because of missing privileges, one line per kind.
    pub notices: Vec<String>,
}

impl Report {
    /// None if nothing was fetched by workers (a restore from standard input).
    pub fn spent(&self) -> Option<Spent> {
        let f = &self.fetched;
        // A worker that has nothing to do also waits for a CPU now and then, so these overlap a little.
        let mut left = f.workers_time;
        let mut take = |time: Duration| {
            let part = time.min(left);
            left -= part;
            part
        };
        let at_work = take(f.workers_cpu);
        let waiting_for_data = take(f.workers_idle);
        take(self.waited_for_files);
        let waiting_for_cpu = take(f.workers_queued);
        let total = f.workers_time;
        (!total.is_zero()).then_some(Spent {
            total,
            waiting_for_data,
            at_work,
            waiting_for_disk: left,
            waiting_for_cpu,
        })
    }
}

/// [`Report`] while several threads count.
#[derive(Debug, Default)]
pub struct Counters {
    pub files: AtomicU64,
    pub directories: AtomicU64,
    pub symlinks: AtomicU64,
    pub hard_links: AtomicU64,
    pub nodes: AtomicU64,
    pub content_bytes: AtomicU64,
    pub encoded_frames: AtomicU64,
    pub encoded_bytes: AtomicU64,
    pub decoded_frames: AtomicU64,
    pub refused_frames: AtomicU64,
    /// Nanoseconds.
    pub waited_for_files: AtomicU64,
    notices: Mutex<Vec<(String, u64)>>,
}

pub fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

impl Counters {
    /// Counts something that could not be kept; each kind is reported once, with its number.
    pub fn notice(&self, kind: &str) {
        let mut notices = self.notices.lock().unwrap_or_else(|e| e.into_inner());
        match notices.iter_mut().find(|(known, _)| known == kind) {
            Some((_, count)) => *count += 1,
            None => notices.push((kind.to_owned(), 1)),
        }
    }

    pub fn report(&self) -> Report {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let notices = self.notices.lock().unwrap_or_else(|e| e.into_inner());
        Report {
            files: get(&self.files),
            directories: get(&self.directories),
            symlinks: get(&self.symlinks),
            hard_links: get(&self.hard_links),
            nodes: get(&self.nodes),
            content_bytes: get(&self.content_bytes),
            encoded_frames: get(&self.encoded_frames),
            encoded_bytes: get(&self.encoded_bytes),
            decoded_frames: get(&self.decoded_frames),
            refused_frames: get(&self.refused_frames),
            waited_for_files: Duration::from_nanos(get(&self.waited_for_files)),
            notices: notices.iter().map(|(kind, count)| format!("{kind} ({count} times)")).collect(),
            ..Report::default()
        }
    }
}
