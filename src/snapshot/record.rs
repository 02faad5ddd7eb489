//! What the walk notes of each path, and its form in the spool.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::Metadata;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::format::Timestamp;
use crate::format::entry::{S_IFDIR, S_IFMT, S_IFREG};

/// The part of lstat that an archive or a comparison needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub nlink: u64,
    pub size: u64,
    pub dev: u64,
    pub ino: u64,
    pub rdev: u64,
    pub mtime: Timestamp,
    pub ctime: Timestamp,
}

impl Stat {
    pub fn of(m: &Metadata) -> Stat {
        Stat {
            mode: m.mode(),
            uid: m.uid(),
            gid: m.gid(),
            nlink: m.nlink(),
            size: m.size(),
            dev: m.dev(),
            ino: m.ino(),
            rdev: m.rdev(),
            mtime: Timestamp { seconds: m.mtime(), nanos: m.mtime_nsec() as u32 },
            ctime: Timestamp { seconds: m.ctime(), nanos: m.ctime_nsec() as u32 },
        }
    }

    pub fn is_directory(&self) -> bool {
        self.mode & S_IFMT == S_IFDIR
    }

    pub fn is_regular(&self) -> bool {
        self.mode & S_IFMT == S_IFREG
    }

    /// Identity of the inode.
    pub fn inode(&self) -> (u64, u64) {
        (self.dev, self.ino)
    }

    /// Whether content and attributes may be taken as untouched between the two.
    pub fn unchanged(&self, later: &Stat) -> bool {
        (self.size, self.mtime, self.ctime) == (later.size, later.mtime, later.ctime)
    }

    fn numbers(&self) -> [u64; 12] {
        [
            self.mode.into(),
            self.uid.into(),
            self.gid.into(),
            self.nlink,
            self.size,
            self.dev,
            self.ino,
            self.rdev,
            self.mtime.seconds as u64,
            self.mtime.nanos.into(),
            self.ctime.seconds as u64,
            self.ctime.nanos.into(),
        ]
    }

    fn from_numbers(n: [u64; 12]) -> Stat {
        Stat {
            mode: n[0] as u32,
            uid: n[1] as u32,
            gid: n[2] as u32,
            nlink: n[3],
            size: n[4],
            dev: n[5],
            ino: n[6],
            rdev: n[7],
            mtime: Timestamp { seconds: n[8] as i64, nanos: n[9] as u32 },
            ctime: Timestamp { seconds: n[10] as i64, nanos: n[11] as u32 },
        }
    }
}

/// Where a SOURCE is, and under which name it stands in the archive. What is mounted within it, and other subvolumes,
/// become sources of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Where it is read: as `shown`, or in a snapshot of its subvolume.
    pub base: PathBuf,
    /// As the user knows it.
    pub shown: PathBuf,
    /// Empty for the one directory whose contents are archived.
    pub name: Vec<u8>,
    /// Its place in the SOURCE that the user gave.
    pub prefix: PathBuf,
    /// Named by the user, not met in the walk.
    pub is_given: bool,
    /// A directory that leads to another source: nothing below it belongs to this one.
    pub only_itself: bool,
    /// Set if `base` is in a snapshot.
    pub still: Option<StillTree>,
}

impl Source {
    pub fn new(path: &Path, name: Vec<u8>) -> Source {
        Source {
            base: path.to_owned(),
            shown: path.to_owned(),
            name,
            prefix: PathBuf::new(),
            is_given: true,
            only_itself: false,
            still: None,
        }
    }

    /// What lies at `path` in this one, as the user knows it.
    pub fn below(&self, path: &Path) -> Source {
        let mut name = self.name.clone();
        if !name.is_empty() {
            name.push(b'/');
        }
        name.extend_from_slice(path.as_os_str().as_bytes());
        let shown = self.shown.join(path);
        let prefix = self.prefix.join(path);
        Source { base: shown.clone(), prefix, is_given: false, ..Source::new(&shown, name) }
    }
}

/// What a snapshot of a subvolume does not show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StillTree {
    /// Device number of the subvolume itself.
    pub device: u64,
    /// Where something is mounted, relative to the source.
    pub mounts: Arc<HashSet<PathBuf>>,
}

