//! Bytes that are written once and read back later: in memory up to a limit, the rest in an unnamed file.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The bytes appended so far. `file` holds the first `in_file` of them, `memory` those after.
#[derive(Debug)]
pub struct Spool {
    dir: PathBuf,
    memory_limit: usize,
    memory: Vec<u8>,
    file: Option<File>,
    in_file: u64,
}

impl Spool {
    /// Keeps at most `memory_limit` bytes in memory. The file, if it comes to that, is made in `dir_for_tmp`
    /// and has no name, so that it is gone with this process whatever happens.
    pub fn new(dir_for_tmp: &Path, memory_limit: usize) -> Spool {
        Spool { dir: dir_for_tmp.to_owned(), memory_limit, memory: Vec::new(), file: None, in_file: 0 }
    }

    /// Where the bytes are, for messages.
    pub fn place(&self) -> String {
        format!("a temporary file in {}", self.dir.display())
    }

    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.memory.len().saturating_add(bytes.len()) > self.memory_limit {
            self.move_to_file(bytes)
        } else {
            self.memory.extend_from_slice(bytes);
            Ok(())
        }
    }

    /// Memory goes first. It is emptied only once `bytes` is in the file too, so that nothing is lost or doubled
    /// when the disk is full.
    fn move_to_file(&mut self, bytes: &[u8]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(tempfile::tempfile_in(&self.dir)?),
        };
        let after_memory = self.in_file + self.memory.len() as u64;
        file.write_all_at(&self.memory, self.in_file)?;
        file.write_all_at(bytes, after_memory)?;
        self.in_file = after_memory + bytes.len() as u64;
        self.memory.clear();
        Ok(())
    }

    pub fn len(&self) -> u64 {
        self.in_file + self.memory.len() as u64
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `buf` from `offset`; fewer bytes only as in [`Read::read`], 0 at and after the end.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        if let (Some(file), Some(left @ 1..)) = (&self.file, self.in_file.checked_sub(offset)) {
            let want = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            return file.read_at(buf.get_mut(..want).unwrap_or_default(), offset);
        }
        let start = usize::try_from(offset - self.in_file).unwrap_or(usize::MAX);
        let mut rest = self.memory.get(start..).unwrap_or_default();
        rest.read(buf)
    }

    /// All bytes from the start.
    pub fn reader(&self) -> SpoolReader<'_> {
        self.reader_at(0)
    }

    /// All bytes from `offset`.
    pub fn reader_at(&self, offset: u64) -> SpoolReader<'_> {
        SpoolReader { spool: self, offset }
    }
}

impl Write for Spool {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.append(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
pub struct SpoolReader<'a> {
    spool: &'a Spool,
    offset: u64,
}

impl Read for SpoolReader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.spool.read_at(self.offset, buf)?;
        self.offset += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(spool: &Spool) -> Vec<u8> {
        let mut bytes = Vec::new();
        spool.reader().read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn same_bytes_from_memory_and_file() {
        let dir = tempfile::tempdir().unwrap();
        let pieces: Vec<Vec<u8>> = (0..100u8).map(|n| vec![n; usize::from(n) * 7 % 50]).collect();
        let expected = pieces.concat();
        for limit in [0, 1, 10, 64, 1000, usize::MAX] {
            let mut spool = Spool::new(dir.path(), limit);
            assert!(spool.is_empty());
            for piece in &pieces {
                spool.write_all(piece).unwrap();
                assert!(spool.memory.len() <= limit);
            }
            assert_eq!(spool.len(), expected.len() as u64);
            assert_eq!(all(&spool), expected, "limit {limit}");
            assert_eq!(all(&spool), expected, "a second reader starts again");
            let mut one = [0];
            for (offset, byte) in expected.iter().enumerate() {
                assert_eq!(spool.read_at(offset as u64, &mut one).unwrap(), 1);
                assert_eq!(one[0], *byte);
            }
            assert_eq!(spool.read_at(spool.len(), &mut one).unwrap(), 0);
            assert_eq!(spool.read_at(u64::MAX, &mut one).unwrap(), 0);
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "the file has no name");
    }

    #[test]
    fn no_file_below_the_limit_and_an_error_without_a_directory() {
        let mut spool = Spool::new(Path::new("/nonexistent"), 4);
        spool.append(b"abcd").unwrap();
        assert!(spool.append(b"e").is_err());
        assert_eq!(all(&spool), b"abcd", "what was there stays");
    }
}
