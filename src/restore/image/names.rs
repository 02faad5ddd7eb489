//! What is kept of every entry until the directories are written: its name, directory, place there and type, about 20
//! bytes and the name.

use std::collections::HashMap;

use crate::btrfs_image::constants::ROOT_DIRECTORY;
use crate::btrfs_image::inode::{Inode, file_type};
use crate::error::{Error, Kind, Result};
use crate::format::Entry;
use crate::format::entry::{EntryType, split_parent};

/// Stands for an ordinal without a name.
const NONE: u32 = u32::MAX;

/// The first index in a directory (fs/btrfs/btrfs_inode.h, BTRFS_DIR_START_INDEX): 0 and 1 are "." and "..".
const FIRST_INDEX: u32 = 2;

pub struct Directory {
    pub inode: Inode,
    next_index: u32,
}

/// Directory and place of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Inode number.
    pub parent: u64,
    pub index: u64,
}

#[derive(Default)]
pub struct Names {
    /// Path to the inode of the directory, counted from the root's.
    paths: HashMap<Box<[u8]>, u32>,
    /// The root and then the directories of the archive, which come first in it.
    pub directories: Vec<Directory>,
    /// Per ordinal: directory (counted from the root), index there, type, end of its name.
    parents: Vec<u32>,
    indexes: Vec<u32>,
    types: Vec<u8>,
    ends: Vec<u64>,
    bytes: Vec<u8>,
    /// Ordinals of hard links and of what they name.
    links: HashMap<u32, u32>,
    /// The other way round.
    linked: HashMap<u32, Vec<u32>>,
}

/// The inode number of an entry.
pub fn inode_number(ordinal: u64) -> u64 {
    ROOT_DIRECTORY + 1 + ordinal
}

impl Names {
    pub fn new(root: Inode, entries: u64) -> Names {
        let mut names = Names::default();
        names.paths.insert(Box::default(), 0);
        names.directories.push(Directory { inode: root, next_index: FIRST_INDEX });
        let entries = entries as usize;
        names.parents.reserve(entries);
        names.indexes.reserve(entries);
        names.types.reserve(entries);
        names.ends.reserve(entries);
        names
    }

    /// Adds the next entry; a directory with its inode.
    pub fn add(&mut self, entry: &Entry, directory: Option<Inode>) -> Result<()> {
        let refuse = |what: &str| {
            let message = format!("entry \"{}\": {what}", entry.path.escape_ascii());
            Err(Error::new(Kind::Corrupt, message))
        };
        let ordinal = entry.ordinal as u32;
        // Only the entry that stands for an empty tree is never announced.
        while self.parents.len() < ordinal as usize {
            self.push(NONE, 0, 0, &[]);
        }
        let (parent, name) = split_parent(&entry.path);
        let Some(&parent) = self.paths.get(parent) else { return refuse("its directory is missing") };
        let Some(up) = self.directories.get_mut(parent as usize) else { return refuse("its directory is missing") };
        let index = up.next_index;
        up.next_index += 1;
        // A directory's size is what its names take in DIR_ITEM and DIR_INDEX (fs/btrfs/inode.c, btrfs_add_link).
        up.inode.size += 2 * name.len() as u64;
        let mut mode = entry.entry_type.mode_bits();
        if let EntryType::HardLink { target } = entry.entry_type {
            let target = target as u32;
            let Some(&found) = self.types.get(target as usize) else { return refuse("it links to nothing") };
            self.links.insert(ordinal, target);
            self.linked.entry(target).or_default().push(ordinal);
            self.push(parent, index, found, name);
            return Ok(());
        }
        if let Some(inode) = directory {
            mode = inode.mode;
            if self.directories.len() != ordinal as usize + 1 {
                return refuse("a directory after another kind of entry");
            }
            self.paths.insert(entry.path.as_slice().into(), ordinal + 1);
            self.directories.push(Directory { inode, next_index: FIRST_INDEX });
        }
        self.push(parent, index, file_type(mode), name);
        Ok(())
    }

    fn push(&mut self, parent: u32, index: u32, file_type: u8, name: &[u8]) {
        self.parents.push(parent);
        self.indexes.push(index);
        self.types.push(file_type);
        self.bytes.extend_from_slice(name);
        self.ends.push(self.bytes.len() as u64);
    }

    /// Where an entry's name is; None if it was not announced.
    pub fn place(&self, ordinal: u64) -> Option<Place> {
        let at = ordinal as usize;
        let parent = self.parents.get(at).filter(|&&parent| parent != NONE)?;
        let index = self.indexes.get(at)?;
        Some(Place { parent: ROOT_DIRECTORY + u64::from(*parent), index: u64::from(*index) })
    }

    pub fn name(&self, ordinal: u64) -> &[u8] {
        let at = ordinal as usize;
        let start = at.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        let end = self.ends.get(at).copied().unwrap_or(start);
        self.bytes.get(start as usize..end as usize).unwrap_or_default()
    }

    pub fn file_type(&self, ordinal: u64) -> u8 {
        self.types.get(ordinal as usize).copied().unwrap_or_default()
    }

    /// The inode behind a name.
    pub fn inode(&self, ordinal: u64) -> u64 {
        let target = self.links.get(&(ordinal as u32)).copied().map_or(ordinal, u64::from);
        inode_number(target)
    }

    /// The further names of an entry.
    pub fn links_to(&self, ordinal: u64) -> &[u32] {
        self.linked.get(&(ordinal as u32)).map_or(&[], Vec::as_slice)
    }

    /// Ordinals grouped by directory, in the order of their indexes, and where each directory's begin.
    pub fn by_directory(&self) -> (Vec<u32>, Vec<usize>) {
        let mut starts = vec![0; self.directories.len() + 1];
        let wanted = || self.parents.iter().zip(0u32..).filter(|(parent, _)| **parent != NONE);
        for (&parent, _) in wanted() {
            if let Some(count) = starts.get_mut(parent as usize + 1) {
                *count += 1;
            }
        }
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        let (mut next, mut order) = (starts.clone(), vec![0; sum]);
        for (&parent, ordinal) in wanted() {
            if let Some(next) = next.get_mut(parent as usize)
                && let Some(place) = order.get_mut(*next)
            {
                *place = ordinal;
                *next += 1;
            }
        }
        (order, starts)
    }
}
