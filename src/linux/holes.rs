//! Where a file has data and where it only has holes.

use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::unistd::{Whence, lseek};

/// Edges of extents are moved outward to multiples of this many bytes.
pub const GRAIN: u64 = 4096;

/// The data of the first `size` bytes of `file`, in order, not touching each other. Everything between is a hole,
/// that is zeros. Edges are multiples of [`GRAIN`], except an end at `size`. A file system that cannot tell
/// gives one extent. Moves the file position.
pub fn data_extents(file: BorrowedFd<'_>, size: u64) -> io::Result<Vec<Range<u64>>> {
    data_extents_in(file, 0..size)
}

/// [`data_extents`] of a window, whose start must be a multiple of [`GRAIN`]: a file may have more extents than
/// should be in memory at once.
pub fn data_extents_in(file: BorrowedFd<'_>, window: Range<u64>) -> io::Result<Vec<Range<u64>>> {
    let size = window.end;
    let mut extents: Vec<Range<u64>> = Vec::new();
    let mut position = window.start;
    while position < size {
        let start = match seek(file, position, Whence::SeekData) {
            Ok(start) if start < size => start,
            // No data from here to the end of the file.
            Ok(_) | Err(Errno::ENXIO) => break,
            Err(Errno::EINVAL | Errno::EOPNOTSUPP) => return Ok(std::iter::once(window).collect()),
            Err(errno) => return Err(errno.into()),
        };
        let end = match seek(file, start, Whence::SeekHole) {
            Ok(end) => end.max(start + 1).min(size),
            // The file became shorter meanwhile; the reader of the data will notice.
            Err(Errno::ENXIO) => size,
            Err(errno) => return Err(errno.into()),
        };
        position = end;
        let wide = start / GRAIN * GRAIN..end.next_multiple_of(GRAIN).min(size);
        match extents.last_mut() {
            Some(last) if last.end >= wide.start => last.end = last.end.max(wide.end),
            _ => extents.push(wide),
        }
    }
    Ok(extents)
}

fn seek(file: BorrowedFd<'_>, position: u64, whence: Whence) -> nix::Result<u64> {
    let position = i64::try_from(position).map_err(|_| Errno::ENXIO)?;
    Ok(lseek(file, position, whence)? as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::os::unix::fs::FileExt;

    fn sparse(size: u64, data: &[Range<u64>]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(size).unwrap();
        for range in data {
            file.write_all_at(&vec![7; (range.end - range.start) as usize], range.start).unwrap();
        }
        file
    }

    #[test]
    fn holes_are_found_and_data_is_widened() {
        const M: u64 = 1 << 20;
        let file = sparse(8 * M + 10, &[M + 5..M + 6, 3 * M..3 * M + 8192, 8 * M + 9..8 * M + 10]);
        let extents = data_extents(file.as_fd(), 8 * M + 10).unwrap();
        assert_eq!(extents, [M..M + 4096, 3 * M..3 * M + 8192, 8 * M..8 * M + 10]);
    }

    #[test]
    fn empty_whole_and_all_hole() {
        assert_eq!(data_extents(sparse(0, &[]).as_fd(), 0).unwrap(), []);
        assert_eq!(data_extents(sparse(1 << 20, &[]).as_fd(), 1 << 20).unwrap(), []);
        let whole = data_extents(sparse(5000, &[Range { start: 0, end: 5000 }]).as_fd(), 5000).unwrap();
        assert_eq!(whole, [Range { start: 0, end: 5000 }]);
    }

    #[test]
    fn only_the_size_asked_for() {
        let file = sparse(1 << 20, &[Range { start: 0, end: 1 << 20 }]);
        assert_eq!(data_extents(file.as_fd(), 5000).unwrap(), [Range { start: 0, end: 5000 }]);
        // A file that became shorter: what is there, and no error.
        file.set_len(4096).unwrap();
        assert_eq!(data_extents(file.as_fd(), 1 << 20).unwrap(), [Range { start: 0, end: 4096 }]);
    }

    #[test]
    fn a_window_sees_only_itself() {
        const M: u64 = 1 << 20;
        let file = sparse(8 * M, &[M..2 * M, 3 * M..4 * M]);
        assert_eq!(
            data_extents_in(file.as_fd(), M + 4096..3 * M + 4096).unwrap(),
            [M + 4096..2 * M, 3 * M..3 * M + 4096]
        );
        assert_eq!(data_extents_in(file.as_fd(), 5 * M..8 * M).unwrap(), []);
    }

    #[test]
    fn without_seek_hole_there_is_one_extent() {
        let proc = File::open("/proc/self/mem").unwrap();
        assert_eq!(data_extents(proc.as_fd(), 10).unwrap(), [Range { start: 0, end: 10 }]);
    }
}
