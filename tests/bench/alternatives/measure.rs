//! CPU time and memory of this process; the machine may be busy with other work.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::Result;

/// User and system time of this process so far.
pub fn cpu() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?.into())
}

/// CPU seconds of the median of `rounds` calls.
pub fn median_cpu(rounds: usize, mut call: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut seconds = Vec::new();
    for _ in 0..rounds {
        let begun = cpu()?;
        call()?;
        seconds.push((cpu()? - begun).as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    Ok(seconds[rounds / 2])
}

/// Largest resident size of this process so far, in MiB.
#[cfg(feature = "s3")]
pub fn peak_rss() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? >> 10)
}

pub const GIB: f64 = (1u64 << 30) as f64;
