//! Work that waits for the end of a restore, as records in spools: in memory while it is little, else in an unnamed
//! file on the disk that is being filled.

use std::io::{self, Read};
use std::path::Path;

use crate::error::{Error, Result};
use crate::format::attributes::AttributeList;
use crate::format::{Attributes, Timestamp};
use crate::linux::spool::Spool;

/// Each kind of work stays in memory up to this many bytes.
const SPOOL_MEMORY: usize = 16 << 20;

/// Length of the numbers before a record's path.
const HEADER: usize = 36;

/// A path, what it leads to (link text or link target), and attributes with all extended attributes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    pub path: Vec<u8>,
    pub text: Vec<u8>,
    pub attributes: Attributes,
}

impl Record {
    fn encode(&self) -> Vec<u8> {
        let a = &self.attributes;
        let mut list = Vec::new();
        AttributeList { xattrs: a.xattrs.clone(), ..AttributeList::default() }.encode(&mut list);
        let mut out = Vec::with_capacity(HEADER + self.path.len() + self.text.len() + list.len());
        let lengths = [self.path.len() as u32, self.text.len() as u32, list.len() as u32];
        for field in lengths.into_iter().chain([a.permissions, a.uid, a.gid, a.mtime.nanos]) {
            out.extend_from_slice(&field.to_le_bytes());
        }
        out.extend_from_slice(&a.mtime.seconds.to_le_bytes());
        out.extend_from_slice(&self.path);
        out.extend_from_slice(&self.text);
        out.extend_from_slice(&list);
        out
    }

    /// Reads one record; `header` is its first [`HEADER`] bytes.
    fn decode(header: &[u8; HEADER], reader: &mut impl Read) -> Result<Record> {
        let field = |i: usize| u32::from_le_bytes([header[i], header[i + 1], header[i + 2], header[i + 3]]);
        let (path_length, text_length) = (field(0) as usize, field(4) as usize);
        let mut path = vec![0; path_length + text_length + field(8) as usize];
        reader.read_exact(&mut path).map_err(lost)?;
        let list = path.split_off(path_length + text_length);
        let text = path.split_off(path_length);
        let seconds = i64::from(field(28)) | i64::from(field(32) as i32) << 32;
        let attributes = Attributes {
            permissions: field(12),
            uid: field(16),
            gid: field(20),
            mtime: Timestamp { seconds, nanos: field(24) },
            xattrs: AttributeList::parse(&list)?.xattrs,
        };
        Ok(Record { path, text, attributes })
    }
}

fn lost(error: io::Error) -> Error {
    Error::io(
        "read back the links and directories that were left for the end, from a temporary file in the target",
        error,
    )
}

/// Records of one kind, in the order they came.
pub struct Deferred {
    spool: Spool,
}

impl Deferred {
    /// `directory`: where the unnamed file is made if there is too much for memory.
    pub fn new(directory: &Path) -> Self {
        Deferred { spool: Spool::new(directory, SPOOL_MEMORY) }
    }

    /// Appends a record and tells its offset, for [`at`](Self::at).
    pub fn push(&mut self, record: &Record) -> io::Result<u64> {
        let offset = self.spool.len();
        self.spool.append(&record.encode())?;
        Ok(offset)
    }

    pub fn at(&self, offset: u64) -> Result<Record> {
        let mut reader = self.spool.reader_at(offset);
        let mut header = [0; HEADER];
        reader.read_exact(&mut header).map_err(lost)?;
        Record::decode(&header, &mut reader)
    }

    pub fn for_each(&self, mut visit: impl FnMut(Record) -> Result<()>) -> Result<()> {
        let mut reader = io::BufReader::with_capacity(1 << 16, self.spool.reader_at(0));
        let mut header = [0; HEADER];
        loop {
            match reader.read_exact(&mut header) {
                Ok(()) => visit(Record::decode(&header, &mut reader)?)?,
                // Records are appended whole: the only place the spool can end is between two.
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(e) => return Err(lost(e)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_in_order_and_by_offset() {
        let mut deferred = Deferred { spool: Spool::new(&std::env::temp_dir(), 100) };
        let records: Vec<Record> = (0..50u32)
            .map(|n| Record {
                path: vec![b'p'; n as usize],
                text: vec![b't'; 50 - n as usize],
                attributes: Attributes {
                    permissions: n,
                    uid: n + 1,
                    gid: n + 2,
                    mtime: Timestamp { seconds: -i64::from(n) << 33, nanos: n },
                    xattrs: if n % 2 == 0 { vec![(b"user.a".to_vec(), vec![7; n as usize])] } else { vec![] },
                },
            })
            .collect();
        let offsets: Vec<u64> = records.iter().map(|r| deferred.push(r).unwrap()).collect();
        let mut back = Vec::new();
        deferred
            .for_each(|r| {
                back.push(r);
                Ok(())
            })
            .unwrap();
        assert_eq!(back, records);
        for (offset, record) in offsets.iter().zip(&records).rev() {
            assert_eq!(&deferred.at(*offset).unwrap(), record);
        }
    }
}
