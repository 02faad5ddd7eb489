//! Mounting BTRFS of one or several disks, and what is mounted.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::find::Disk;
use crate::btrfs_image::constants::SUPERBLOCKS;
use crate::error::{Error, Kind, Result};

/// Where in a superblock the UUID of the file system is.
const FSID: u64 = 32;

/// One line of /proc/self/mountinfo (proc_pid_mountinfo(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    pub at: PathBuf,
    pub kind: String,
    pub source: PathBuf,
    pub options: String,
}

/// Everything this process sees mounted, in the order it was mounted.
pub fn mounts() -> Result<Vec<Mount>> {
    let text = fs::read_to_string("/proc/self/mountinfo").map_err(|e| Error::io("read /proc/self/mountinfo", e))?;
    Ok(text.lines().filter_map(parse).collect())
}

fn parse(line: &str) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    let mut before = before.split(' ').skip(4);
    let (at, options) = (before.next()?, before.next()?);
    let mut after = after.split(' ');
    let (kind, source, of_file_system) = (after.next()?, after.next()?, after.next()?);
    Some(Mount {
        at: unescape(at).into(),
        kind: kind.to_owned(),
        source: unescape(source).into(),
        // Both lists begin with rw or ro.
        options: [options, of_file_system.split_once(',').map_or("", |(_, rest)| rest)]
            .join(",")
            .trim_end_matches(',')
            .to_owned(),
    })
}

