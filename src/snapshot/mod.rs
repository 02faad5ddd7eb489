//! `burst snapshot` as a library: a walk, parallel compression in order, one archive to an unseekable sink.
//!
//! ```text
//! walk -> spools of records -> producer -> jobs -> workers -> outcomes in order -> archive writer -> sink
//! ```
//! One thread walks and later writes, one turns records into jobs, the others read and compress. Memory is bounded by
//! a budget of bytes between producer and writer; bytes do not depend on the number of workers.

mod area;
mod budget;
mod compress;
mod freeze;
mod item;
mod large;
mod pipeline;
mod preset;
mod read_ahead;
mod record;
mod selection;
mod source_file;
mod sources;
mod still;
mod still_tree;
mod stored;
mod walk;
mod write;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Error, Kind, Result};
use crate::format::Attributes;
use crate::format::archive_writer::WriterOptions;
pub use crate::observe::{Change, Skip};
use crate::observe::{Event, Events};
use crate::store::{ArchiveSink, MAX_UPLOAD_PARTS, upload_part_size};
pub use compress::measure_level;
pub use freeze::{Freeze, FrozenPlace};
pub use preset::{HOST, Preset};
use selection::Selection;
use still::Still;
pub use still::{Consistent, Stillness};
use walk::Totals;

/// Default of [`SnapshotOptions::level`].
pub const DEFAULT_LEVEL: i32 = 3;

/// What becomes of names that share an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HardLinks {
    /// The first name has the data, the others are hard links to it.
    #[default]
    Keep,
    /// Each name gets its own copy.
    Copy,
}

/// How a snapshot is made. The archive's bytes depend on the sources (with `recompress` off also on how a BTRFS stores
/// them), `archive_id`, `level`, `recompress`, `hard_links`, what is selected, and `part_size` only.
#[derive(Debug, Clone)]
pub struct SnapshotOptions {
    /// zstd level, -15 to 15.
    pub level: i32,
    /// Compress everything, also what a BTRFS holds in frames that could be taken as they are.
    pub recompress: bool,
    /// Threads that read and compress; at least 1.
    pub workers: usize,
    /// S3 upload part size in bytes (8 MiB times a power of two); None finds the smallest that suffices.
    pub part_size: Option<u64>,
    /// Random unless bytes must be reproducible: see [`random_id`].
    pub archive_id: [u8; 16],
    /// What becomes of names that share an inode.
    pub hard_links: HardLinks,
    /// Whether subvolume snapshots are archived in place of what is in use.
    pub consistent: Consistent,
    /// Freeze the file systems that no subvolume snapshot can be made of (not with [`Consistent::Off`]).
    pub freeze: Option<Freeze>,
    /// Patterns that come before those of `exclude`.
    pub preset: Option<Preset>,
    /// Patterns as in a .gitignore file, on the path relative to the source; the last one that matches counts.
    pub exclude: Vec<String>,
    /// What matches these goes in, with all below it, whatever is excluded.
    pub include: Vec<String>,
    /// Only these paths, relative to the one source, with all below them.
    pub files_from: Option<Vec<PathBuf>>,
    /// Keep the paths of the sources, and the directories above them.
    pub relative: bool,
    /// Do not go down into other file systems (also BTRFS subvolumes): they become empty directories.
    pub one_file_system: bool,
    /// Device and inode of the archive itself, which may lie within the source.
    pub archive_inode: Option<(u64, u64)>,
    /// The number of a signal makes the snapshot stop with [`Kind::Interrupted`].
    pub interrupt: Arc<AtomicUsize>,
}

impl Default for SnapshotOptions {
    fn default() -> Self {
        SnapshotOptions {
            level: DEFAULT_LEVEL,
            recompress: false,
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            part_size: None,
            archive_id: [0; 16],
            hard_links: HardLinks::Keep,
            consistent: Consistent::Auto,
            freeze: None,
            preset: None,
            exclude: Vec::new(),
            include: Vec::new(),
            files_from: None,
            relative: false,
            one_file_system: true,
            archive_inode: None,
            interrupt: Arc::default(),
        }
    }
}

