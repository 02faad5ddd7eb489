//! From facts to numbers, each with its reason. A pure function: it looks at nothing but its arguments and the table of
//! instance types.

use std::collections::BTreeMap;

use super::facts::{DeviceKind, Facts};
use super::instance_types::{self, Found};
use super::settings::{Given, Origin};
use crate::ec2::InstanceType;
use crate::error::{Error, Kind, Result};

/// Requests in flight where nothing is known of the network.
pub const DEFAULT_IN_FLIGHT: u16 = 16;

/// What is tried there at most, as long as more of them are measured to be much faster: enough for 45 Gbit/s at best.
const MOST_IN_FLIGHT: u16 = 64;

/// Gbit/s for which aws-c-s3 opens one connection to S3; and what one gives at best: S3's own guide counts 85 to 90 MB/s.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance-guidelines.html>
const GBPS_PER_CONNECTION: f64 = 0.4;
const GBPS_PER_CONNECTION_AT_BEST: f64 = 0.7;

/// MB/s of a gp3 volume that nothing more was paid for, which also most other types reach at least.
/// <https://docs.aws.amazon.com/ebs/latest/userguide/general-purpose.html>
const GP3_MBPS: f64 = 125.0;

/// How long credits last at least: 5 to 60 minutes for the network, 30 minutes a day for EBS.
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-network-bandwidth.html>
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ebs-optimized.html>
const NETWORK_BURST_SECONDS: f64 = 300.0;
const EBS_BURST_SECONDS: f64 = 1800.0;

/// What a run takes beside its requests, in MiB: the program, its threads, pieces of the directory.
const BESIDE_REQUESTS: u64 = 56;

/// A number, where it is from, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice<T> {
    pub value: T,
    pub origin: Origin,
    pub reason: String,
}

/// A speed in bytes per second: what always can be had, and what can be had for some seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speed {
    pub baseline: f64,
    pub peak: f64,
    pub peak_seconds: f64,
}

impl Speed {
    fn constant(rate: f64) -> Speed {
        Speed { baseline: rate, peak: rate, peak_seconds: f64::INFINITY }
    }

    fn at_most(self, rate: f64) -> Speed {
        Speed { baseline: self.baseline.min(rate), peak: self.peak.min(rate), ..self }
    }

    /// Seconds for so many bytes, beginning with all credits.
    pub fn seconds(&self, bytes: u64) -> f64 {
        let bytes = bytes as f64;
        let at_peak = self.peak * self.peak_seconds;
        if bytes <= at_peak { bytes / self.peak } else { self.peak_seconds + (bytes - at_peak) / self.baseline }
    }
}

/// All that is chosen for a restore, and what it is chosen from.
#[derive(Debug, Clone, PartialEq)]
pub struct Tuning {
    /// None if nothing is known.
    pub network: Option<Choice<Speed>>,
    /// None: the kernel's routes decide.
    pub interfaces: Option<Choice<Vec<String>>>,
    pub disk: Option<Choice<Speed>>,
    /// Gbit/s that is aimed at.
    pub target_gbps: Option<Choice<f64>>,
    /// Threads that check and write.
    pub workers: Choice<u16>,
    /// Requests in flight, each on its own connection.
    pub in_flight: Choice<u16>,
    /// Up to as many are tried; None: no more than begun with.
    pub most_in_flight: Option<Choice<u16>>,
    pub request_size_mib: Choice<u64>,
    /// None: no limit but the number of requests.
    pub memory_mib: Option<Choice<u64>>,
}

