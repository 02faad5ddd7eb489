//! Has the kernel read what the workers will come to: a disk that answers late is asked for many things at once.

use super::large::Run;
use super::record::{Record, Source};
use super::source_file::SourceFile;
use super::stored::StoredFrames;
use crate::linux::page_cache::{is_cached, read_ahead};

/// Small files, in the order in which they are read. Nothing is gained where the first is in memory, or where encoded
/// reads go past the page cache.
pub fn files<'r>(stored: &mut StoredFrames, records: impl Iterator<Item = &'r Record>, sources: &[Source]) {
    for (n, record) in records.filter(|record| record.stat.is_regular() && record.stat.size > 0).enumerate() {
        // What has become of it is the worker's to say.
        let Ok(Ok(file)) = SourceFile::open(&record.location(sources), record.shown(sources)) else { continue };
        if n == 0 && (is_cached(&file.file, 0) || stored.can_hold(&file)) {
            return;
        }
        read_ahead(&file.file, &(0..file.stat.size));
    }
}

/// A piece of a large file.
pub fn runs(stored: &mut StoredFrames, file: &SourceFile, runs: &[Run]) {
    for run in runs.iter().filter(|run| !run.is_hole) {
        if !is_cached(&file.file, run.range.start) && stored.ranges(file, run.range.clone()).is_empty() {
            read_ahead(&file.file, &run.range);
        }
    }
}
