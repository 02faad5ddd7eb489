//! What this machine is: the only code of [`tuning`](super) that looks. Nothing here decides.
//!
//! Everything is read below [`Roots`], so that a test can show another machine. What cannot be found out is absent,
//! with a note where a person may wonder; looking never fails.

mod described;
mod limits;
mod network;
mod target;

use std::fs;
use std::path::{Path, PathBuf};

pub use limits::{Cpus, Memory};
pub use network::Interface;
pub use target::{Device, DeviceKind, Target};

use super::instance_types;
use crate::ec2::InstanceType;
use crate::ec2::imds::{self, Service};
use crate::ec2::instance_type::is_name;

/// Where the pseudo file systems are.
#[derive(Debug, Clone)]
pub struct Roots {
    pub sys: PathBuf,
    pub proc: PathBuf,
    /// What EC2's API said is kept here.
    pub cache: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Roots::below(Path::new("/"))
    }
}

impl Roots {
    /// `sys`, `proc` and `var/cache/burst` in this directory.
    pub fn below(directory: &Path) -> Self {
        Roots { sys: directory.join("sys"), proc: directory.join("proc"), cache: directory.join("var/cache/burst") }
    }
}

/// How much to ask the metadata service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Only if the firmware says EC2 but not which type (Xen); nothing else waits for it.
    Quick,
    /// Whenever this may be an instance: for what only the service knows (zone, account).
    Full,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// None: not an EC2 instance, as far as can be seen.
    pub instance: Option<Instance>,
    /// What EC2's API says of its type, now or some days ago.
    pub described: Option<InstanceType>,
    pub interfaces: Vec<Interface>,
    pub cpus: Cpus,
    pub memory: Memory,
    pub kernel: Kernel,
    pub target: Option<Target>,
    /// What could not be found out, and why.
    pub notes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Instance {
    pub instance_type: Option<String>,
    /// Who said so: "firmware (DMI)" or "metadata service".
    pub told_by: &'static str,
    pub id: Option<String>,
    pub region: Option<String>,
    pub zone: Option<String>,
    pub account: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// As uname(1) prints it; empty if unknown.
    pub release: String,
    /// CAP_SYS_ADMIN, which BTRFS asks for encoded writes.
    pub privileged: bool,
}

impl Kernel {
    /// Whether BTRFS takes compressed data from this process, else why not. Making one is the only proof; this looks
    /// without touching anything.
    pub fn encoded_writes(&self) -> Result<(), &'static str> {
        let mut numbers = self.release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse::<u32>().unwrap_or(0));
        let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        if version < (5, 18) {
            return Err("Linux 5.18 or later is needed");
        }
        if !self.privileged { Err("CAP_SYS_ADMIN is missing (not root)") } else { Ok(()) }
    }
}

/// Looks at this machine, and at what a restore into `target` would write to.
pub fn look(roots: &Roots, service: &Service, depth: Depth, target: Option<&Path>) -> Facts {
    let mut notes = Vec::new();
    let status = text(&roots.proc.join("self/status")).unwrap_or_default();
    let instance = instance(roots, service, depth, &mut notes);
    let name = instance.as_ref().and_then(|i| i.instance_type.as_deref());
    let region = instance.as_ref().and_then(|i| i.region.as_deref());
    // Who forbids the one service does not expect the other to be asked.
    let described = name
        .filter(|_| *service != Service::Disabled)
        .and_then(|name| described::described(roots, name, region, depth, &mut notes));
    let mut interfaces = network::interfaces(roots);
    let cards = described.as_ref().map(|it| it.network_cards);
    let cards = cards.or_else(|| Some(instance_types::find(name?)?.instance_type().network_cards));
    if cards.is_some_and(|cards| cards > 1) && interfaces.len() > 1 && *service != Service::Disabled {
        network::ask_cards(&mut interfaces, service, &mut notes);
    }
    Facts {
        described,
        interfaces,
        instance,
        cpus: limits::cpus(roots, &status),
        memory: limits::memory(roots),
        kernel: Kernel {
            release: text(&roots.proc.join("sys/kernel/osrelease")).unwrap_or_default(),
            privileged: capabilities(&status) & 1 << CAP_SYS_ADMIN != 0,
        },
        target: target.and_then(|path| target::find(roots, path)),
        notes,
    }
}

/// Bit of CAP_SYS_ADMIN in `include/uapi/linux/capability.h`.
const CAP_SYS_ADMIN: u32 = 21;

fn capabilities(status: &str) -> u64 {
    field(status, "CapEff:").and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or(0)
}

/// What the firmware says comes first: elsewhere than on EC2 nobody waits for a service that is not there.
fn instance(roots: &Roots, service: &Service, depth: Depth, notes: &mut Vec<String>) -> Option<Instance> {
    let firmware = firmware(roots);
    if firmware.is_none() && !service.is_named() {
        return None;
    }
    let known = firmware.as_ref().is_some_and(|found| found.instance_type.is_some());
    if known && depth == Depth::Quick {
        return firmware;
    }
    match service.identity() {
        Ok(identity) => Some(Instance {
            instance_type: Some(identity.instance_type),
            told_by: "metadata service",
            id: Some(identity.instance_id),
            region: Some(identity.region),
            zone: Some(identity.zone),
            account: Some(identity.account),
        }),
        Err(trouble) => {
            // Someone who switched it off knows.
            if trouble != imds::Trouble::Disabled || !known {
                notes.push(format!("instance metadata service: {trouble}"));
            }
            firmware
        }
    }
}

/// What DMI and the hypervisor tell, as documented for identifying instances from inside.
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/identify_ec2_instances.html>
fn firmware(roots: &Roots) -> Option<Instance> {
    let dmi = |name: &str| text(&roots.sys.join("class/dmi/id").join(name));
    let vendor = dmi("sys_vendor").unwrap_or_default();
    let nitro = vendor == "Amazon EC2";
    let xen = text(&roots.sys.join("hypervisor/uuid")).is_some_and(|uuid| uuid.to_lowercase().starts_with("ec2"))
        || vendor == "Xen" && dmi("bios_version").is_some_and(|version| version.contains("amazon"));
    (nitro || xen).then(|| Instance {
        // Xen has "HVM domU" there.
        instance_type: dmi("product_name").filter(|name| nitro && is_name(name)),
        told_by: "firmware (DMI)",
        id: dmi("board_asset_tag").filter(|tag| imds::is_instance_id(tag)),
        ..Instance::default()
    })
}

/// A small file, without the newline at its end; None if there is none or it is empty.
fn text(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// The rest of the line that begins with `name`.
fn field<'a>(lines: &'a str, name: &str) -> Option<&'a str> {
    lines.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

#[cfg(test)]
mod tests;