/// Decides.
pub fn decide(facts: &Facts, given: &Given) -> Result<Tuning> {
    let found = match given.detect {
        Some((false, _)) => None,
        _ => facts.instance.as_ref().and_then(|i| i.instance_type.as_deref()).map(|name| {
            let described = facts.described.clone().map(Found::Described);
            (name, described.or_else(|| instance_types::find(name)))
        }),
    };
    let found = found.as_ref();
    let (interfaces, cards) = interfaces(facts, found, given);
    let network = network(found, given, cards);
    let ebs_target = facts
        .target
        .as_ref()
        .map(|target| target.devices.iter().filter(|d| matches!(d.kind, DeviceKind::Ebs(_))).count())
        .filter(|&volumes| volumes > 0 && facts.target.as_ref().is_some_and(|t| t.devices.len() == volumes));
    let disk = disk(found, given, ebs_target);
    let target_gbps = target_gbps(network.as_ref(), found, given, ebs_target.is_some());
    let workers = workers(facts, given);
    let request_size_mib = match given.request_size_mib {
        Some((value, origin)) => Choice { value, origin, reason: "as given".into() },
        None => choice(8, Origin::Default, "one part of the archive: the least memory for each request"),
    };
    let (in_flight, memory_mib) =
        in_flight(facts, given, found.is_some(), target_gbps.as_ref(), workers.value, request_size_mib.value)?;
    // Only within a budget: without one, memory must not depend on what is tried.
    let budget = memory_mib.as_ref().filter(|_| target_gbps.is_none() && given.in_flight.is_none());
    let most_in_flight = budget.map(|budget| most_in_flight(budget.value, request_size_mib.value));
    let most_in_flight = most_in_flight.filter(|most| most.value > in_flight.value);
    Ok(Tuning {
        network,
        interfaces,
        disk,
        target_gbps,
        workers,
        in_flight,
        most_in_flight,
        request_size_mib,
        memory_mib,
    })
}

fn choice<T>(value: T, origin: Origin, reason: impl Into<String>) -> Choice<T> {
    Choice { value, origin, reason: reason.into() }
}

