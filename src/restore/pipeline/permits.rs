//! What bounds the memory of a run.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// Bounds what is in flight. Requests that share a line all end at about the same time, until when there is nothing to
/// do: a run begins with a quarter of them, and each that is answered lets one more go.
pub struct Permits {
    total: usize,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    taken: usize,
    /// How many may be taken, up to the total.
    allowed: usize,
}

/// The right to hold one request's buffer and its list of entries; weighs as many permits as it says.
pub struct Permit(Arc<Permits>, usize);

/// Entries that are planned for weigh a permit (a buffer of 8 MiB) for so many: a part of tiny files has so many that
/// they would take more memory than the parts.
pub const ENTRIES_PER_PERMIT: usize = 8192;

impl Permits {
    /// `total`: at least 1.
    pub fn new(total: usize) -> Self {
        let state = State { taken: 0, allowed: total.div_ceil(4) };
        Permits { total, state: Mutex::new(state), changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Waits for `weight` permits, or for all if there are fewer.
    pub fn take(self: &Arc<Self>, weight: usize, timeout: Duration) -> Option<Permit> {
        let weight = weight.min(self.total);
        // Where nothing is in flight, nothing will be answered.
        let fits = |state: &State| state.taken + weight <= state.allowed || state.taken == 0;
        let waited = self.changed.wait_timeout_while(self.state(), timeout, |state| !fits(state));
        let (mut state, _) = waited.unwrap_or_else(|e| e.into_inner());
        if !fits(&state) {
            return None;
        }
        state.taken += weight;
        Some(Permit(self.clone(), weight))
    }

    /// A request was answered.
    pub fn answered(&self) {
        let mut state = self.state();
        if state.allowed < self.total {
            state.allowed += 1;
            self.changed.notify_all();
        }
    }

    /// Whether there is a permit now.
    pub fn any_left(&self) -> bool {
        let state = self.state();
        state.taken < state.allowed
    }

    pub fn taken(&self) -> usize {
        self.state().taken
    }

    pub fn wait_until_all_free(&self, timeout: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(self.state(), timeout, |state| state.taken > 0);
        waited.unwrap_or_else(|e| e.into_inner()).0.taken == 0
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.state().taken -= self.1;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    #[test]
    fn a_run_begins_with_a_quarter_and_grows_with_answers() {
        let permits = Arc::new(Permits::new(6));
        let mut held = vec![permits.take(1, NOW).unwrap(), permits.take(1, NOW).unwrap()];
        for taken in 2..6 {
            assert!(permits.take(1, NOW).is_none() && !permits.any_left());
            permits.answered();
            assert!(permits.any_left());
            held.push(permits.take(1, NOW).unwrap());
            assert_eq!(permits.taken(), taken + 1);
        }
        permits.answered();
        assert!(permits.take(1, NOW).is_none(), "never more than all");
        assert!(!permits.wait_until_all_free(NOW));
        held.pop();
        assert!(permits.take(1, NOW).is_some());
        drop(held);
        assert!(permits.wait_until_all_free(NOW));
    }

    #[test]
    fn what_weighs_more_than_there_is_goes_alone() {
        for total in [1, 2, 5] {
            let permits = Arc::new(Permits::new(total));
            let heavy = permits.take(total + 3, NOW).unwrap();
            assert!(permits.take(1, NOW).is_none());
            drop(heavy);
            let light = permits.take(1, NOW).unwrap();
            assert!(permits.take(total, NOW).is_none());
            drop(light);
        }
    }
}