/// One path the walk found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Index of the source.
    pub source: u32,
    /// Path relative to the source's base; empty for the base itself.
    pub path: Vec<u8>,
    pub stat: Stat,
}

impl Record {
    /// Where it is read.
    pub fn location(&self, sources: &[Source]) -> PathBuf {
        self.beneath(sources.get(self.source as usize).map_or(Path::new(""), |source| &source.base))
    }

    /// Where it is for the user.
    pub fn shown(&self, sources: &[Source]) -> PathBuf {
        self.beneath(sources.get(self.source as usize).map_or(Path::new(""), |source| &source.shown))
    }

    fn beneath(&self, base: &Path) -> PathBuf {
        if self.path.is_empty() { base.to_owned() } else { base.join(OsStr::from_bytes(&self.path)) }
    }

    /// Its path in the archive.
    pub fn name(&self, sources: &[Source]) -> Vec<u8> {
        let prefix = sources.get(self.source as usize).map_or(&[][..], |source| &source.name);
        let mut name = prefix.to_vec();
        if !prefix.is_empty() && !self.path.is_empty() {
            name.push(b'/');
        }
        name.extend_from_slice(&self.path);
        name
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.source.to_le_bytes());
        out.extend_from_slice(&(self.path.len() as u32).to_le_bytes());
        self.stat.numbers().iter().for_each(|n| out.extend_from_slice(&n.to_le_bytes()));
        out.extend_from_slice(&self.path);
    }

    /// The next record; None at the end.
    pub fn read(from: &mut impl Read) -> io::Result<Option<Record>> {
        let mut word = [0; 4];
        match from.read_exact(&mut word) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            result => result?,
        }
        let source = u32::from_le_bytes(word);
        from.read_exact(&mut word)?;
        let mut numbers = [0; 12];
        for number in &mut numbers {
            let mut bytes = [0; 8];
            from.read_exact(&mut bytes)?;
            *number = u64::from_le_bytes(bytes);
        }
        let mut path = vec![0; u32::from_le_bytes(word) as usize];
        from.read_exact(&mut path)?;
        Ok(Some(Record { source, path, stat: Stat::from_numbers(numbers) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back() {
        let stat = Stat::of(&std::fs::metadata("/proc/self").unwrap());
        let odd = Stat { mtime: Timestamp { seconds: -5, nanos: 999_999_999 }, size: u64::MAX, ..stat };
        let all = [
            Record { source: 0, path: Vec::new(), stat },
            Record { source: 7, path: b"a\xff\n/b".to_vec(), stat: odd },
        ];
        let mut bytes = Vec::new();
        all.iter().for_each(|record| record.encode(&mut bytes));
        let mut from = &bytes[..];
        for record in &all {
            assert_eq!(Record::read(&mut from).unwrap().as_ref(), Some(record));
        }
        assert_eq!(Record::read(&mut from).unwrap(), None);
    }

    #[test]
    fn names() {
        let stat = Stat::of(&std::fs::metadata("/").unwrap());
        let b = Source { base: "/still/b/.".into(), ..Source::new(Path::new("/y/b"), b"b".to_vec()) };
        let sources = [Source::new(Path::new("/x"), Vec::new()), b.clone(), b.below(Path::new("c/d"))];
        let record = |source, path: &[u8]| Record { source, path: path.to_vec(), stat };
        assert_eq!(record(0, b"a/b").name(&sources), b"a/b");
        assert_eq!(record(1, b"").name(&sources), b"b");
        assert_eq!(record(1, b"c").name(&sources), b"b/c");
        assert_eq!(record(1, b"c").location(&sources), Path::new("/still/b/c"));
        assert_eq!(record(1, b"c").shown(&sources), Path::new("/y/b/c"));
        assert_eq!(record(2, b"").location(&sources), Path::new("/y/b/c/d"), "not in the snapshot of b");
        assert_eq!(record(2, b"e").name(&sources), b"b/c/d/e");
        assert_eq!(sources[2].prefix, Path::new("c/d"));
    }
}