/// A type by its name, and what was found of it.
type Named<'a> = Option<&'a (&'a str, Option<Found>)>;

fn likeness((name, found): &(&str, Option<Found>)) -> Option<(InstanceType, String)> {
    let found = found.as_ref()?;
    let it = found.instance_type().clone();
    let text = match found {
        Found::Described(_) => format!("{name} as EC2 describes it"),
        Found::Exact(_) => (*name).to_owned(),
        Found::SameFamily(_) => format!("{name}, which is newer than the table: taken for {} of its family", it.name),
        Found::SameClass(_) => format!("{name}, whose family is newer than the table: taken for {}", it.name),
    };
    Some((it, text))
}

/// Network interfaces to use, if the choice is not left to the kernel; and on how many network cards they are.
fn interfaces(facts: &Facts, found: Named<'_>, given: &Given) -> (Option<Choice<Vec<String>>>, u32) {
    // One for each card: what several share is no faster.
    let mut cards: BTreeMap<u32, &str> = BTreeMap::new();
    let wanted = |name: &String| given.network_interfaces.as_ref().is_none_or(|(names, _)| names.contains(name));
    for interface in facts.interfaces.iter().filter(|interface| wanted(&interface.name)) {
        if let Some(card) = interface.card {
            cards.entry(card).or_insert(&interface.name);
        }
    }
    let count = u32::try_from(cards.len()).unwrap_or(u32::MAX);
    if let Some((names, origin)) = &given.network_interfaces {
        return (Some(choice(names.clone(), *origin, "as given")), count.max(1));
    }
    if found.is_none() || count < 2 {
        return (None, 1);
    }
    let names = cards.values().map(|name| (*name).to_owned()).collect();
    (Some(choice(names, Origin::Detected, format!("one on each of {count} network cards"))), count)
}

/// `cards`: how many network cards are used.
fn network(found: Named<'_>, given: &Given, cards: u32) -> Option<Choice<Speed>> {
    if let Some((gbps, origin)) = given.network_gbps {
        return Some(choice(Speed::constant(gbps * 1e9 / 8.0), origin, "as given"));
    }
    let (it, name) = likeness(found?)?;
    // Only card 0 is described; in no type is another one slower.
    let cards = cards.min(it.network_cards);
    let (baseline, peak) = (it.network_baseline_gbps * f64::from(cards), it.network_peak_gbps * f64::from(cards));
    let mut reason = match baseline < peak {
        true => format!("{name}: {peak} Gbit/s while credits last (5 minutes at least), then {baseline} Gbit/s"),
        false => format!("{name}: {peak} Gbit/s"),
    };
    if it.network_cards > 1 {
        let used = if cards == 1 { "one".to_owned() } else { cards.to_string() };
        let are = if cards == 1 { "is" } else { "are" };
        reason += &format!("; {used} of {} network cards {are} used", it.network_cards);
    }
    let speed = Speed { baseline: baseline * 1e9 / 8.0, peak: peak * 1e9 / 8.0, peak_seconds: NETWORK_BURST_SECONDS };
    Some(choice(speed, Origin::Detected, reason))
}

/// `volumes`: how many EBS volumes the target is on, if it is on nothing else.
fn disk(found: Named<'_>, given: &Given, volumes: Option<usize>) -> Option<Choice<Speed>> {
    if let Some((mbps, origin)) = given.disk_mbps {
        return Some(choice(Speed::constant(mbps * 1e6), origin, "as given"));
    }
    let volumes = volumes?;
    let what = if volumes == 1 { "an EBS volume".to_owned() } else { format!("{volumes} EBS volumes, each") };
    let assumed = GP3_MBPS * volumes as f64;
    let mut reason = format!("{what} taken for gp3 of {GP3_MBPS} MB/s (say --disk-mbps if you paid for more)");
    let instance = found.and_then(likeness).and_then(|(it, name)| Some((it.ebs?, name)));
    let Some((ebs, name)) = instance else {
        return Some(choice(Speed::constant(assumed * 1e6), Origin::Detected, reason));
    };
    let speed =
        Speed { baseline: ebs.baseline_mbps * 1e6, peak: ebs.maximum_mbps * 1e6, peak_seconds: EBS_BURST_SECONDS };
    reason += &match ebs.baseline_mbps < ebs.maximum_mbps {
        true => format!(
            "; {name} gives all volumes {} MB/s for 30 minutes a day, else {} MB/s",
            ebs.maximum_mbps, ebs.baseline_mbps
        ),
        false => format!("; {name} gives all volumes {} MB/s", ebs.maximum_mbps),
    };
    Some(choice(speed.at_most(assumed * 1e6), Origin::Detected, reason))
}

/// The less of what the network and the disk can take. What a volume gives is a guess unless it was given, so of EBS
/// only the limit of the instance counts.
fn target_gbps(network: Option<&Choice<Speed>>, found: Named<'_>, given: &Given, on_ebs: bool) -> Option<Choice<f64>> {
    let network = network?;
    let gbps = network.value.peak * 8.0 / 1e9;
    let ebs = found.filter(|_| on_ebs).and_then(likeness).and_then(|(it, _)| it.ebs);
    let disk = match (given.disk_mbps, ebs) {
        (Some((mbps, _)), _) => Some((mbps, "the disk as given")),
        (None, Some(ebs)) => Some((ebs.maximum_mbps, "the instance's limit for EBS")),
        (None, None) => None,
    };
    Some(match disk {
        Some((mbps, what)) if mbps * 8.0 / 1000.0 < gbps => {
            let reason = format!("{what}, {mbps} MB/s, is less than the network's {gbps} Gbit/s");
            choice(mbps * 8.0 / 1000.0, network.origin, reason)
        }
        _ if network.value.baseline < network.value.peak => choice(
            gbps,
            network.origin,
            "the peak: a restore begins with credits, and a few requests too many cost little",
        ),
        _ => choice(gbps, network.origin, "what the network gives"),
    })
}

fn workers(facts: &Facts, given: &Given) -> Choice<u16> {
    let cpus = u16::try_from(facts.cpus.usable.max(1)).unwrap_or(u16::MAX);
    match given.workers {
        Some((value, origin)) => choice(value, origin, "as given"),
        None if facts.cpus.quota.is_some_and(|quota| quota < facts.cpus.online as f64) => {
            choice(cpus, Origin::Detected, "one per CPU that the control group allows")
        }
        None => choice(cpus, Origin::Detected, "one per CPU that this process may use"),
    }
}

fn in_flight(
    facts: &Facts,
    given: &Given,
    instance: bool,
    target: Option<&Choice<f64>>,
    workers: u16,
    request_size: u64,
) -> Result<(Choice<u16>, Option<Choice<u64>>)> {
    let memory = match given.memory_mib {
        Some((value, origin)) => Some(choice(value, origin, "as given")),
        // Elsewhere there is no limit but the number of requests, which is small.
        None if !instance || facts.memory.total == 0 => None,
        None => {
            let available = facts.memory.available >> 20;
            let least = needed(1, request_size);
            let within = if facts.memory.limit.is_some() { " within the control group's limit" } else { "" };
            let reason = format!("half of the {available} MiB that are available{within}");
            Some(choice((available / 2).max(least), Origin::Detected, reason))
        }
    };
    if let Some((wanted, origin)) = given.in_flight {
        // Who names both means both; a budget that was only detected gives way to a number that was given.
        return Ok(match memory {
            Some(limit) if given.memory_mib.is_some() => {
                let fit = fitting(limit.value, request_size)?;
                let value = wanted.min(fit);
                let reason = if value < wanted {
                    format!("{wanted} as given do not fit into the memory given")
                } else {
                    "as given".into()
                };
                (choice(value, origin, reason), Some(limit))
            }
            Some(limit) if needed(wanted, request_size) > limit.value => {
                let need = needed(wanted, request_size);
                (choice(wanted, origin, "as given"), Some(choice(need, origin, "what the requests in flight take")))
            }
            limit => (choice(wanted, origin, "as given"), limit),
        });
    }
    let (wanted, origin, reason) = match target {
        Some(target) => {
            let connections = (target.value / GBPS_PER_CONNECTION).ceil().min(4096.0) as u16;
            let wanted = connections.saturating_add(workers).min(4096);
            let reason = match wanted <= DEFAULT_IN_FLIGHT {
                true => format!("enough for {:.3} Gbit/s", target.value),
                false => format!(
                    "{connections} connections of {GBPS_PER_CONNECTION} Gbit/s for {:.3} Gbit/s, and one part for each worker",
                    target.value
                ),
            };
            (wanted.max(DEFAULT_IN_FLIGHT), Origin::Detected, reason)
        }
        None => (DEFAULT_IN_FLIGHT, Origin::Default, "the speed of the network is not known".to_owned()),
    };
    let Some(limit) = memory else { return Ok((choice(wanted, origin, reason), None)) };
    let fit = match given.memory_mib {
        Some(_) => fitting(limit.value, request_size)?,
        None => fitting(limit.value, request_size).unwrap_or(1),
    };
    let chosen = match fit < wanted {
        true => choice(fit, limit.origin, format!("what fits into {} MiB; {wanted} would be {reason}", limit.value)),
        false => choice(wanted, origin, reason),
    };
    Ok((chosen, Some(limit)))
}

/// How many are tried where nothing is known of the network, within a budget of memory (MiB).
fn most_in_flight(memory: u64, request_size: u64) -> Choice<u16> {
    // Where not even one fits, the number that was chosen to begin with stays.
    let fit = fitting(memory, request_size).unwrap_or(1);
    let reason = "tried step by step, as long as twice as many are measured to be much faster";
    choice(fit.min(MOST_IN_FLIGHT), Origin::Default, reason)
}

/// Memory in MiB of so many requests. Each takes its bytes and about an eighth more: the list of what is in them.
pub fn needed(in_flight: u16, request_size: u64) -> u64 {
    BESIDE_REQUESTS + (9 * request_size * u64::from(in_flight)).div_ceil(8)
}

/// How many requests fit in a budget (MiB).
pub fn fitting(memory: u64, request_size: u64) -> Result<u16> {
    let fit = memory.saturating_sub(BESIDE_REQUESTS) * 8 / (9 * request_size.max(1));
    if fit == 0 {
        let least = needed(1, request_size);
        let message = format!(
            "a memory of {memory} MiB (--memory): a restore needs at least {least} MiB for requests of {request_size} MiB"
        );
        return Err(Error::new(Kind::Usage, message));
    }
    Ok(u16::try_from(fit).unwrap_or(u16::MAX))
}

/// The size of the parts of an upload, in MiB, for an archive of so many bytes.
pub fn upload_part_mib(archive_bytes: u64) -> Result<Choice<u64>> {
    let size = crate::store::upload_part_size(archive_bytes)? >> 20;
    Ok(choice(size, Origin::Default, "the smallest with which S3's 10,000 parts suffice"))
}

/// What an archive asks of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    /// Bytes from the network.
    pub archive_bytes: u64,
    /// Bytes of content, and what of it goes to the disk.
    pub content_bytes: u64,
    pub stored_bytes: u64,
    pub entries: u64,
    /// Onto a blank device, not into a mounted file system.
    pub device: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    Network,
    Disk,
    Cpu,
}