/// Spaces and the like are written as a backslash and three octal digits.
fn unescape(text: &str) -> String {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        let code =
            behind.get(..3).and_then(|d| std::str::from_utf8(d).ok()).and_then(|d| u8::from_str_radix(d, 8).ok());
        match (byte, code) {
            (b'\\', Some(code)) => {
                out.push(code);
                rest = behind.get(3..).unwrap_or_default();
            }
            _ => {
                out.push(byte);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// What is mounted at a path: the last one, which hides the others. None if it is no mount point.
pub fn mounted_at(path: &Path) -> Result<Option<Mount>> {
    let real = match fs::canonicalize(path) {
        Ok(real) => real,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io(format!("look at {}", path.display()), e)),
    };
    Ok(mounts()?.into_iter().rev().find(|mount| mount.at == real))
}

/// Whether a mount shows the file system on these disks. BTRFS names one of its disks as the source.
pub fn is_of(mount: &Mount, disks: &[Disk]) -> bool {
    let number = |path: &Path| fs::metadata(path).ok().filter(|m| m.file_type().is_block_device()).map(|m| m.rdev());
    let source = number(&mount.source);
    mount.kind == "btrfs" && source.is_some() && disks.iter().any(|disk| number(&disk.path) == source)
}

/// Who uses a disk, as a sentence part for a person, as far as that is shown anywhere.
pub fn used_by(disk: &Disk) -> Option<String> {
    let holders = || (!disk.holders.is_empty()).then(|| format!("is used by {}", disk.holders.join(", ")));
    mounted_or_swap(&disk.path).or_else(holders)
}

fn mounted_or_swap(device: &Path) -> Option<String> {
    let real = fs::canonicalize(device);
    let shown = real.as_deref().unwrap_or(device).to_string_lossy();
    let mounted = mounts().unwrap_or_default().into_iter().find(|m| is_on(&m.source.to_string_lossy(), &shown));
    if let Some(mount) = mounted {
        return Some(format!("is mounted at {}", mount.at.display()));
    }
    let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
    let is_swap = swaps.lines().any(|line| is_on(line.split_whitespace().next().unwrap_or_default(), &shown));
    is_swap.then(|| "is used for swap".into())
}

/// That somebody uses a device who could not be named by [`used_by`], and what tells more.
pub fn is_busy(device: &Path) -> String {
    let shown = device.display();
    mounted_or_swap(device)
        .unwrap_or_else(|| format!("is used by something else: `lsblk {shown}` and `fuser -v {shown}` may tell what"))
}

/// The mount of another device that holds the same file system: the kernel takes none twice.
fn mounted_as_another(device: &Path) -> Option<Mount> {
    let fsid = |device: &Path| {
        let mut fsid = [0; 16];
        fs::File::open(device).and_then(|file| file.read_exact_at(&mut fsid, SUPERBLOCKS[0] + FSID)).ok()?;
        Some(fsid)
    };
    let wanted = fsid(device)?;
    mounts().ok()?.into_iter().find(|m| m.kind == "btrfs" && m.source != device && fsid(&m.source) == Some(wanted))
}

/// Whether a device is this disk or a partition of it: sda2 of sda, nvme1n1p2 of nvme1n1.
fn is_on(device: &str, disk: &str) -> bool {
    let Some(rest) = device.strip_prefix(disk) else { return false };
    let number = if disk.ends_with(|c: char| c.is_ascii_digit()) { rest.strip_prefix('p') } else { Some(rest) };
    rest.is_empty() || number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// Mounts the BTRFS on these disks, which the kernel need not have seen before. The mount point is made if need be.
pub fn mount(disks: &[&Path], at: &Path, options: &str) -> Result<()> {
    let Some(first) = disks.first() else { return Err(Error::new(Kind::Usage, "no disk to mount")) };
    let what = || format!("mount {} at {}", first.display(), at.display());
    let (flags, mut data) = crate::linux::mount_options(options);
    if disks.len() > 1 {
        // Instead of `btrfs device scan`, so that no udev rule is needed.
        for disk in disks {
            let separator = if data.is_empty() { "" } else { "," };
            data += &format!("{separator}device={}", disk.display());
        }
    }
    // Whatever the umask is: nobody writes into what a mount point hides.
    fs::DirBuilder::new().recursive(true).mode(0o755).create(at).map_err(|e| match e.kind() {
        ErrorKind::AlreadyExists => {
            Error::new(Kind::TargetInUse, format!("{}: {} is there, and is no directory", what(), at.display()))
        }
        _ => Error::io(what(), e),
    })?;
    let data = (!data.is_empty()).then_some(data.as_str());
    nix::mount::mount(Some(*first), at, Some("btrfs"), flags, data).map_err(|errno| match errno {
        nix::errno::Errno::EINVAL => {
            let message =
                format!("{}: {errno}: the kernel log (`dmesg`) says which option or what else is wrong", what());
            Error::new(Kind::Failure, message)
        }
        // Of the path of a device that is not there, or of what the kernel looks for on those that are.
        nix::errno::Errno::ENOENT if disks.iter().all(|disk| disk.exists()) => {
            let message = format!(
                "{}: {errno}: a disk of the file system is missing, or a subvolume that the options name: the kernel log \
                 (`dmesg`) says which",
                what()
            );
            Error::new(Kind::Failure, message)
        }
        nix::errno::Errno::EEXIST | nix::errno::Errno::EBUSY => {
            let why = match disks.iter().find_map(|disk| Some((disk, mounted_as_another(disk)?))) {
                Some((disk, Mount { at, source, .. })) => format!(
                    "the file system on {} is mounted at {} already, as {}: these are two names of one disk, or one is \
                     a copy of the other. Unmount it there (umount {}), or use {} instead; a copy needs a UUID of its \
                     own (btrfstune -u)",
                    disk.display(),
                    at.display(),
                    source.display(),
                    at.display(),
                    source.display(),
                ),
                None => format!("{} {}", first.display(), is_busy(first)),
            };
            Error::new(Kind::TargetInUse, format!("{}: {errno}: {why}", what()))
        }
        _ => Error::io(what(), errno.into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_mountinfo() {
        let line = r"36 35 98:0 /sub /mnt/with\040space rw,noatime shared:1 master:2 - btrfs /dev/nvme1n1 rw,ssd,discard=async";
        let expected = Mount {
            at: "/mnt/with space".into(),
            kind: "btrfs".into(),
            source: "/dev/nvme1n1".into(),
            options: "rw,noatime,ssd,discard=async".into(),
        };
        assert_eq!(parse(line), Some(expected));
        assert_eq!(parse("36 35 98:0 / /a rw - proc proc rw").map(|m| m.options), Some("rw".into()));
        assert_eq!(parse("nonsense"), None);
    }

    #[test]
    fn this_machine() {
        assert!(mounts().unwrap().iter().any(|mount| mount.at == Path::new("/proc")));
        assert_eq!(mounted_at(Path::new("/proc")).unwrap().map(|m| m.kind), Some("proc".into()));
        assert_eq!(mounted_at(Path::new("/nonexistent/x")).unwrap(), None);
    }

    #[test]
    fn partitions() {
        for (device, disk) in [("/dev/sda", "/dev/sda"), ("/dev/sda2", "/dev/sda"), ("/dev/nvme1n1p12", "/dev/nvme1n1")]
        {
            assert!(is_on(device, disk), "{device}");
        }
        for (device, disk) in [
            ("/dev/sdaa", "/dev/sda"),
            ("/dev/nvme1n10", "/dev/nvme1n1"),
            ("/dev/nvme1n1p", "/dev/nvme1n1"),
            ("tmpfs", "/dev/sda"),
        ] {
            assert!(!is_on(device, disk), "{device}");
        }
    }

    #[test]
    fn escapes() {
        assert_eq!(unescape(r"a\040b\134\9"), r"a b\\9");
    }
}
