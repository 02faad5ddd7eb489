//! How many bytes may be on their way between producer and writer.

use std::sync::{Condvar, Mutex, PoisonError};

pub struct Budget {
    limit: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    used: u64,
    closed: bool,
}

impl Budget {
    pub fn new(limit: u64) -> Budget {
        Budget { limit, state: Mutex::default(), changed: Condvar::new() }
    }

    /// Waits until `bytes` fit, or nothing else is on its way. False once the budget is closed.
    pub fn take(&self, bytes: u64) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |state: &mut State| !state.closed && state.used > 0 && state.used + bytes > self.limit;
        let mut state = self.changed.wait_while(state, full).unwrap_or_else(PoisonError::into_inner);
        state.used += bytes;
        !state.closed
    }

    pub fn give_back(&self, bytes: u64) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).used -= bytes;
        self.changed.notify_one();
    }

    /// Whether the writer has given up or is done.
    pub fn is_closed(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).closed
    }

    /// Ends all waiting.
    pub fn close(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn waits_for_room_and_lets_one_large_job_through() {
        let budget = Budget::new(10);
        assert!(budget.take(100), "alone, anything fits");
        let waited = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                assert!(budget.take(1));
                assert!(waited.load(Ordering::SeqCst));
            });
            std::thread::sleep(std::time::Duration::from_millis(20));
            waited.store(true, Ordering::SeqCst);
            budget.give_back(100);
        });
        budget.close();
        assert!(!budget.take(100));
    }
}
