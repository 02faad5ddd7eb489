//! Which part to ask for next. Directories differ: a part of a large file is done at once, a part of thousands of small
//! files keeps a worker busy for long. In the order of the archive they come in stretches, in which the workers wait
//! for the network or the network for the workers. Asked for in turn, both are busy from begin to end.

use std::cmp::Reverse;

/// How far to look ahead: what waits takes memory, and keeps files open that go on in it.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub requests: usize,
    /// Sum of their costs.
    pub cost: u64,
}

/// What could be asked for now.
#[derive(Debug)]
pub struct Mix<T> {
    /// With their costs, in the order of the archive.
    waiting: Vec<(u64, T)>,
    /// Sum of these costs.
    cost: u64,
    /// Costs the workers should have got by now, less what they got.
    due: i64,
    limits: Limits,
}

impl<T> Mix<T> {
    pub fn new(limits: Limits) -> Self {
        Mix { waiting: Vec::new(), cost: 0, due: 0, limits }
    }

    /// `cost`: entries, for the time of a worker grows with them.
    pub fn push(&mut self, cost: u64, request: T) {
        self.cost += cost;
        self.waiting.push((cost, request));
    }

    /// Whether something must be taken before more is read.
    pub fn is_full(&self) -> bool {
        self.waiting.len() >= self.limits.requests || self.cost >= self.limits.cost
    }

    /// One of the costliest when the workers got less than is due, else one of the cheapest; of equals the first. Due is
    /// twice the mean: the workers have something to do early, and little to do for the last parts, which come when the
    /// line has nothing left to bring.
    pub fn take(&mut self) -> Option<T> {
        let due = 2 * self.cost.checked_div(self.waiting.len() as u64)? as i64;
        // Where all parts are alike nothing is saved up.
        self.due = (self.due + due).min(due);
        let classes = self.waiting.iter().map(|&(cost, _)| class(cost)).enumerate();
        let next = match self.due > 0 {
            true => classes.max_by_key(|&(place, class)| (class, Reverse(place))),
            false => classes.min_by_key(|&(place, class)| (class, place)),
        };
        let (cost, request) = self.waiting.remove(next?.0);
        self.cost -= cost;
        self.due -= cost as i64;
        Some(request)
    }
}

