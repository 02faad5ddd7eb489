//! What a device holds. Everything that decides whether something may be written over is here.
//!
//! Blank means: wipefs (libblkid, which knows hundreds of file systems, partition tables, RAID, LVM, bcache, swap and
//! LUKS formats, at both ends of a device) finds nothing; the first MiB is zeros; and no copy of a BTRFS superblock is
//! left. Data without any signature begins in the first MiB, as nobody leaves out the start of a device. The last MiB
//! need not be zeros: there is content of a run of ours that was stopped.
//!
//! A file system that we make is known by its UUID, which begins with "BURST": so it is ours the moment it exists, on
//! whatever machine it is attached to, without a record anywhere that could be lost or be wrong.

use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use zerocopy::FromBytes;

use crate::btrfs_image::buffer::AlignedBuffer;
use crate::btrfs_image::constants::{MAGIC, MAGIC_UNFINISHED, MIB, SUPERBLOCK_LENGTH, SUPERBLOCKS};
use crate::btrfs_image::structures::{SuperBlock, Uuid};
use crate::error::{Error, Kind, Result};

/// First bytes of the UUIDs of our file systems.
const OURS: &[u8] = b"BURST";

/// In place of [`MAGIC`] while mkfs.btrfs runs (btrfs-progs, `BTRFS_MAGIC_TEMPORARY`).
const MKFS_UNFINISHED: [u8; 8] = *b"!BHRfS_M";

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    Blank,
    /// A file system that `burst` made.
    Own(BtrfsVolume),
    /// One that was being made when mkfs.btrfs or a restore onto the device was stopped: it never existed.
    Unfinished(Uuid),
    /// A BTRFS that is not ours, and nothing else.
    Btrfs(BtrfsVolume),
    /// Something else; what, as a sentence part for a person.
    Other(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BtrfsVolume {
    pub uuid: Uuid,
    pub label: String,
    /// How many disks it consists of.
    pub disks: u64,
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Content::Blank => f.write_str("blank"),
            Content::Own(own) => write!(f, "the BURST volume {:?}", own.label),
            Content::Unfinished(_) => f.write_str("a BURST volume that was not finished"),
            Content::Btrfs(_) => f.write_str("btrfs"),
            Content::Other(what) => f.write_str(what),
        }
    }
}

/// A new UUID of ours: version 8, variant 1 (RFC 9562 section 5.8), the rest random.
pub fn new_uuid() -> Result<Uuid> {
    let mut uuid = crate::snapshot::random_id()?;
    for (byte, ours) in uuid.iter_mut().zip(OURS) {
        *byte = *ours;
    }
    uuid[6] = uuid[6] & 0x0F | 0x80;
    uuid[8] = uuid[8] & 0x3F | 0x80;
    Ok(uuid)
}

