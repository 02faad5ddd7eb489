//! Flags of the part pipeline, the same for every command that reads all of an archive; and what it runs with when
//! flags, environment, configuration file and the machine have all been heard.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use clap::Args;

use super::{signals, units};
use crate::ec2::imds::Service;
use crate::error::Result;
use crate::restore::PipelineOptions;
use crate::store::S3Options;
use crate::tuning::facts::{self, Depth};
use crate::tuning::settings::{self, CONFIG_FILE};
use crate::tuning::{Facts, Roots, Settings, Tuning, policy};

const CONFIG_HELP: &str = "\
These can also be set by environment variables (BURST_IN_FLIGHT, ...) and in /etc/burst/config.toml (or the file that \
BURST_CONFIG names), by these names: workers, in_flight, request_size_mib, memory_mib, network_gbps, disk_mbps, \
network_interfaces, detect, log, log_format. \
A flag wins over the environment, that over the file, that over what is detected. `burst plan` shows the outcome.";

#[derive(Debug, Args)]
#[command(next_help_heading = "Tuning")]
pub struct PipelineArgs {
    /// Threads that do the work [default: one per CPU]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=u64::from(u16::MAX)))]
    #[arg(long_help = format!("Threads that do the work [default: one per CPU]\n\n{CONFIG_HELP}"))]
    workers: Option<u64>,
    /// Requests in flight; each takes --request-size of memory [default: by the instance type on EC2,
    /// else 16, and within --memory up to 64 as long as more are measured to be much faster]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=4096))]
    in_flight: Option<u64>,
    /// Size of one request: 8, 16, 32, 64, ... MiB [default: 8]
    #[arg(long, value_name = "MiB")]
    request_size: Option<u64>,
    /// Memory to use at most: fewer requests are in flight if need be [default: on EC2 half of what is
    /// available, else no limit]
    #[arg(long, value_name = "MiB", value_parser = clap::value_parser!(u64).range(1..))]
    memory: Option<u64>,
    /// Speed of the network in Gbit/s [default: what the instance type has]
    #[arg(long, value_name = "Gbit/s")]
    network_gbps: Option<f64>,
    /// Speed of the target's disks in MB/s [default: on EC2 what EBS gives, else unknown]
    #[arg(long, value_name = "MB/s")]
    disk_mbps: Option<f64>,
    /// Use this network interface; repeat it to spread the connections over several [default: one on each network card
    /// of instances that have several, else as the kernel's routes say]
    #[arg(long, value_name = "NAME")]
    network_interface: Vec<String>,
    /// Do not look at what instance this is
    #[arg(long)]
    no_detect: bool,
    /// Time after which the whole run is given up (exit code 16) [default: none]
    #[arg(long, value_name = "DURATION", value_parser = units::positive_duration)]
    deadline: Option<Duration>,
}

/// What a run is tuned to, and to what facts.
pub struct Tuned {
    pub facts: Facts,
    pub tuning: Tuning,
}

impl PipelineArgs {
    /// The flag that ends the run: for signals, and for the deadline, which counts from here.
    pub fn stop_flag(&self) -> Result<Arc<AtomicUsize>> {
        let stop = signals::stop_flag()?;
        if let Some(limit) = self.deadline {
            signals::set_deadline(limit, &stop)?;
        }
        Ok(stop)
    }

    /// The options, and the same wishes for the S3 client.
    pub fn options(&self, s3: &mut S3Options) -> Result<PipelineOptions> {
        Ok(self.tuned(None)?.options(s3))
    }

    /// What to run with, for a restore to `target`.
    pub fn tuned(&self, target: Option<&Path>) -> Result<Tuned> {
        self.tuned_on(&Roots::default(), Depth::Quick, target)
    }

    /// [`tuned`](Self::tuned) for the machine below `roots`.
    pub fn tuned_on(&self, roots: &Roots, depth: Depth, target: Option<&Path>) -> Result<Tuned> {
        let flags = Settings {
            workers: self.workers,
            in_flight: self.in_flight,
            request_size_mib: self.request_size,
            memory_mib: self.memory,
            network_gbps: self.network_gbps,
            disk_mbps: self.disk_mbps,
            network_interfaces: Some(self.network_interface.clone()).filter(|names| !names.is_empty()),
            detect: self.no_detect.then_some(false),
            ..Settings::default()
        };
        let tuned = tuned_with(flags, roots, depth, target)?;
        tuned.log();
        Ok(tuned)
    }
}

/// The configuration file's name, and what it sets. It is read once: it may be a pipe, and it cannot change between what
/// the log takes from it and what the tuning does.
pub fn config_file() -> Result<&'static (PathBuf, Settings)> {
    static READ: OnceLock<(PathBuf, Settings)> = OnceLock::new();
    if let Some(read) = READ.get() {
        return Ok(read);
    }
    let named = std::env::var_os("BURST_CONFIG").filter(|path| !path.is_empty());
    let path = named.as_ref().map_or_else(|| CONFIG_FILE.into(), PathBuf::from);
    let settings = Settings::from_file(&path, named.is_some())?;
    Ok(READ.get_or_init(|| (path, settings)))
}

/// What to run with, where `flags` were given.
pub fn tuned_with(flags: Settings, roots: &Roots, depth: Depth, target: Option<&Path>) -> Result<Tuned> {
    let variable = |name: &str| std::env::var(name).ok();
    let (config, file) = config_file()?;
    let given = settings::layered(flags, Settings::from_environment(variable)?, file.clone(), config)?;
    let service = match given.detect {
        Some((false, _)) => Service::Disabled,
        _ => Service::from_environment(),
    };
    let facts = facts::look(roots, &service, depth, target);
    let tuning = policy::decide(&facts, &given)?;
    Ok(Tuned { facts, tuning })
}

impl Tuned {
    /// The options, and the same wishes for the S3 client.
    pub fn options(&self, s3: &mut S3Options) -> PipelineOptions {
        let in_flight = self.tuning.in_flight.value;
        let most_in_flight = self.tuning.most_in_flight.as_ref().map_or(in_flight, |most| most.value);
        s3.max_in_flight = most_in_flight;
        s3.network_interfaces = self.tuning.interfaces.as_ref().map(|c| c.value.clone()).unwrap_or_default();
        PipelineOptions {
            workers: self.tuning.workers.value.into(),
            in_flight: in_flight.into(),
            most_in_flight: most_in_flight.into(),
            parts_per_request: self.tuning.request_size_mib.value / 8,
            stall_timeout: s3.stall_timeout,
        }
    }
}