/// How long a restore should take.
#[derive(Debug, Clone, PartialEq)]
pub struct Expectation {
    /// None if the speed of neither network nor disk is known.
    pub bound: Option<Bound>,
    /// The longest of those that are known.
    pub seconds: f64,
    pub network_seconds: Option<f64>,
    pub disk_seconds: Option<f64>,
    /// An estimate from another machine.
    pub cpu_seconds: f64,
    /// Bytes per second at the bound, over the whole run; 0 for the CPU.
    pub rate: f64,
}

/// CPU seconds for each entry and for each byte of content, measured on a virtual x86-64 machine with `tests/bench/run`
/// (the table in README.md): the kernel makes files one after the other, bytes are divided among the workers.
const CPU_PER_ENTRY: f64 = 70e-6;
const CPU_PER_ENTRY_ON_A_DEVICE: f64 = 8e-6;
const CPU_PER_BYTE: f64 = 0.8e-9;

/// What decides how long this takes: the slowest of network, disk and CPU, as they work at the same time.
pub fn expect(tuning: &Tuning, work: &Work) -> Expectation {
    let connections = f64::from(tuning.in_flight.value) * GBPS_PER_CONNECTION_AT_BEST * 1e9 / 8.0;
    let network = tuning.network.as_ref().map(|n| n.value.at_most(connections).seconds(work.archive_bytes));
    let disk = tuning.disk.as_ref().map(|d| d.value.seconds(work.stored_bytes));
    let per_entry = if work.device { CPU_PER_ENTRY_ON_A_DEVICE } else { CPU_PER_ENTRY };
    let cpu = work.entries as f64 * per_entry
        + work.content_bytes as f64 * CPU_PER_BYTE / f64::from(tuning.workers.value.max(1));
    let of = |bound, bytes: u64, seconds: Option<f64>| seconds.map(|s| (bound, s, bytes as f64 / s.max(1e-9)));
    let slowest = [
        of(Bound::Network, work.archive_bytes, network),
        of(Bound::Disk, work.stored_bytes, disk),
        Some((Bound::Cpu, cpu, 0.0)),
    ]
    .into_iter()
    .flatten()
    .reduce(|a, b| if b.1 > a.1 { b } else { a });
    let (bound, seconds, rate) = slowest.unwrap_or((Bound::Cpu, cpu, 0.0));
    Expectation {
        bound: (network.is_some() || disk.is_some()).then_some(bound),
        seconds,
        network_seconds: network,
        disk_seconds: disk,
        cpu_seconds: cpu,
        rate,
    }
}

/// What to look after by hand, as a line for a person.
pub fn advice(facts: &Facts, tuning: &Tuning) -> Vec<String> {
    let mut lines = Vec::new();
    let gbps = tuning.target_gbps.as_ref().map_or(0.0, |target| target.value);
    if tuning.network.as_ref().is_some_and(|n| n.origin == Origin::Detected) && gbps > 5.0 {
        // By the page on network bandwidth above: half of it with 32 or more vCPUs, else 5 Gbit/s.
        lines.push(
            "more than 5 Gbit/s need a gateway endpoint for S3 in the VPC and a bucket in this region".to_owned(),
        );
    }
    if facts.target.as_ref().is_some_and(|t| t.devices.iter().any(|d| d.kind == DeviceKind::InstanceStore))
        && tuning.disk.is_none()
    {
        lines.push("EC2 states no throughput for instance store: the disk is not counted (--disk-mbps)".to_owned());
    }
    lines
}

#[cfg(test)]
mod tests;
