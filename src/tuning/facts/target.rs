//! What lies below a target: its file system, the block devices of that, and what EC2 calls them.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::sys::stat::{major, minor};

use super::{Roots, text};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// As it was given.
    pub path: PathBuf,
    /// "btrfs", "ext4", ...; None if the target is a block device.
    pub file_system: Option<String>,
    pub mounted_at: Option<PathBuf>,
    /// Whole disks, in order of their names; empty if there are none (memory, network) or they cannot be seen.
    pub devices: Vec<Device>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// As in /dev.
    pub name: String,
    pub kind: DeviceKind,
    pub rotational: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceKind {
    /// With its id, "vol-0123456789abcdef0", if the device tells it.
    Ebs(Option<String>),
    InstanceStore,
    /// Its model, if it has one.
    Other(Option<String>),
}

/// None if not even a parent of `path` can be found.
pub fn find(roots: &Roots, path: &Path) -> Option<Target> {
    let absolute = std::path::absolute(path).ok()?;
    // A target need not exist; then what it will be created in counts.
    let existing = absolute.ancestors().find_map(|above| fs::canonicalize(above).ok())?;
    let metadata = fs::metadata(&existing).ok()?;
    let mut target = Target { path: path.to_owned(), file_system: None, mounted_at: None, devices: Vec::new() };
    if metadata.file_type().is_block_device() {
        target.devices = disks(roots, &numbered(roots, major(metadata.rdev()), minor(metadata.rdev()))?);
        return Some(target);
    }
    if let Some(mount) = mount_of(roots, &existing) {
        let source = source_device(roots, &mount);
        let members = match (&source, mount.file_system.as_str()) {
            (Some(source), "btrfs") => members_of_btrfs(roots, source),
            (Some(source), _) => vec![source.clone()],
            (None, _) => Vec::new(),
        };
        target.devices = members.iter().flat_map(|member| disks(roots, member)).collect();
        target.devices.sort_by(|a, b| a.name.cmp(&b.name));
        target.devices.dedup();
        target.file_system = Some(mount.file_system);
        target.mounted_at = Some(mount.point);
    }
    Some(target)
}

/// A line of `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
struct Mount {
    point: PathBuf,
    numbers: String,
    file_system: String,
    source: PathBuf,
}

/// The mount that holds `path`: of those whose mount point is above it, the innermost; of several there, the last. By
/// name, because a file in a BTRFS subvolume has another device number than the mount.
fn mount_of(roots: &Roots, path: &Path) -> Option<Mount> {
    let table = fs::read(roots.proc.join("self/mountinfo")).ok()?;
    let mut best: Option<Mount> = None;
    for line in table.split(|&b| b == b'\n') {
        let Some(mount) = parse_mount(line) else { continue };
        let depth = |point: &Path| point.components().count();
        if path.starts_with(&mount.point) && best.as_ref().is_none_or(|b| depth(&b.point) <= depth(&mount.point)) {
            best = Some(mount);
        }
    }
    best
}

fn parse_mount(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|&b| b == b' ');
    let numbers = fields.nth(2)?;
    let point = fields.nth(1)?;
    // Optional fields end with a dash.
    let mut rest = fields.skip_while(|&field| field != b"-").skip(1);
    Some(Mount {
        point: unescape(point),
        numbers: String::from_utf8(numbers.to_vec()).ok()?,
        file_system: String::from_utf8(rest.next()?.to_vec()).ok()?,
        source: unescape(rest.next()?),
    })
}

/// Space, tab, newline and backslash are written as three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    let mut out = Vec::new();
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| first == b'\\').and_then(|digits| {
            let text = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(text, 8).ok()
        });
        match octal {
            Some(byte) => {
                out.push(byte);
                rest = rest.get(4..).unwrap_or_default();
            }
            None => {
                out.push(first);
                rest = after;
            }
        }
    }
    PathBuf::from(std::ffi::OsStr::from_bytes(&out))
}

/// The directory in sysfs of what is mounted; BTRFS has no device number of its own, so there its source counts.
fn source_device(roots: &Roots, mount: &Mount) -> Option<PathBuf> {
    let by_name = |path: &Path| fs::canonicalize(roots.sys.join("class/block").join(path.file_name()?)).ok();
    let by_number = fs::canonicalize(roots.sys.join("dev/block").join(&mount.numbers)).ok();
    by_number.or_else(|| by_name(&mount.source)).or_else(|| by_name(&fs::canonicalize(&mount.source).ok()?))
}

fn numbered(roots: &Roots, major: u64, minor: u64) -> Option<PathBuf> {
    fs::canonicalize(roots.sys.join(format!("dev/block/{major}:{minor}"))).ok()
}

/// All devices of the BTRFS that `source` belongs to.
fn members_of_btrfs(roots: &Roots, source: &Path) -> Vec<PathBuf> {
    let own = || vec![source.to_owned()];
    let Some(name) = source.file_name() else { return own() };
    let file_systems = fs::read_dir(roots.sys.join("fs/btrfs")).into_iter().flatten().flatten();
    let devices = file_systems.map(|entry| entry.path().join("devices")).find(|devices| devices.join(name).exists());
    let Some(devices) = devices else { return own() };
    fs::read_dir(devices).into_iter().flatten().flatten().filter_map(|e| fs::canonicalize(e.path()).ok()).collect()
}

/// The disks below a device: of a partition its disk, of LVM, RAID or encryption what it is made of.
fn disks(roots: &Roots, device: &Path) -> Vec<Device> {
    let mut found = Vec::new();
    let mut open = vec![device.to_owned()];
    // Far more than any stack of devices has; a loop cannot exist, but a test tree might hold one.
    for _ in 0..256 {
        let Some(next) = open.pop() else { break };
        let below: Vec<PathBuf> = fs::read_dir(next.join("slaves"))
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| fs::canonicalize(entry.path()).ok())
            .collect();
        if next.join("partition").exists() {
            open.extend(next.parent().map(Path::to_owned));
        } else if !below.is_empty() {
            open.extend(below);
        } else {
            found.extend(describe(roots, &next));
        }
    }
    found
}

fn describe(roots: &Roots, disk: &Path) -> Option<Device> {
    let name = disk.file_name()?.to_str()?.to_owned();
    let disk = roots.sys.join("class/block").join(&name);
    let model = text(&disk.join("device/model"));
    let kind = match model.as_deref() {
        Some("Amazon Elastic Block Store") => DeviceKind::Ebs(text(&disk.join("device/serial")).and_then(volume_id)),
        Some("Amazon EC2 NVMe Instance Storage") => DeviceKind::InstanceStore,
        _ => DeviceKind::Other(model.filter(|m| !m.chars().any(char::is_control))),
    };
    Some(Device { name, kind, rotational: text(&disk.join("queue/rotational")).as_deref() == Some("1") })
}

/// The serial number of an EBS volume is its id without the dash.
fn volume_id(serial: String) -> Option<String> {
    let digits = serial.strip_prefix("vol")?.trim_start_matches('-');
    let sound = matches!(digits.len(), 8 | 17) && digits.bytes().all(|b| b.is_ascii_hexdigit());
    sound.then(|| format!("vol-{digits}"))
}
