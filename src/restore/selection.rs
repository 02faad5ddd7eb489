//! Which entries are wanted, and where each of them goes.

use std::collections::{HashMap, HashSet};

use super::fetch_directory::Archive;
use super::{StopFlag, check_stop};
use crate::error::{Error, Kind, Result};
use crate::format::checksum::crc32c;
use crate::format::directory_reader::PlacedEntry;
use crate::format::entry::{Entry, EntryType, check_path};

/// Everything, or some paths with all that is below them. The directories above them come along.
#[derive(Debug, Default)]
pub struct Selection {
    prefixes: Vec<Vec<u8>>,
    /// A file that is not selected itself, but is the target of a selected hard link: it goes where its first
    /// selected link is.
    moved: HashMap<u64, Vec<u8>>,
}

impl Selection {
    /// Reads the directory once if there are paths, because hard links may need files from elsewhere.
    pub fn new(paths: &[Vec<u8>], archive: &Archive, stop: &StopFlag) -> Result<Selection> {
        let mut selection = Selection::by_name(paths)?;
        if selection.is_everything() {
            return Ok(selection);
        }
        let mut found = vec![false; selection.prefixes.len()];
        let mut outside = HashSet::new();
        let visit = |placed: PlacedEntry| {
            let entry = placed.entry;
            if let Some(i) = selection.prefixes.iter().position(|prefix| is_below(&entry.path, prefix)) {
                found[i] = true;
                if let EntryType::HardLink { target } = entry.entry_type
                    && outside.contains(&target)
                {
                    selection.moved.entry(target).or_insert(entry.path);
                }
            } else if entry.link_count.is_some() {
                outside.insert(entry.ordinal);
            }
            Ok(())
        };
        archive.for_each_entry_while(|| check_stop(stop), visit)?;
        match found.iter().position(|&found| !found) {
            None => Ok(selection),
            Some(i) => {
                let path = selection.prefixes[i].escape_ascii();
                let message = format!("{}: there is no \"{path}\" in the archive", archive.source.name());
                Err(Error::new(Kind::NotFound, message).with_hint("`burst ls` lists the paths of an archive"))
            }
        }
    }

    /// By names alone, for a stream whose directory comes last.
    pub fn by_name(paths: &[Vec<u8>]) -> Result<Selection> {
        let mut prefixes = Vec::new();
        for path in paths {
            let trimmed = path.strip_prefix(b"./").unwrap_or(path);
            let trimmed = &trimmed[..trimmed.iter().rposition(|&b| b != b'/').map_or(0, |i| i + 1)];
            check_path(trimmed).map_err(|e| Error::new(Kind::Usage, e.to_string()))?;
            prefixes.push(trimmed.to_vec());
        }
        Ok(Selection { prefixes, moved: HashMap::new() })
    }

    /// The same text for the same selection, another for any other; empty for everything.
    pub fn fingerprint(&self) -> String {
        let mut prefixes = self.prefixes.clone();
        prefixes.sort();
        prefixes.dedup();
        if prefixes.is_empty() { String::new() } else { format!("{:08x}", crc32c(&prefixes.join(&0))) }
    }

    /// Nothing was selected in particular.
    pub fn is_everything(&self) -> bool {
        self.prefixes.is_empty()
    }

    /// Whether a path itself is selected, or is a directory above one that is.
    pub fn wants(&self, path: &[u8], entry_type: EntryType) -> bool {
        self.is_everything()
            || self
                .prefixes
                .iter()
                .any(|prefix| is_below(path, prefix) || (entry_type == EntryType::Directory && is_below(prefix, path)))
    }

    /// Path beneath the target, or None if the entry is not wanted.
    pub fn destination<'a>(&'a self, entry: &'a Entry) -> Option<&'a [u8]> {
        if self.wants(&entry.path, entry.entry_type) {
            return Some(&entry.path);
        }
        self.moved.get(&entry.ordinal).map(Vec::as_slice)
    }

    /// Where the target of a hard link goes; `path` is its own name.
    pub fn link_target<'a>(&'a self, ordinal: u64, path: &'a [u8]) -> &'a [u8] {
        self.moved.get(&ordinal).map_or(path, Vec::as_slice)
    }
}

/// Whether `path` is `prefix` or below it.
fn is_below(path: &[u8], prefix: &[u8]) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted() {
        let s = Selection::by_name(&[b"a/b/".to_vec(), b"./c".to_vec()]).unwrap();
        for (path, entry_type, wanted) in [
            ("a", EntryType::Directory, true),
            ("a", EntryType::Regular, false),
            ("a/b", EntryType::Regular, true),
            ("a/b/x/y", EntryType::Regular, true),
            ("a/bb", EntryType::Regular, false),
            ("c", EntryType::Directory, true),
            ("d", EntryType::Directory, false),
        ] {
            assert_eq!(s.wants(path.as_bytes(), entry_type), wanted, "{path}");
        }
        let again = Selection::by_name(&[b"c/".to_vec(), b"a/b".to_vec(), b"c".to_vec()]).unwrap();
        assert_eq!(s.fingerprint(), again.fingerprint());
        assert_ne!(s.fingerprint(), Selection::by_name(&[b"a".to_vec()]).unwrap().fingerprint());
        assert_eq!(Selection::default().fingerprint(), "");
        assert!(Selection::by_name(&[b"../x".to_vec()]).is_err());
        assert!(Selection::by_name(&[b"/".to_vec()]).is_err());
    }
}
