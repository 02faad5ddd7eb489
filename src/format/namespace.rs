//! Names against each other (spec `#names`, `#entry-order`): no path twice, every parent an earlier directory.

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use super::entry::{EntryType, split_parent};
use super::error::{Error, Reason, Result};
use super::trailer::Trailer;

/// Sees every path once, in the order of the directory. It remembers 128 random-keyed hash bits per path instead of the
/// path (about 20 to 40 bytes of memory per entry); that two paths of 2^32 collide has a chance below 2^-64, and
/// nobody who makes an archive knows the keys.
#[derive(Debug)]
pub struct NamespaceChecker {
    keys: [RandomState; 2],
    directories: HashSet<u128, Prehashed>,
    others: HashSet<u128, Prehashed>,
    /// The parent found last: siblings come together.
    parent: Vec<u8>,
}

impl NamespaceChecker {
    /// Before the first entry of an archive. Hash keys are random, so that no archive can be made to be slow.
    pub fn new() -> Self {
        NamespaceChecker {
            keys: [RandomState::new(), RandomState::new()],
            directories: HashSet::default(),
            others: HashSet::default(),
            parent: Vec::new(),
        }
    }

    /// Makes room for all entries at once. The trailer's counts are bounded by the length of the directory.
    pub fn for_archive(trailer: &Trailer) -> Self {
        let mut checker = NamespaceChecker::new();
        checker.directories.reserve(trailer.directories as usize);
        checker.others.reserve((trailer.entries - trailer.directories) as usize);
        checker
    }

    /// Takes the next entry: its path (no final `/`) and type.
    pub fn check(&mut self, path: &[u8], entry_type: EntryType) -> Result<()> {
        let (parent, _) = split_parent(path);
        if parent != self.parent {
            if !parent.is_empty() && !self.directories.contains(&self.hash(parent)) {
                return Err(Error::new(
                    Reason::Corrupt,
                    format!("its parent \"{}\" is no earlier directory of the archive", parent.escape_ascii()),
                )
                .in_entry(path));
            }
            self.parent.clear();
            self.parent.extend_from_slice(parent);
        }
        let hash = self.hash(path);
        let is_new = match entry_type {
            EntryType::Directory => !self.others.contains(&hash) && self.directories.insert(hash),
            _ => !self.directories.contains(&hash) && self.others.insert(hash),
        };
        if is_new { Ok(()) } else { Err(Error::corrupt("the path comes twice in the archive").in_entry(path)) }
    }

    fn hash(&self, path: &[u8]) -> u128 {
        let [low, high] = &self.keys;
        let half = |keys: &RandomState| {
            let mut hasher = keys.build_hasher();
            hasher.write(path);
            u128::from(hasher.finish())
        };
        half(high) << 64 | half(low)
    }
}

impl Default for NamespaceChecker {
    fn default() -> Self {
        NamespaceChecker::new()
    }
}

/// The elements are hashes already.
type Prehashed = std::hash::BuildHasherDefault<LowHalf>;

#[derive(Debug, Default, Clone)]
struct LowHalf(u64);

impl Hasher for LowHalf {
    fn write(&mut self, bytes: &[u8]) {
        for &b in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(b);
        }
    }

    fn write_u128(&mut self, value: u128) {
        self.0 = value as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(paths: &[(&str, bool)]) -> Result<()> {
        let mut checker = NamespaceChecker::new();
        paths.iter().try_for_each(|&(path, is_directory)| {
            let entry_type = match is_directory {
                true => EntryType::Directory,
                false => EntryType::Regular,
            };
            checker.check(path.as_bytes(), entry_type)
        })
    }

    #[test]
    fn trees() {
        let good = [("a", true), ("a/b", true), ("c", true), ("a/b/x", false), ("x", false), ("c/x", false)];
        assert_eq!(check(&good), Ok(()));
        let refused = |paths: &[(&str, bool)], word: &str| {
            let e = check(paths).unwrap_err().to_string();
            assert!(e.contains(word), "{e}");
        };
        refused(&[("a", true), ("a", true)], "twice");
        refused(&[("a", false), ("a", false)], "twice");
        refused(&[("a", true), ("a", false)], "twice");
        refused(&[("a", false), ("a", true)], "twice");
        refused(&[("a/b", true), ("a", true)], "no earlier directory");
        refused(&[("a", false), ("a/b", false)], "no earlier directory");
    }

    #[test]
    fn many_paths() {
        let mut checker = NamespaceChecker::new();
        for i in 0..50_000u32 {
            checker.check(format!("f{i}").as_bytes(), EntryType::Regular).unwrap();
        }
        assert!(checker.check(b"f777", EntryType::Regular).is_err());
    }
}