/// In the form 8-4-4-4-12.
pub fn show_uuid(uuid: &Uuid) -> String {
    let hex = format!("{:032x}", u128::from_be_bytes(*uuid));
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// What the device at `path` holds. `device` is the same, open for reading, perhaps with O_DIRECT.
///
/// # Errors
/// What cannot be read is not blank: without wipefs, or with a read error, there is no answer.
pub fn content(device: &File, path: &Path, size: u64) -> Result<Content> {
    let read = |place: u64, buffer: &mut [u8]| {
        device.read_exact_at(buffer, place).map_err(|e| Error::io(format!("read {}", path.display()), e))
    };
    let found = signatures(path)?;
    let mut start = AlignedBuffer::new(MIB as usize);
    let length = size.min(MIB) as usize;
    read(0, start.get_mut(..length).unwrap_or_default())?;
    let place = SUPERBLOCKS[0] as usize;
    let superblock =
        start.get(place..place + SUPERBLOCK_LENGTH as usize).and_then(|bytes| SuperBlock::read_from_bytes(bytes).ok());
    let ours = |superblock: &SuperBlock| superblock.fsid.starts_with(OURS);
    let mut unfinished = None;
    match superblock {
        Some(whole) if whole.magic == MAGIC && found == ["btrfs"] => {
            let label = whole.label.split(|&b| b == 0).next().unwrap_or_default();
            let label = String::from_utf8_lossy(label).into_owned();
            let volume = BtrfsVolume { uuid: whole.fsid, label, disks: whole.num_devices.get() };
            return Ok(if ours(&whole) { Content::Own(volume) } else { Content::Btrfs(volume) });
        }
        Some(own)
            if found.is_empty() && (own.magic == MAGIC_UNFINISHED || own.magic == MKFS_UNFINISHED && ours(&own)) =>
        {
            start[place..place + SUPERBLOCK_LENGTH as usize].fill(0);
            if start.iter().any(|&b| b != 0) {
                return Ok(Content::Other("data beside a file system that was not finished".into()));
            }
            unfinished = Some(own.fsid);
        }
        _ => {}
    }
    if !found.is_empty() {
        return Ok(Content::Other(found.join(", ")));
    }
    if let Some(at) = start.iter().position(|&b| b != 0) {
        return Ok(Content::Other(format!("data at byte {at}")));
    }
    for place in SUPERBLOCKS {
        if place + SUPERBLOCK_LENGTH <= size {
            let buffer = start.get_mut(..SUPERBLOCK_LENGTH as usize).unwrap_or_default();
            read(place, buffer)?;
            // The copies are written before the superblock itself.
            let expected = unfinished.is_some_and(|fsid| buffer.get(32..48) == Some(&fsid));
            if buffer.get(64..72) == Some(&MAGIC) && !expected {
                return Ok(Content::Other(format!("a btrfs superblock at byte {place}")));
            }
        }
    }
    Ok(unfinished.map_or(Content::Blank, Content::Unfinished))
}

/// Whether a file is an image that a run was making when it was stopped.
pub fn is_unfinished_image(file: &File) -> std::io::Result<bool> {
    let mut superblock = [0; SUPERBLOCK_LENGTH as usize];
    match file.read_exact_at(&mut superblock, SUPERBLOCKS[0]) {
        Ok(()) => Ok(superblock.get(64..72) == Some(&MAGIC_UNFINISHED)),
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(e),
    }
}

/// The types of everything wipefs finds, without repetitions.
fn signatures(path: &Path) -> Result<Vec<String>> {
    let what = || format!("look for signatures on {} with wipefs (of util-linux)", path.display());
    let done = Command::new("wipefs")
        .args(["--no-act", "--json", "--output", "TYPE"])
        .arg(path)
        .env("LC_ALL", "C")
        .output()
        .map_err(|e| missing_program("wipefs", "util-linux", e))?;
    let complain = |why: String| Error::new(Kind::Failure, format!("{}: {why}", what()));
    if !done.status.success() {
        return Err(complain(format!("{}: {}", done.status, String::from_utf8_lossy(&done.stderr).trim())));
    }
    // Older versions print nothing at all where there is nothing.
    if done.stdout.iter().all(u8::is_ascii_whitespace) {
        return Ok(Vec::new());
    }
    let parsed: serde_json::Value =
        serde_json::from_slice(&done.stdout).map_err(|e| complain(format!("it said what is no JSON: {e}")))?;
    let list = parsed.get("signatures").and_then(|list| list.as_array());
    let list = list.ok_or_else(|| complain("it said something unknown".into()))?;
    let mut types: Vec<String> =
        list.iter().map(|each| each.get("type").and_then(|t| t.as_str()).unwrap_or("unknown").to_owned()).collect();
    types.dedup();
    Ok(types)
}

/// A program could not be started.
pub fn missing_program(name: &str, package: &str, error: std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::NotFound => {
            let message = format!("{name} is needed and is not in PATH: install {package}");
            Error::new(Kind::Unsupported, message)
        }
        _ => Error::io(format!("run {name}"), error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(file: &tempfile::NamedTempFile) -> Content {
        content(file.as_file(), file.path(), file.as_file().metadata().unwrap().len()).unwrap()
    }

    #[test]
    fn blank_or_not() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(100 << 20).unwrap();
        assert_eq!(of(&file), Content::Blank);
        for place in [0, 5000, MIB - 1] {
            file.as_file().write_all_at(b"x", place).unwrap();
            assert_eq!(of(&file), Content::Other(format!("data at byte {place}")));
            file.as_file().write_all_at(b"\0", place).unwrap();
        }
        // Beyond the first MiB only what is known counts.
        file.as_file().write_all_at(b"x", MIB).unwrap();
        assert_eq!(of(&file), Content::Blank);
        file.as_file().write_all_at(&MAGIC, SUPERBLOCKS[1] + 64).unwrap();
        assert_eq!(of(&file), Content::Other(format!("a btrfs superblock at byte {}", SUPERBLOCKS[1])));
    }

    #[test]
    fn unfinished() {
        use crate::btrfs_image::superblock;
        use zerocopy::IntoBytes;
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(2 * MIB).unwrap();
        let uuid = new_uuid().unwrap();
        file.as_file().write_all_at(&uuid, SUPERBLOCKS[0] + 32).unwrap();
        file.as_file().write_all_at(&MKFS_UNFINISHED, SUPERBLOCKS[0] + 64).unwrap();
        assert_eq!(of(&file), Content::Unfinished(uuid));
        file.as_file().write_all_at(b"x", 9).unwrap();
        assert!(matches!(of(&file), Content::Other(_)));
        file.as_file().write_all_at(b"\0", 9).unwrap();
        // A restore onto a device was stopped, with some copies of the superblock or without; whatever the UUID.
        let of_image = tempfile::NamedTempFile::new().unwrap();
        of_image.as_file().set_len(100 << 20).unwrap();
        of_image.as_file().write_all_at(&superblock::unfinished([9; 16], 1), SUPERBLOCKS[0]).unwrap();
        assert_eq!(of(&of_image), Content::Unfinished([9; 16]));
        assert!(is_unfinished_image(of_image.as_file()).unwrap() && !is_unfinished_image(file.as_file()).unwrap());
        let copy = SuperBlock { fsid: [9; 16], magic: MAGIC, ..SuperBlock::zeroed() };
        of_image.as_file().write_all_at(copy.as_bytes(), SUPERBLOCKS[1]).unwrap();
        assert_eq!(of(&of_image), Content::Unfinished([9; 16]));
        of_image.as_file().write_all_at(&[8; 16], SUPERBLOCKS[1] + 32).unwrap();
        assert!(matches!(of(&of_image), Content::Other(_)));
        // Somebody else's.
        file.as_file().write_all_at(b"X", SUPERBLOCKS[0] + 32).unwrap();
        assert!(matches!(of(&file), Content::Other(_)));
    }

    #[test]
    fn uuids() {
        let (one, other) = (new_uuid().unwrap(), new_uuid().unwrap());
        assert_ne!(one, other);
        let shown = show_uuid(&one);
        assert!(shown.starts_with("42555253-54") && shown.len() == 36, "{shown}");
        assert_eq!(&shown[14..15], "8");
    }

    #[test]
    fn no_answer_is_not_blank() {
        let gone = Path::new("/nonexistent/device");
        assert!(signatures(gone).is_err());
    }
}