/// Costs that differ by less than a factor of two are as good as equal, as are small ones: no reason to leave the order
/// of the archive.
fn class(cost: u64) -> u32 {
    cost.max(128).ilog2()
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// Entries in the parts of an archive of 1.3 GB of a Debian system's /usr.
    const OS_TREE: [u64; 62] = [
        4403, 25, 141, 94, 286, 1, 1, 1, 23, 3, 1, 1, 105, 63, 134, 58, 1, 676, 2881, 2050, 2421, 254, 56, 2, 1, 173,
        17, 9, 132, 309, 4766, 878, 511, 473, 684, 370, 308, 745, 240, 762, 5816, 153, 661, 501, 590, 551, 607, 498,
        502, 2869, 5907, 5911, 4651, 4462, 1379, 3, 1, 1, 703, 2198, 873, 2071,
    ];
    /// Gbit/s, and what [`line_and_workers_are_both_busy`] finds.
    const TABLE: [(f64, [i64; 3]); 6] = [
        (1.0, [21, 4, 1]),
        (1.5, [37, 19, 5]),
        (2.0, [25, 21, 8]),
        (3.0, [15, 14, 5]),
        (5.0, [10, 8, 3]),
        (20.0, [3, 2, 1]),
    ];
    const WORKERS: usize = 2;
    const IN_FLIGHT: usize = 16;

    /// The order in which parts are asked for when the first `early` are before there is a choice.
    fn order(costs: &[u64], limits: Limits, early: usize) -> Vec<usize> {
        let mut mix = Mix::new(limits);
        let mut order = Vec::new();
        for (part, &cost) in costs.iter().enumerate() {
            mix.push(cost, part);
            while mix.is_full() || order.len() < early {
                let Some(next) = mix.take() else { break };
                order.push(next);
            }
        }
        order.extend(std::iter::from_fn(|| mix.take()));
        order
    }

    /// Seconds that a part takes a worker, about as measured: something for its bytes, something for each entry.
    fn work(cost: u64) -> f64 {
        0.01 + 70e-6 * cost as f64
    }

    /// Seconds until all is done. The line brings a part in `line` seconds, or several at once as much slower. `early`
    /// requests are made at first; each that is answered lets one more go.
    fn simulate(order: &[usize], line: f64, early: usize) -> f64 {
        let mut waiting = order.iter().copied();
        let (mut on_line, mut arrived, mut at_work) = (Vec::new(), VecDeque::new(), Vec::new());
        let (mut now, mut allowed) = (0.0, early);
        loop {
            while on_line.len() + arrived.len() + at_work.len() < allowed.min(IN_FLIGHT) {
                let Some(part) = waiting.next() else { break };
                on_line.push((part, line));
            }
            while at_work.len() < WORKERS {
                let Some(part) = arrived.pop_front() else { break };
                at_work.push(now + work(OS_TREE[part]));
            }
            let sharing = on_line.len() as f64;
            let events = on_line.iter().map(|(_, left)| now + left * sharing).chain(at_work.iter().copied());
            let Some(next) = events.min_by(f64::total_cmp) else { return now };
            for (_, left) in &mut on_line {
                *left -= (next - now) / sharing;
            }
            now = next;
            for (part, _) in on_line.extract_if(.., |(_, left)| *left < 1e-9) {
                arrived.push_back(part);
                allowed += 1;
            }
            at_work.retain(|&end| end > now);
        }
    }

    const LIMITS: Limits = Limits { requests: 128, cost: 2048 * IN_FLIGHT as u64 };

    /// The table in spec/discussion.md, section 7.
    #[test]
    fn line_and_workers_are_both_busy() {
        let of_archive: Vec<usize> = (0..OS_TREE.len()).collect();
        let mixed = order(&OS_TREE, LIMITS, IN_FLIGHT / 4);
        let workers = OS_TREE.iter().map(|&cost| work(cost)).sum::<f64>() / WORKERS as f64;
        // Percent more than the bound: in the order of the archive with all permits, in turn with all, with a quarter.
        for (gbits, expected) in TABLE {
            let line = 8.0 * f64::from(8 << 20) / (gbits * 1e9);
            let bound = workers.max(line * OS_TREE.len() as f64);
            let over = |order: &[usize], early| (100.0 * (simulate(order, line, early) / bound - 1.0)).round() as i64;
            let found = [over(&of_archive, IN_FLIGHT), over(&mixed, IN_FLIGHT), over(&mixed, IN_FLIGHT / 4)];
            assert_eq!(found, expected, "{gbits} Gbit/s");
        }
    }

    #[test]
    fn every_part_is_taken_once_and_no_limit_is_passed() {
        for limits in [LIMITS, Limits { requests: 1, cost: 1 << 40 }, Limits { requests: 5, cost: 9000 }] {
            for early in [0, 4, 100] {
                let mut taken = order(&OS_TREE, limits, early);
                for (step, &part) in taken.iter().enumerate() {
                    assert!(part < step + limits.requests, "part {part} was read before {step} were taken");
                }
                taken.sort_unstable();
                assert!(taken.into_iter().eq(0..OS_TREE.len()));
            }
        }
        assert_eq!(Mix::<()>::new(LIMITS).take(), None);
    }

    #[test]
    fn equal_parts_keep_their_order() {
        let alike: Vec<u64> = (0..200).map(|n| 1 + n % 120).collect();
        assert!(order(&alike, LIMITS, 0).into_iter().eq(0..200));
        // Tiny files: as many in each part, about.
        let many: Vec<u64> = (0..200).map(|n| 8200 + n * 37 % 5000).collect();
        assert!(order(&many, LIMITS, 0).into_iter().eq(0..200));
    }

    #[test]
    fn costly_and_cheap_parts_come_in_turn() {
        let costs = [1000, 1000, 1, 1, 1, 1, 1, 1];
        assert_eq!(order(&costs, LIMITS, 0), [0, 2, 1, 3, 4, 5, 6, 7]);
    }
}
