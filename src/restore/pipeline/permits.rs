//! What bounds the memory of a run.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// Bounds what is in flight.
pub struct Permits {
    total: usize,
    free: Mutex<usize>,
    changed: Condvar,
}

/// The right to hold one request's buffer and its list of entries; weighs as many permits as it says.
pub struct Permit(Arc<Permits>, usize);

/// Entries that are planned for weigh a permit (a buffer of 8 MiB) for so many: a part of tiny files has so many that
/// they would take more memory than the parts.
pub const ENTRIES_PER_PERMIT: usize = 8192;

impl Permits {
    pub fn new(total: usize) -> Self {
        Permits { total, free: Mutex::new(total), changed: Condvar::new() }
    }

    /// Waits for `weight` permits, or for all if there are fewer.
    pub fn take(self: &Arc<Self>, weight: usize, timeout: Duration) -> Option<Permit> {
        let weight = weight.min(self.total);
        let free = self.free.lock().unwrap_or_else(|e| e.into_inner());
        let (mut free, _) =
            self.changed.wait_timeout_while(free, timeout, |free| *free < weight).unwrap_or_else(|e| e.into_inner());
        *free = free.checked_sub(weight)?;
        Some(Permit(self.clone(), weight))
    }

    pub fn taken(&self) -> usize {
        self.total - *self.free.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub fn wait_until_all_free(&self, timeout: Duration) -> bool {
        let free = self.free.lock().unwrap_or_else(|e| e.into_inner());
        let (free, _) = self
            .changed
            .wait_timeout_while(free, timeout, |free| *free < self.total)
            .unwrap_or_else(|e| e.into_inner());
        *free == self.total
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(|e| e.into_inner()) += self.1;
        self.0.changed.notify_all();
    }
}
