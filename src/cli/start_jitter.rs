//! `--start-jitter`: a restore that begins a random time later, so that the instances of a fleet, which boot together,
//! do not ask together.

use std::time::{Duration, Instant};

use super::{log, systemd};
use crate::error::Result;
use crate::restore::{StopFlag, check_stop};

/// How soon a signal or the deadline ends the waiting.
const STEP: Duration = Duration::from_millis(100);

/// Waits up to `longest`. The time comes from the random numbers of the operating system: one made of the instance's
/// id or name would be the same at each attempt, and so would be what collides.
pub fn wait(longest: Duration, quiet: bool, stop: &StopFlag) -> Result<()> {
    if longest.is_zero() {
        return Ok(());
    }
    let time = fraction(longest, crate::snapshot::random_id()?);
    if !quiet {
        log::say(format_args!("begins in {:.1} s (--start-jitter {} s)", time.as_secs_f64(), longest.as_secs()));
    }
    systemd::status(&format!("begins in {:.0} s", time.as_secs_f64()));
    let end = Instant::now() + time;
    loop {
        systemd::alive();
        check_stop(stop)?;
        match end.saturating_duration_since(Instant::now()) {
            Duration::ZERO => return Ok(()),
            left => std::thread::sleep(left.min(STEP)),
        }
    }
}

/// As much of `longest` as `random` is of all that it could be.
fn fraction(longest: Duration, random: [u8; 16]) -> Duration {
    let part = (u128::from_le_bytes(random) >> 96) as u32;
    longest.mul_f64(f64::from(part) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn up_to_all_of_it() {
        let longest = Duration::from_secs(60);
        assert_eq!(fraction(longest, [0; 16]), Duration::ZERO);
        assert_eq!(fraction(longest, [255; 16]), longest);
        let mut half = [0; 16];
        half[15] = 128;
        assert_eq!(fraction(longest, half).as_secs(), 30);
    }

    #[test]
    fn a_signal_ends_it() {
        let longest = Duration::from_secs(1 << 30);
        assert!(wait(longest, true, &AtomicUsize::new(15)).is_err());
        assert!(wait(Duration::ZERO, true, &AtomicUsize::new(0)).is_ok());
    }
}
