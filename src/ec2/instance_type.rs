//! One instance type: what EC2 says it can do, and the line of text that says the same in the table of types and in the
//! cache.

use std::fmt;

/// Speeds are those EC2 states: Gbit/s for the network, MB/s (10^6 bytes) for EBS.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceType {
    pub name: String,
    pub vcpus: u32,
    pub memory_mib: u64,
    /// Of network card 0: what can always be had, and what can be had for a while from credits.
    pub network_baseline_gbps: f64,
    pub network_peak_gbps: f64,
    pub network_cards: u32,
    /// None for old types, whose volumes share the network.
    pub ebs: Option<Ebs>,
    /// None if there is none.
    pub store: Option<InstanceStore>,
}

/// What all volumes together get.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ebs {
    pub baseline_mbps: f64,
    pub maximum_mbps: f64,
    pub baseline_iops: u32,
    pub maximum_iops: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InstanceStore {
    pub disks: u32,
    pub gigabytes_each: u64,
    pub ssd: bool,
}

/// Whether this looks like the name of a type ("m7i.2xlarge"), known or not.
pub fn is_name(text: &str) -> bool {
    let part = |p: &str| {
        !p.is_empty() && p.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') && p.len() <= 32
    };
    text.split_once('.').is_some_and(|(family, size)| part(family) && part(size))
}

impl InstanceType {
    /// Reads what [`Display`](fmt::Display) writes.
    pub fn parse(line: &str) -> Option<InstanceType> {
        let mut fields = line.split(' ');
        let mut next = || fields.next();
        let name = next()?.to_owned();
        let (vcpus, memory_mib) = (next()?.parse().ok()?, next()?.parse().ok()?);
        let (network_baseline_gbps, network_peak_gbps) = (next()?.parse().ok()?, next()?.parse().ok()?);
        let network_cards = next()?.parse().ok()?;
        let ebs = match [next()?, next()?, next()?, next()?] {
            ["-", ..] => None,
            [baseline, maximum, iops, most_iops] => Some(Ebs {
                baseline_mbps: baseline.parse().ok()?,
                maximum_mbps: maximum.parse().ok()?,
                baseline_iops: iops.parse().ok()?,
                maximum_iops: most_iops.parse().ok()?,
            }),
        };
        let store = match next()? {
            "-" => None,
            text => Some(parse_store(text)?),
        };
        Some(InstanceType {
            name,
            vcpus,
            memory_mib,
            network_baseline_gbps,
            network_peak_gbps,
            network_cards,
            ebs,
            store,
        })
    }
}

/// "4x1900s"
fn parse_store(text: &str) -> Option<InstanceStore> {
    let (disks, size) = text.split_once('x')?;
    let ssd = size.ends_with('s');
    let gigabytes = size.strip_suffix(['s', 'h'])?;
    Some(InstanceStore { disks: disks.parse().ok()?, gigabytes_each: gigabytes.parse().ok()?, ssd })
}

/// A line of `src/tuning/instance_types.txt`, whose head names the columns.
impl fmt::Display for InstanceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // At most three decimals.
        let number = |value: f64| (value * 1000.0).round() / 1000.0;
        let (baseline, peak) = (number(self.network_baseline_gbps), number(self.network_peak_gbps));
        write!(f, "{} {} {} {baseline} {peak} {}", self.name, self.vcpus, self.memory_mib, self.network_cards)?;
        match &self.ebs {
            None => f.write_str(" - - - -")?,
            Some(ebs) => {
                let (baseline, maximum) = (number(ebs.baseline_mbps), number(ebs.maximum_mbps));
                write!(f, " {baseline} {maximum} {} {}", ebs.baseline_iops, ebs.maximum_iops)?;
            }
        }
        match &self.store {
            None => f.write_str(" -"),
            Some(s) => write!(f, " {}x{}{}", s.disks, s.gigabytes_each, if s.ssd { 's' } else { 'h' }),
        }
    }
}
