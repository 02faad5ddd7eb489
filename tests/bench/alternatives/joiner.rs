//! Alternative (b): parts cut an unaligned archive anywhere, and what a seam cuts is held until its other half is here.
//!
//! Shared by all workers. A fragment is copied, so that its part's buffer can go back to the pool at once.

use std::collections::HashMap;
use std::sync::Mutex;

use burst::format::directory_reader::PlacedEntry;
use burst::format::limits::GRID;

use crate::Result;
use crate::walk::walk;

/// What the index must say of a part so that it can be read without the one before it.
#[derive(Debug, Clone, Copy)]
pub struct Start {
    /// Offset in the part of its first whole item.
    pub first: usize,
    /// The entry that item belongs to.
    pub entry: usize,
}

pub struct Joiner<'a> {
    entries: &'a [PlacedEntry],
    starts: &'a [Start],
    /// By the number of the part after the seam: the half that came first.
    halves: Mutex<HashMap<u64, Half>>,
}

enum Half {
    Before(Vec<u8>),
    After(Vec<u8>),
}

impl<'a> Joiner<'a> {
    pub fn new(entries: &'a [PlacedEntry], starts: &'a [Start]) -> Self {
        Joiner { entries, starts, halves: Mutex::default() }
    }

    /// Takes a part whose checksum was found right.
    pub fn part(&self, index: u64, bytes: &[u8], write: &mut impl FnMut(usize, &[u8])) -> Result<()> {
        let start = self.starts[index as usize];
        let (before, whole) = bytes.split_at_checked(start.first).ok_or("the index does not fit")?;
        let base = index * GRID + start.first as u64;
        let end = walk(whole, base, self.entries, start.entry, write)?;
        self.half(index, Half::After(before.to_vec()), write)?;
        self.half(index + 1, Half::Before(whole[end..].to_vec()), write)
    }

    fn half(&self, seam: u64, half: Half, write: &mut impl FnMut(usize, &[u8])) -> Result<()> {
        if half.bytes().is_empty() {
            return Ok(());
        }
        let mut halves = self.halves.lock().unwrap_or_else(|e| e.into_inner());
        let Some(other) = halves.remove(&seam) else {
            halves.insert(seam, half);
            return Ok(());
        };
        drop(halves);
        let (Half::Before(mut joined), Half::After(after)) = (match half {
            Half::After(_) => (other, half),
            Half::Before(_) => (half, other),
        }) else {
            return Err("a part came twice".into());
        };
        let base = seam * GRID - joined.len() as u64;
        joined.extend_from_slice(&after);
        let entry = self.entries.partition_point(|placed| placed.entry.header_offset <= base) - 1;
        match walk(&joined, base, self.entries, entry, write)? == joined.len() {
            true => Ok(()),
            false => Err("what the index calls one item is none".into()),
        }
    }

    /// Bytes held, and the seams they wait at.
    pub fn held(&self) -> (usize, Vec<u64>) {
        let halves = self.halves.lock().unwrap_or_else(|e| e.into_inner());
        (halves.values().map(|half| half.bytes().len()).sum(), halves.keys().copied().collect())
    }
}

impl Half {
    fn bytes(&self) -> &[u8] {
        let (Half::Before(bytes) | Half::After(bytes)) = self;
        bytes
    }
}
