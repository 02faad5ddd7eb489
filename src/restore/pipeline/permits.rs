//! What bounds the memory of a run.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tracing::debug;

/// Bounds what is in flight. Requests that share a line all end at about the same time, until when there is nothing to
/// do: a run begins with a quarter of them, and each that is answered lets one more go. Where more than that are allowed
/// as a trial, they are tried: twice as many, as long as that is much faster.
pub struct Permits {
    most: usize,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    taken: usize,
    /// How many may be taken, up to the total.
    allowed: usize,
    total: usize,
    /// Requests that are answered and not yet dealt with.
    answered: usize,
    trial: Trial,
}

/// How fast requests were dealt with: written, not just answered, as more in flight also means more that wait for workers.
struct Trial {
    begun: Instant,
    done: usize,
    /// The integral of how many were answered and not yet dealt with, in seconds, and up to when.
    waited: f64,
    until: Instant,
    /// How many there were before, and how many requests were done in a second then.
    before: usize,
    rate: f64,
    /// A trial lasts this many times as many requests as may be in flight.
    length: usize,
}

/// A trial is as long as this, and as many requests as may be in flight; after one that failed, ten times as many are
/// waited for: something else may have been in the way.
const TRIAL: Duration = Duration::from_millis(250);
const AFTER_FAILURE: usize = 10;

/// Twice as many in flight must be faster by this factor. It would be 2 if each had a limit of its own, and parts of
/// many files differ from others by less.
const WORTH_IT: f64 = 1.3;

/// The right to hold one request's buffer and its list of entries; weighs as many permits as it says.
pub struct Permit(Arc<Permits>, usize);

/// Entries that are planned for weigh a permit (a buffer of 8 MiB) for so many: a part of tiny files has so many that
/// they would take more memory than the parts.
pub const ENTRIES_PER_PERMIT: usize = 8192;

impl Permits {
    /// `total`: at least 1; up to `most` if they turn out faster.
    pub fn new(total: usize, most: usize) -> Self {
        let now = Instant::now();
        let trial = Trial { begun: now, done: 0, waited: 0.0, until: now, before: total, rate: 0.0, length: 1 };
        let state = State { taken: 0, allowed: total.div_ceil(4), total, answered: 0, trial };
        Permits { most, state: Mutex::new(state), changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Waits for `weight` permits, or for all if there are fewer.
    pub fn take(self: &Arc<Self>, weight: usize, timeout: Duration) -> Option<Permit> {
        let weight = weight.min(self.state().total);
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
        let now = Instant::now();
        state.wait_until(now);
        state.answered += 1;
        if state.allowed < state.total {
            state.allowed += 1;
            state.trial.begin(now);
            self.changed.notify_all();
        }
    }

    /// What one request brought is in its place.
    fn done(&self, weight: usize, now: Instant) {
        let mut state = self.state();
        state.taken -= weight;
        state.tried(self.most, now);
        self.changed.notify_all();
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

impl State {
    fn wait_until(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.trial.until);
        self.trial.waited += self.answered as f64 * elapsed.as_secs_f64();
        self.trial.until = now;
    }

    /// One more request is done: whether to go on with more, or with as many as before.
    fn tried(&mut self, most: usize, now: Instant) {
        self.wait_until(now);
        self.answered = self.answered.saturating_sub(1);
        self.trial.done += 1;
        let elapsed = now.saturating_duration_since(self.trial.begun);
        let enough = self.trial.length * self.total;
        if most <= self.trial.before || self.allowed < self.total || self.trial.done < enough || elapsed < TRIAL {
            return;
        }
        let seconds = elapsed.as_secs_f64();
        let waits_for_workers = self.trial.waited > seconds * self.total as f64 / 2.0;
        if waits_for_workers && self.total == self.trial.before {
            return self.trial.begin(now);
        }
        let rate = self.trial.done as f64 / seconds;
        let worth_it = !waits_for_workers && rate >= WORTH_IT * self.trial.rate;
        debug!(in_flight = self.total, requests_per_second = rate, worth_it, "tried so many requests in flight");
        if worth_it {
            (self.trial.rate, self.trial.before, self.trial.length) = (rate, self.total, 1);
            self.total = most.min(2 * self.total);
        } else {
            (self.trial.rate, self.trial.length) = (0.0, AFTER_FAILURE);
            self.total = self.trial.before;
        }
        self.allowed = self.total;
        self.trial.begin(now);
    }
}

impl Trial {
    fn begin(&mut self, now: Instant) {
        self.begun = now;
        self.done = 0;
        self.waited = 0.0;
        self.until = now;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.done(self.1, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    #[test]
    fn a_run_begins_with_a_quarter_and_grows_with_answers() {
        let permits = Arc::new(Permits::new(6, 6));
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

    /// How many were allowed, one after the other, where so many in flight are dealt with at this rate, and so many wait.
    fn tried(total: usize, most: usize, answered: usize, rate: impl Fn(usize) -> f64) -> Vec<usize> {
        let permits = Permits::new(total, most);
        let mut state = permits.state();
        state.allowed = total;
        let mut now = state.trial.begun;
        let mut seen = vec![total];
        for _ in 0..10_000 {
            now += Duration::from_secs_f64(1.0 / rate(state.total));
            state.answered = answered;
            state.tried(most, now);
            assert_eq!(state.allowed, state.total);
            if seen.last() != Some(&state.total) {
                seen.push(state.total);
            }
        }
        seen.truncate(4);
        seen
    }

    #[test]
    fn more_are_tried_as_long_as_they_are_faster() {
        // Each request has a limit of its own; all share a line; first the one, then the other.
        assert_eq!(tried(16, 64, 2, |n| 10.0 * n as f64), [16, 32, 64]);
        assert_eq!(tried(16, 64, 2, |_| 100.0), [16, 32, 16, 32]);
        assert_eq!(tried(16, 64, 2, |n| (10.0 * n as f64).min(400.0)), [16, 32, 64, 32]);
        assert_eq!(tried(16, 50, 2, |n| 10.0 * n as f64), [16, 32, 50]);
        assert_eq!(tried(16, 16, 2, |n| 10.0 * n as f64), [16]);
        assert_eq!(tried(16, 64, 12, |n| 10.0 * n as f64), [16], "most wait for the workers");
        assert_eq!(tried(1, 3, 0, |n| 10.0 * n as f64), [1, 2, 3]);
    }

    #[test]
    fn what_weighs_more_than_there_is_goes_alone() {
        for total in [1, 2, 5] {
            let permits = Arc::new(Permits::new(total, total));
            let heavy = permits.take(total + 3, NOW).unwrap();
            assert!(permits.take(1, NOW).is_none());
            drop(heavy);
            let light = permits.take(1, NOW).unwrap();
            assert!(permits.take(total, NOW).is_none());
            drop(light);
        }
    }
}
