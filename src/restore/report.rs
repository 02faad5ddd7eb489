//! What a run did.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What the pipeline fetched.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fetched {
    pub parts: u64,
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
}

/// What a restore did.
#[derive(Debug, Clone, Default)]
pub struct Report {
    pub fetched: Fetched,
    /// The target was complete before: nothing was done.
    pub was_complete: bool,
    /// An unfinished restore was continued.
    pub continued: bool,
    pub files: u64,
    pub directories: u64,
    pub symlinks: u64,
    pub hard_links: u64,
    /// FIFOs and devices.
    pub nodes: u64,
    /// Content bytes of regular files, holes included.
    pub content_bytes: u64,
    /// Frames that went to the disk as they are, and their bytes.
    pub encoded_frames: u64,
    pub encoded_bytes: u64,
    /// Frames that had to be decompressed.
    pub decoded_frames: u64,
    /// Frames that the kernel refused although they should have fitted.
    pub refused_frames: u64,
    /// Sum over the workers of the time they waited because another was writing the same file.
    pub waited_for_files: Duration,
    /// Why no encoded writes were used, if so.
    pub not_encoded: Option<String>,
    /// What could not be restored exactly because of missing privileges, one line per kind.
    pub notices: Vec<String>,
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
