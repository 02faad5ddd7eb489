//! Files that lie in several parts, from the first of these parts to arrive to the last.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

/// A file that is being filled.
pub struct OpenFile {
    pub fd: OwnedFd,
    /// Held while writing: the kernel lets one writer at a time into an inode anyway, and waiting there costs more.
    pub writing: Mutex<()>,
}

#[derive(Default)]
struct Slot {
    file: Option<Arc<OpenFile>>,
    parts_done: u64,
}

/// By ordinal.
#[derive(Default)]
pub struct FileTable {
    slots: Mutex<HashMap<u64, Slot>>,
}

impl FileTable {
    /// The open file of an entry; `open` is called for the first part only. It also tells how many of the parts an
    /// earlier run has put in place.
    pub fn get<E>(&self, ordinal: u64, open: impl FnOnce() -> Result<(OwnedFd, u64), E>) -> Result<Arc<OpenFile>, E> {
        let mut slots = self.slots.lock().unwrap_or_else(|e| e.into_inner());
        let slot = slots.entry(ordinal).or_default();
        match &slot.file {
            Some(file) => Ok(file.clone()),
            None => {
                let (fd, before) = open()?;
                let file = Arc::new(OpenFile { fd, writing: Mutex::new(()) });
                slot.parts_done += before;
                slot.file = Some(file.clone());
                Ok(file)
            }
        }
    }

    /// One of the `parts` parts of this entry is in place; true for the last one, after which it is forgotten.
    pub fn part_done(&self, ordinal: u64, parts: u64) -> bool {
        let mut slots = self.slots.lock().unwrap_or_else(|e| e.into_inner());
        let slot = slots.entry(ordinal).or_default();
        slot.parts_done += 1;
        let last = slot.parts_done == parts;
        if last {
            slots.remove(&ordinal);
        }
        last
    }
}
