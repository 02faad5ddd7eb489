//! Files over 16 MiB: cut into ranges that are read and compressed on their own.

use std::ops::Range;

use super::source_file::SourceFile;
use crate::error::Result;
use crate::format::limits::FRAME_CONTENT_MAX;

/// Data bytes of one job.
const JOB_DATA: u64 = 4 << 20;

/// Hole bytes of one job: 1,024 pieces.
const JOB_HOLE: u64 = 128 << 20;

/// Extents are looked for in windows of this size, so that their number in memory is bounded. Part of what the bytes
/// of an archive depend on: frames do not cross the edge of a window.
const WINDOW: u64 = 1 << 30;

/// Data or hole, without a gap to the next run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    pub range: Range<u64>,
    pub is_hole: bool,
}

/// The extents and the holes between them, covering `window`.
pub fn cut_runs(extents: &[Range<u64>], window: Range<u64>) -> Vec<Run> {
    let mut runs = Vec::new();
    let mut position = window.start;
    for extent in extents {
        if extent.start > position {
            runs.push(Run { range: position..extent.start, is_hole: true });
        }
        runs.push(Run { range: extent.clone(), is_hole: false });
        position = extent.end;
    }
    if position < window.end {
        runs.push(Run { range: position..window.end, is_hole: true });
    }
    runs
}

/// Groups the runs of the whole file into jobs. Runs are cut only at multiples of 128 KiB from their start, where a
/// piece ends anyway.
pub fn jobs(file: &SourceFile, mut emit: impl FnMut(Vec<Run>) -> Result<()>) -> Result<()> {
    let size = file.stat.size;
    for start in (0..size).step_by(WINDOW as usize) {
        let window = start..size.min(start + WINDOW);
        group(cut_runs(&file.extents(window.clone())?, window), &mut emit)?;
    }
    Ok(())
}

fn group(runs: Vec<Run>, emit: &mut impl FnMut(Vec<Run>) -> Result<()>) -> Result<()> {
    const STEP: u64 = FRAME_CONTENT_MAX as u64;
    let (mut job, mut data, mut hole) = (Vec::new(), 0, 0);
    for Run { mut range, is_hole } in runs {
        while !range.is_empty() {
            let (used, limit) = if is_hole { (&mut hole, JOB_HOLE) } else { (&mut data, JOB_DATA) };
            let length = range.end - range.start;
            let room = limit.saturating_sub(*used) / STEP * STEP;
            let now = if length <= room { length } else { room };
            if now > 0 {
                job.push(Run { range: range.start..range.start + now, is_hole });
                // A short run costs as much as its one piece.
                *used += now.next_multiple_of(STEP);
                range.start += now;
            } else {
                emit(std::mem::take(&mut job))?;
                (data, hole) = (0, 0);
            }
        }
    }
    if job.is_empty() { Ok(()) } else { emit(job) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_cover_the_window() {
        let hole = |range| Run { range, is_hole: true };
        let data = |range| Run { range, is_hole: false };
        assert_eq!(cut_runs(&[], 0..0), []);
        assert_eq!(cut_runs(&[], 8..20), [hole(8..20)]);
        assert_eq!(cut_runs(&[0..4, 8..12], 0..20), [data(0..4), hole(4..8), data(8..12), hole(12..20)]);
        assert_eq!(cut_runs(&[4..8, 10..12], 0..12), [hole(0..4), data(4..8), hole(8..10), data(10..12)]);
    }

    #[test]
    fn jobs_are_bounded_and_cut_at_pieces() {
        let step = u64::from(FRAME_CONTENT_MAX);
        let runs = cut_runs(&[4096..9 << 20, 10 << 20..(10 << 20) + 5000, 900 << 20..901 << 20], 0..(901 << 20) + 17);
        let mut jobs: Vec<Vec<Run>> = Vec::new();
        group(runs.clone(), &mut |job| {
            jobs.push(job);
            Ok(())
        })
        .unwrap();
        let starts: Vec<u64> = runs.iter().map(|run| run.range.start).collect();
        let mut position = 0;
        for job in &jobs {
            let sum = |hole| job.iter().filter(|r| r.is_hole == hole).map(|r| r.range.end - r.range.start).sum::<u64>();
            assert!(!job.is_empty() && sum(false) <= JOB_DATA && sum(true) <= JOB_HOLE);
            for run in job {
                assert_eq!(run.range.start, position);
                position = run.range.end;
                let start = starts.iter().rfind(|&&start| start <= run.range.start).unwrap();
                assert!((run.range.start - start).is_multiple_of(step));
            }
        }
        assert_eq!(position, (901 << 20) + 17);
        assert!(jobs.len() > 7);
    }
}