/// How often each happened. A directory with all below it counts as one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Skipped {
    /// [`Skip::Excluded`]
    pub excluded: u64,
    /// [`Skip::OtherFileSystem`]
    pub other_file_systems: u64,
    /// [`Skip::Socket`]
    pub sockets: u64,
    /// [`Skip::Refused`]
    pub refused: u64,
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Regular files.
    pub files: u64,
    /// Without the one whose contents the archive holds.
    pub directories: u64,
    /// Further names of files that are in the archive already.
    pub hard_links: u64,
    /// Symbolic links, devices, FIFOs.
    pub others: u64,
    /// Sum of the sizes of the regular files.
    pub content_bytes: u64,
    /// Those of them in frames that were taken as they are stored.
    pub verbatim_bytes: u64,
    /// Length of the archive; 0 for a survey.
    pub archive_bytes: u64,
    /// Of the options; zeros for a survey.
    pub archive_id: [u8; 16],
    /// With which the sink was made, in bytes.
    pub part_size: u64,
    /// What was left out on purpose.
    pub skipped: Skipped,
    /// Paths that changed or vanished while they were read. The archive is good; it may not show one moment.
    pub changed: u64,
    /// How far the archive shows one moment.
    pub stillness: Stillness,
}

/// Passes events on and counts what the report needs.
struct Tally<'a> {
    events: &'a Events,
    interrupt: &'a AtomicUsize,
    skipped: Skipped,
    changed: u64,
}

impl<'a> Tally<'a> {
    fn new(options: &'a SnapshotOptions, events: &'a Events) -> Tally<'a> {
        Tally { events, interrupt: &options.interrupt, skipped: Skipped::default(), changed: 0 }
    }

    fn send(&mut self, event: Event<'_>) {
        match event {
            Event::LeftOut { why, .. } => {
                *match why {
                    Skip::Excluded => &mut self.skipped.excluded,
                    Skip::OtherFileSystem => &mut self.skipped.other_file_systems,
                    Skip::Socket => &mut self.skipped.sockets,
                    Skip::Refused(_) => &mut self.skipped.refused,
                } += 1;
            }
            Event::Changed { .. } => self.changed += 1,
            _ => {}
        }
        self.events.emit(event);
    }

    fn check_interrupt(&self) -> Result<()> {
        match self.interrupt.load(Ordering::Relaxed) {
            0 => Ok(()),
            signal => Err(Error::new(Kind::Interrupted(signal as i32), "interrupted: nothing was archived")),
        }
    }
}

/// Archives `paths` into the sink that `make_sink` makes once the upload part size is known (after the walk, before
/// anything is read). On an error the sink is dropped unfinished, which leaves nothing behind.
pub fn run(
    options: &SnapshotOptions,
    paths: &[PathBuf],
    make_sink: impl FnOnce(u64) -> Result<Box<dyn ArchiveSink>>,
    events: &Events,
) -> Result<Report> {
    if let Some(size) = options.part_size {
        check_part_size(size)?;
    }
    let mut tally = Tally::new(options, events);
    let mut still = Still::new(options.consistent, options.freeze.clone());
    let result = archive(options, paths, make_sink, &mut still, &mut tally);
    // Whatever came of it; what cannot be deleted now does not make a good archive bad.
    let (stillness, released) = still.release();
    if let Err(error) = released {
        tally.send(Event::NotReleased { why: &error.to_string() });
    }
    Ok(Report { skipped: tally.skipped, changed: tally.changed, stillness, ..result? })
}

