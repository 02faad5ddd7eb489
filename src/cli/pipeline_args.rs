//! Flags of the part pipeline, the same for every command that reads all of an archive.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use clap::Args;

use super::signals;
use crate::error::{Error, Kind, Result};
use crate::restore::PipelineOptions;
use crate::store::S3Options;

#[derive(Debug, Args)]
pub struct PipelineArgs {
    /// Threads that check and write [default: one per CPU]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    workers: Option<u16>,
    /// Requests in flight; each takes --request-size of memory
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=4096))]
    in_flight: u16,
    /// Size of one request in MiB: 8, 16, 32, 64, ...
    #[arg(long, value_name = "MiB", default_value_t = 8)]
    request_size: u64,
    /// Memory to use at most, in MiB: fewer requests are in flight if need be [default: no limit]
    #[arg(long, value_name = "MiB", value_parser = clap::value_parser!(u64).range(1..))]
    memory: Option<u64>,
    /// Seconds after which the whole run is given up (exit code 16) [default: none]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    deadline: Option<u64>,
}

impl PipelineArgs {
    /// The flag that ends the run: for signals, and for the deadline, which counts from here.
    pub fn stop_flag(&self) -> Result<Arc<AtomicUsize>> {
        let stop = signals::stop_flag()?;
        if let Some(seconds) = self.deadline {
            signals::set_deadline(Duration::from_secs(seconds), &stop)?;
        }
        Ok(stop)
    }

    /// The options, and the same wishes for the S3 client.
    pub fn options(&self, s3: &mut S3Options) -> Result<PipelineOptions> {
        let parts = self.request_size / 8;
        if !self.request_size.is_multiple_of(8) || !parts.is_power_of_two() || parts > 64 {
            let message = format!("--request-size {}: must be 8 times a power of two, at most 512", self.request_size);
            return Err(Error::new(Kind::Usage, message));
        }
        let in_flight = match self.memory {
            Some(memory) => self.in_flight.min(in_flight_within(memory, self.request_size)?),
            None => self.in_flight,
        };
        s3.max_in_flight = in_flight;
        let mut options = PipelineOptions {
            in_flight: in_flight.into(),
            parts_per_request: parts,
            stall_timeout: s3.stall_timeout,
            ..PipelineOptions::default()
        };
        if let Some(workers) = self.workers {
            options.workers = workers.into();
        }
        Ok(options)
    }
}

/// What a run takes beside its requests, in MiB: the program, its threads, pieces of the directory.
const BESIDE_REQUESTS: u64 = 56;

/// How many requests fit in a budget (MiB). Each takes its bytes and about an eighth more: the list of what is in them.
fn in_flight_within(memory: u64, request_size: u64) -> Result<u16> {
    let fit = memory.saturating_sub(BESIDE_REQUESTS) * 8 / (9 * request_size);
    if fit == 0 {
        let least = BESIDE_REQUESTS + (9 * request_size).div_ceil(8);
        let message =
            format!("--memory {memory}: a restore needs at least {least} MiB for requests of {request_size} MiB");
        return Err(Error::new(Kind::Usage, message));
    }
    Ok(u16::try_from(fit).unwrap_or(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::in_flight_within;

    #[test]
    fn requests_within_a_budget() {
        assert_eq!(in_flight_within(256, 8).unwrap(), 22);
        assert_eq!(in_flight_within(65, 8).unwrap(), 1);
        assert!(in_flight_within(64, 8).is_err());
        assert!(in_flight_within(0, 512).is_err());
        assert_eq!(in_flight_within(u64::MAX / 8, 8).unwrap(), u16::MAX);
    }
}
