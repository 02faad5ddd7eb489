//! Which zstd level a snapshot is compressed with, if it may be chosen.

use super::policy::{Choice, Speed};
use super::settings::Origin;

/// Levels that are compared. Those between them differ too little; above 9 a level costs several times the time for a
/// few percent.
pub const CANDIDATES: [i32; 7] = [-5, -1, 1, 3, 5, 7, 9];

/// A level that takes this much longer than the fastest is worth it if it makes the archive smaller.
const WORTH: f64 = 1.05;

/// What one CPU does at a level.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    pub level: i32,
    /// Bytes of content per second.
    pub speed: f64,
    /// Content to archive.
    pub ratio: f64,
}

/// The smallest archive among those that take the least time: what `cpus` compress while the network takes it.
pub fn choose(measured: &[Measured], cpus: usize, network: Option<&Choice<Speed>>, default: i32) -> Choice<i32> {
    let Some(network) = network else {
        let reason = "the speed of the network is not known (say --network-gbps)".to_owned();
        return Choice { value: default, origin: Origin::Default, reason };
    };
    // An upload may last longer than credits do.
    let line = network.value.baseline;
    let compressed = |m: &Measured| m.speed * cpus as f64;
    let sent = |m: &Measured| m.ratio * line;
    let rate = |m: &Measured| compressed(m).min(sent(m));
    let best = measured.iter().map(rate).fold(0.0, f64::max);
    let chosen = measured.iter().filter(|m| rate(m) * WORTH >= best).max_by_key(|m| m.level);
    let Some(chosen) = chosen else {
        return Choice { value: default, origin: Origin::Default, reason: "nothing was measured".into() };
    };
    let reason = format!(
        "{cpus} CPUs compress {:.0} MB/s at it, and {:.3} Gbit/s take {:.0} MB/s of content so compressed: the {} the limit",
        compressed(chosen) / 1e6,
        line * 8.0 / 1e9,
        sent(chosen) / 1e6,
        if compressed(chosen) < sent(chosen) { "CPUs are" } else { "network is" },
    );
    Choice { value: chosen.level, origin: Origin::Detected, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEASURED: [Measured; 4] = [
        Measured { level: -5, speed: 800e6, ratio: 1.6 },
        Measured { level: 1, speed: 400e6, ratio: 2.2 },
        Measured { level: 3, speed: 240e6, ratio: 2.4 },
        Measured { level: 9, speed: 40e6, ratio: 2.6 },
    ];

    fn chosen(cpus: usize, gbps: f64) -> i32 {
        let rate = gbps * 1e9 / 8.0;
        let value = Speed { baseline: rate, peak: rate, peak_seconds: 1.0 };
        let network = Choice { value, origin: Origin::Flag, reason: String::new() };
        choose(&MEASURED, cpus, Some(&network), 3).value
    }

    #[test]
    fn a_slow_network_gets_small_archives_and_a_fast_one_fast_compression() {
        assert_eq!(chosen(2, 0.1), 9);
        assert_eq!(chosen(2, 1.0), 3);
        assert_eq!(chosen(2, 25.0), -5);
        assert_eq!(chosen(64, 1.0), 9);
        let levels: Vec<i32> = [0.05, 0.5, 1.0, 2.0, 5.0, 10.0, 50.0].iter().map(|&gbps| chosen(4, gbps)).collect();
        assert!(levels.is_sorted_by(|a, b| a >= b), "{levels:?}");
    }

    #[test]
    fn without_a_network_the_default() {
        assert_eq!(choose(&MEASURED, 2, None, 3).value, 3);
    }
}
