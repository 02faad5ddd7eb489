//! Hard links against their targets (spec `#hard-links`).

use std::collections::HashMap;

use super::checksum::crc32;
use super::entry::{Entry, EntryType, Timestamp, hard_link_text};
use super::error::{Error, Result};
use super::zip::dos_time::utc;

#[derive(Debug)]
struct Target {
    path: Box<[u8]>,
    uid: u32,
    gid: u32,
    mtime: Timestamp,
}

/// Remembers what hard links may name, which is only entries with a link count.
#[derive(Debug, Default)]
pub struct HardLinks {
    targets: HashMap<u64, Target>,
}

impl HardLinks {
    /// Before the first entry of an archive.
    pub fn new() -> Self {
        HardLinks::default()
    }

    /// Takes the next entry of the directory. For a hard link gives its target's path, after checking that owner, time and
    /// the text of the link (by its length and CRC-32) are those the format prescribes.
    pub fn check(&mut self, entry: &Entry) -> Result<Option<&[u8]>> {
        let EntryType::HardLink { target } = entry.entry_type else {
            if entry.link_count.is_some() && entry.entry_type != EntryType::Directory {
                self.remember(entry);
            }
            return Ok(None);
        };
        let refuse = |message: String| Err(Error::corrupt(message).in_entry(&entry.path));
        let Some(found) = self.targets.get(&target) else {
            return refuse(format!("hard link to entry {target}, which is not an earlier entry with a link count"));
        };
        let a = &entry.attributes;
        if (a.uid, a.gid, a.mtime) != (found.uid, found.gid, found.mtime) {
            let time = |t: Timestamp| format!("{}.{:09} UTC", utc(t), t.nanos);
            return refuse(format!(
                "hard link with owner {}:{} and time {}, its target has {}:{} and {}",
                a.uid,
                a.gid,
                time(a.mtime),
                found.uid,
                found.gid,
                time(found.mtime)
            ));
        }
        let text = hard_link_text(&entry.path, &found.path);
        let (length, crc) = (text.len() as u64, crc32(&text));
        if (entry.uncompressed_size, entry.crc32) != (length, crc) {
            return refuse(format!(
                "hard link text has {} bytes and CRC-32 {:#010x}, \"{}\" has {length} and {crc:#010x}",
                entry.uncompressed_size,
                entry.crc32,
                text.escape_ascii()
            ));
        }
        Ok(Some(&found.path))
    }

    /// Path of an entry with a link count that was seen.
    pub fn path(&self, ordinal: u64) -> Option<&[u8]> {
        self.targets.get(&ordinal).map(|t| &*t.path)
    }

    fn remember(&mut self, entry: &Entry) {
        let a = &entry.attributes;
        let target = Target { path: entry.path.as_slice().into(), uid: a.uid, gid: a.gid, mtime: a.mtime };
        self.targets.insert(entry.ordinal, target);
    }
}