fn archive(
    options: &SnapshotOptions,
    paths: &[PathBuf],
    make_sink: impl FnOnce(u64) -> Result<Box<dyn ArchiveSink>>,
    still: &mut Still,
    tally: &mut Tally<'_>,
) -> Result<Report> {
    let (walked, root) = find(options, paths, still, tally)?;
    let part_size = choose_part_size(options.part_size, &walked.totals)?;
    let writer_options = WriterOptions { archive_id: options.archive_id, root, upload_part_size: part_size };
    let sink = make_sink(part_size)?;
    let mut writer = write::Writer::new(writer_options, sink, &walked.sources, options)?;
    pipeline::run(options, &walked.sources, &walked, &mut |outcome| writer.put(outcome, tally))?;
    // All is read: the end of an upload may take a while.
    still.thaw()?;
    tally.send(Event::Finishing);
    let report = writer.finish(tally)?;
    Ok(Report { archive_id: options.archive_id, part_size, ..report })
}

/// What [`run`] would archive; nothing is read but directories, nothing is written, and no subvolume snapshot made.
pub fn survey(options: &SnapshotOptions, paths: &[PathBuf], events: &Events) -> Result<Report> {
    let mut tally = Tally::new(options, events);
    let (walked, _) = find(options, paths, &mut Still::new(Consistent::Off, None), &mut tally)?;
    let report = walked.count(options.hard_links)?;
    Ok(Report { skipped: tally.skipped, changed: tally.changed, ..report })
}

fn find(
    options: &SnapshotOptions,
    paths: &[PathBuf],
    still: &mut Still,
    tally: &mut Tally<'_>,
) -> Result<(walk::Walked, Option<Attributes>)> {
    let selection = Selection::new(options)?;
    let sources = sources::place(paths, options.relative, still)?;
    if options.files_from.is_some() && sources.root.is_none() {
        return Err(Error::new(Kind::Usage, "--files-from goes with one SOURCE, a directory"));
    }
    let walked = walk::walk(sources.all, &selection, still, tally)?;
    tally.send(Event::Walked { entries: walked.totals.entries, bytes: walked.totals.bytes });
    Ok((walked, sources.root))
}

/// 16 random bytes for [`SnapshotOptions::archive_id`].
pub fn random_id() -> Result<[u8; 16]> {
    use std::io::Read;
    let mut id = [0; 16];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut id))
        .map_err(|e| Error::io("read /dev/urandom", e))?;
    Ok(id)
}

fn check_part_size(size: u64) -> Result<()> {
    // The same sizes that upload_part_size chooses from.
    if (0..10).any(|k| (8u64 << 20) << k == size) {
        return Ok(());
    }
    let message = format!("a part size of {size} bytes: it must be 8 MiB, 16 MiB, 32 MiB, ... 4096 MiB");
    Err(Error::new(Kind::Usage, message))
}

fn choose_part_size(wanted: Option<u64>, totals: &Totals) -> Result<u64> {
    let needed = upload_part_size(totals.archive_bound())?;
    match wanted {
        Some(size) if size < needed => {
            let message = format!(
                "a part size of {} MiB is too small: with it {MAX_UPLOAD_PARTS} parts may not suffice for {} bytes of \
                 files; use {} MiB or more",
                size >> 20,
                totals.data_bytes,
                needed >> 20
            );
            Err(Error::new(Kind::Usage, message))
        }
        Some(size) => Ok(size),
        None => Ok(needed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_sizes() {
        for good in [8 << 20, 16 << 20, 4 << 30] {
            check_part_size(good).unwrap();
        }
        for bad in [0, 1, 7 << 20, 24 << 20, 8 << 30] {
            assert_eq!(check_part_size(bad).unwrap_err().kind(), Kind::Usage);
        }
        let small = Totals { entries: 3, bytes: 100 << 30, data_bytes: 1 << 20, name_bytes: 10 };
        assert_eq!(choose_part_size(None, &small).unwrap(), 8 << 20, "a hole takes next to nothing");
        let big = Totals { data_bytes: 100 << 30, ..small };
        assert_eq!(choose_part_size(None, &big).unwrap(), 32 << 20);
        assert_eq!(choose_part_size(Some(64 << 20), &big).unwrap(), 64 << 20);
        assert_eq!(choose_part_size(Some(16 << 20), &big).unwrap_err().kind(), Kind::Usage);
    }
}
