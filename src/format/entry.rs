//! One path in an archive, as values (spec/format.md sections 3 and 6).

use super::error::{Error, Reason, Result};
use super::limits::{COMPONENT_MAX, NAME_MAX, STATE_DIRECTORY};

/// Seconds since 1970-01-01 UTC, and nanoseconds below 10^9.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord)]
pub struct Timestamp {
    /// Negative before 1970.
    pub seconds: i64,
    /// Below 10^9.
    pub nanos: u32,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryType {
    /// Comes before everything in it.
    Directory,
    /// Has data, or is empty.
    Regular,
    /// Its data is the target, as bytes.
    Symlink,
    /// Another name of the entry with this ordinal.
    HardLink {
        /// Below the entry's own ordinal.
        target: u64,
    },
    /// `st_rdev` in two numbers (makedev(3)).
    CharDevice {
        /// Which driver.
        major: u32,
        /// Which of its devices.
        minor: u32,
    },
    /// `st_rdev` in two numbers (makedev(3)).
    BlockDevice {
        /// Which driver.
        major: u32,
        /// Which of its devices.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

/// `st_mode` type bits (include/uapi/linux/stat.h).
pub const S_IFMT: u32 = 0o170000;
/// Directory.
pub const S_IFDIR: u32 = 0o040000;
/// Regular file.
pub const S_IFREG: u32 = 0o100000;
/// Symbolic link.
pub const S_IFLNK: u32 = 0o120000;
/// Character device.
pub const S_IFCHR: u32 = 0o020000;
/// Block device.
pub const S_IFBLK: u32 = 0o060000;
/// FIFO.
pub const S_IFIFO: u32 = 0o010000;

impl EntryType {
    /// The type bits that stand in the external attributes; a hard link shows as a symbolic link there.
    pub fn mode_bits(self) -> u32 {
        match self {
            EntryType::Directory => S_IFDIR,
            EntryType::Regular => S_IFREG,
            EntryType::Symlink | EntryType::HardLink { .. } => S_IFLNK,
            EntryType::CharDevice { .. } => S_IFCHR,
            EntryType::BlockDevice { .. } => S_IFBLK,
            EntryType::Fifo => S_IFIFO,
        }
    }
}

/// An extended attribute: complete name (`user.x`, `system.posix_acl_access`) and value.
pub type Xattr = (Vec<u8>, Vec<u8>);

/// Owner, permissions, time and extended attributes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attributes {
    /// The 12 permission bits (`st_mode & 07777`).
    pub permissions: u32,
    /// `st_uid`, a number: names of users are not archived.
    pub uid: u32,
    /// `st_gid`
    pub gid: u32,
    /// Last modification.
    pub mtime: Timestamp,
    /// Sorted by name, each name once.
    pub xattrs: Vec<Xattr>,
}

/// How the data is kept (APPNOTE 4.4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// As it is.
    Stored,
    /// As zstd frames, one after the other.
    Zstd,
}

impl Method {
    /// In ZIP headers.
    pub const fn number(self) -> u16 {
        match self {
            Method::Stored => 0,
            Method::Zstd => 93,
        }
    }
}

/// Where an entry's overflowing attributes are (spec `#attribute-region`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overflow {
    /// Counted from the end of the data region.
    pub offset: u64,
    /// Bytes.
    pub length: u32,
    /// CRC-32C of them.
    pub crc32c: u32,
}

/// One entry as the directory states it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the archive, from 0.
    pub ordinal: u64,
    /// Path without the final `/` of a directory.
    pub path: Vec<u8>,
    /// Out of the mode, and of the attribute list for hard links and devices.
    pub entry_type: EntryType,
    /// Without the extended attributes that overflowed.
    pub attributes: Attributes,
    /// Number of names the inode had; present where hard links may name this entry.
    pub link_count: Option<u32>,
    /// Where the extended attributes are, if there are too many for the directory.
    pub overflow: Option<Overflow>,
    /// The one in which all of its data is kept.
    pub method: Method,
    /// General purpose bit 3: a data descriptor follows the data.
    pub has_descriptor: bool,
    /// CRC-32 (ZIP) of the content.
    pub crc32: u32,
    /// Bytes of data in the archive, with frames that mean nothing.
    pub compressed_size: u64,
    /// Bytes of content, holes included.
    pub uncompressed_size: u64,
    /// Offset of the local file header in the archive.
    pub header_offset: u64,
    /// Offset of the central directory header, counted from the start of the directory.
    pub directory_offset: u64,
}

impl Entry {
    /// Bytes of the data descriptor after the data.
    pub fn descriptor_length(&self) -> u64 {
        if self.has_descriptor { super::zip::data_descriptor::LENGTH as u64 } else { 0 }
    }
}

/// Checks a path (no final `/`) against spec `#names`. Components over 255 bytes pass: see [`check_restorable`].
pub fn check_path(path: &[u8]) -> Result<()> {
    let refuse = |what: &str| Err(Error::new(Reason::UnsafeEntry, format!("the name {what}")).in_entry(path));
    if path.is_empty() {
        return refuse("is empty");
    }
    if path.len() > NAME_MAX {
        return refuse(&format!("is {} bytes long, more than {NAME_MAX}", path.len()));
    }
    if path.contains(&0) {
        return refuse("contains a NUL byte");
    }
    if path[0] == b'/' {
        return refuse("is absolute");
    }
    let mut components = path.split(|&b| b == b'/');
    if components.clone().next() == Some(STATE_DIRECTORY.as_bytes()) {
        return refuse("begins with .burst, which is reserved for the restorer's state");
    }
    if components.any(|c| matches!(c, b"" | b"." | b"..")) {
        return refuse("has an empty, \".\" or \"..\" component");
    }
    Ok(())
}

/// Path of the one entry of an archive of an empty directory: the directory itself (spec `#entry-order`).
/// ZIP tools cannot open an archive without entries.
pub const EMPTY_TREE: &[u8] = b".";

/// [`check_path`], for an entry of the archive: the very first may be [`EMPTY_TREE`].
pub fn check_entry_path(path: &[u8], is_directory: bool, ordinal: u64) -> Result<()> {
    if path == EMPTY_TREE && is_directory && ordinal == 0 { Ok(()) } else { check_path(path) }
}

/// Checks that every component fits a Linux file system.
pub fn check_restorable(path: &[u8]) -> Result<()> {
    match path.split(|&b| b == b'/').find(|c| c.len() > COMPONENT_MAX) {
        None => Ok(()),
        Some(c) => Err(Error::new(
            Reason::UnsafeEntry,
            format!("a name component has {} bytes; Linux allows {COMPONENT_MAX}", c.len()),
        )
        .in_entry(path)),
    }
}

/// The parent's path (empty for the root) and the last component.
pub fn split_parent(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&b| b == b'/') {
        Some(i) => (&path[..i], &path[i + 1..]),
        None => (&[], path),
    }
}

/// The text of the symbolic link that stands for a hard link in other tools (spec `#hard-links`).
pub fn hard_link_text(link: &[u8], target: &[u8]) -> Vec<u8> {
    fn components(path: &[u8]) -> Vec<&[u8]> {
        path.split(|&b| b == b'/').filter(|c| !c.is_empty()).collect()
    }
    let (from, to) = (components(split_parent(link).0), components(target));
    let to_parent = &to[..to.len().saturating_sub(1)];
    let shared = from.iter().zip(to_parent).take_while(|(a, b)| a == b).count();
    let mut parts: Vec<&[u8]> = vec![b".."; from.len() - shared];
    parts.extend(&to[shared..]);
    parts.join(&b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_must_be_refused() {
        for bad in
            [&b""[..], b"/a", b"a//b", b"a/", b"./a", b"a/..", b"..", b"a\0b", b".burst", b".burst/x", &[b'a'; 4096]]
        {
            assert!(check_path(bad).is_err(), "{:?}", bad.escape_ascii().to_string());
        }
        for good in [&b"a"[..], b"a/.burst", b".bursts", b"...", b"a\\b", b"\xff\n", &[b'a'; 4095]] {
            assert!(check_path(good).is_ok(), "{:?}", good.escape_ascii().to_string());
        }
        assert!(check_restorable(&[b'a'; 255]).is_ok());
        assert!(check_restorable(&[b'a'; 256]).is_err());
    }

    #[test]
    fn hard_link_texts() {
        for (link, target, text) in [
            ("b", "a", "a"),
            ("d/b", "a", "../a"),
            ("d/b", "d/a", "a"),
            ("d/e/b", "d/f/a", "../f/a"),
            ("b", "d/a", "d/a"),
            ("d/b", "d/d/a", "d/a"),
        ] {
            assert_eq!(hard_link_text(link.as_bytes(), target.as_bytes()), text.as_bytes(), "{link} -> {target}");
        }
    }
}
