//! The items of one inode, as the kernel writes them (fs/btrfs/inode.c, inode-item.c, dir-item.c, xattr.c), and the
//! rules of its tree checker that an archive could break.

use zerocopy::IntoBytes;

use super::checksum::{extref_hash, name_hash};
use super::constants::*;
use super::structures::*;
use super::tree::{NodeStore, TreeWriter};

/// Seconds and nanoseconds.
pub type Time = (i64, u32);

/// What is said of an inode apart from its names and content.
#[derive(Debug, Clone, Default)]
pub struct Inode {
    pub number: u64,
    /// Type and permissions.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    /// `nbytes`: what the content occupies, before compression.
    pub occupied: u64,
    pub mtime: Time,
    /// Access, change and creation time.
    pub created: Time,
    pub device: u64,
    /// In any order.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// One name of an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name<'a> {
    /// Inode of the directory it is in.
    pub parent: u64,
    /// Its place in that directory.
    pub index: u64,
    pub name: &'a [u8],
}

/// Content of a regular file on the device. Offsets and lengths in bytes, multiples of the sector size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    pub file_offset: u64,
    /// Bytes of content, rounded up.
    pub length: u64,
    pub address: u64,
    /// Bytes on the device.
    pub stored: u64,
    pub compressed: bool,
}

/// Content of a whole file or link in the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inline {
    pub bytes: Vec<u8>,
    /// Bytes after decompression.
    pub length: u64,
    pub compressed: bool,
}

/// One entry of a directory.
#[derive(Debug, Clone, Copy)]
pub struct DirectoryEntry<'a> {
    pub index: u64,
    pub name: &'a [u8],
    pub inode: u64,
    pub file_type: u8,
}

/// Why an inode cannot exist on BTRFS.
pub type Unfit = String;

/// `btrfs_inode_type`: the file type of directory entries.
pub fn file_type(mode: u32) -> u8 {
    match mode & 0o170000 {
        0o040000 => FT_DIR,
        0o120000 => FT_SYMLINK,
        0o020000 => FT_CHRDEV,
        0o060000 => FT_BLKDEV,
        0o010000 => FT_FIFO,
        _ => FT_REG_FILE,
    }
}

pub fn timespec((seconds, nanos): Time) -> Timespec {
    Timespec { sec: (seconds as u64).into(), nsec: nanos.into() }
}

/// Rules of names that the archive's own checks do not cover.
pub fn check_xattrs(inode: &Inode) -> Result<(), Unfit> {
    let mut hashes: Vec<(u64, usize)> = Vec::with_capacity(inode.xattrs.len());
    for (name, value) in &inode.xattrs {
        if name.len() + value.len() > XATTR_MAX || name.len() > 255 || name.is_empty() {
            let bytes = name.len() + value.len();
            return Err(format!(
                "extended attribute {} has {bytes} bytes, BTRFS takes {XATTR_MAX}",
                name.escape_ascii()
            ));
        }
        hashes.push((name_hash(name), size_of::<DirItem>() + name.len() + value.len()));
    }
    hashes.sort_unstable();
    match collision_too_large(&hashes) {
        true => {
            Err("BTRFS cannot hold its extended attributes together: too many of their names have the same hash".into())
        }
        false => Ok(()),
    }
}

fn collision_too_large(hashes: &[(u64, usize)]) -> bool {
    hashes.chunk_by(|a, b| a.0 == b.0).any(|group| group.iter().map(|(_, size)| size).sum::<usize>() > ITEM_MAX)
}

/// Writes INODE_ITEM, INODE_REF, INODE_EXTREF and XATTR_ITEM. `names` has at least one; a root directory names itself.
pub fn write_inode<S: NodeStore>(
    tree: &mut TreeWriter<S>,
    inode: &Inode,
    names: &mut [Name<'_>],
) -> crate::error::Result<()> {
    tree.put(Key::new(inode.number, INODE_ITEM, 0), &[inode_item(inode, names.len() as u32).as_bytes()])?;
    names.sort_unstable_by_key(|name| (name.parent, name.index));
    let mut surplus: Vec<(u64, Vec<u8>)> = Vec::new();
    for group in names.chunk_by(|a, b| a.parent == b.parent) {
        let Some(parent) = group.first().map(|name| name.parent) else { continue };
        let mut refs = Vec::new();
        for name in group {
            let length = size_of::<InodeRef>() + name.name.len();
            // What does not fit one item goes to extended references (btrfs_insert_inode_ref).
            if refs.len() + length <= ITEM_MAX {
                let head = InodeRef { index: name.index.into(), name_len: (name.name.len() as u16).into() };
                refs.extend_from_slice(head.as_bytes());
                refs.extend_from_slice(name.name);
            } else {
                let head = InodeExtref {
                    parent: parent.into(),
                    index: name.index.into(),
                    name_len: (name.name.len() as u16).into(),
                };
                surplus.push((extref_hash(parent, name.name), [head.as_bytes(), name.name].concat()));
            }
        }
        tree.put(Key::new(inode.number, INODE_REF, parent), &[&refs])?;
    }
    put_hashed(tree, inode.number, INODE_EXTREF, surplus)?;
    let xattrs = inode.xattrs.iter().map(|(name, value)| {
        let head = DirItem {
            location: DiskKey::zeroed(),
            transid: GENERATION.into(),
            data_len: (value.len() as u16).into(),
            name_len: (name.len() as u16).into(),
            file_type: FT_XATTR,
        };
        (name_hash(name), [head.as_bytes(), name, value].concat())
    });
    put_hashed(tree, inode.number, XATTR_ITEM, xattrs.collect())
}

/// Items whose key ends with a hash: those of one hash share an item.
fn put_hashed<S: NodeStore>(
    tree: &mut TreeWriter<S>,
    number: u64,
    item_type: u8,
    mut items: Vec<(u64, Vec<u8>)>,
) -> crate::error::Result<()> {
    items.sort_by_key(|(hash, _)| *hash);
    for group in items.chunk_by(|a, b| a.0 == b.0) {
        let Some((hash, _)) = group.first() else { continue };
        let pieces: Vec<&[u8]> = group.iter().map(|(_, item)| item.as_slice()).collect();
        tree.put(Key::new(number, item_type, *hash), &pieces)?;
    }
    Ok(())
}

pub fn inode_item(inode: &Inode, links: u32) -> InodeItem {
    InodeItem {
        generation: GENERATION.into(),
        transid: GENERATION.into(),
        size: inode.size.into(),
        nbytes: inode.occupied.into(),
        nlink: links.into(),
        uid: inode.uid.into(),
        gid: inode.gid.into(),
        mode: inode.mode.into(),
        rdev: inode.device.into(),
        atime: timespec(inode.created),
        ctime: timespec(inode.created),
        mtime: timespec(inode.mtime),
        otime: timespec(inode.created),
        ..InodeItem::zeroed()
    }
}

/// Writes DIR_ITEM and DIR_INDEX of a directory. `entries` are in the order of their index.
pub fn write_directory<S: NodeStore>(
    tree: &mut TreeWriter<S>,
    number: u64,
    entries: &[DirectoryEntry<'_>],
) -> crate::error::Result<Result<(), Unfit>> {
    let mut hashes: Vec<(u64, u32)> = entries.iter().zip(0..).map(|(entry, n)| (name_hash(entry.name), n)).collect();
    hashes.sort_unstable();
    let at = |n: u32| entries.get(n as usize);
    for group in hashes.chunk_by(|a, b| a.0 == b.0) {
        let Some((hash, _)) = group.first() else { continue };
        let mut item = Vec::new();
        for (n, entry) in group.iter().filter_map(|(_, n)| at(*n)).enumerate() {
            if group.iter().take(n).any(|(_, other)| at(*other).is_some_and(|other| other.name == entry.name)) {
                return Ok(Err(format!("the name \"{}\" comes twice in its directory", entry.name.escape_ascii())));
            }
            item.extend_from_slice(directory_item(entry).as_bytes());
            item.extend_from_slice(entry.name);
        }
        if item.len() > ITEM_MAX {
            let name = at(group[0].1).map_or(&[][..], |entry| entry.name).escape_ascii();
            return Ok(Err(format!("too many names have the hash of \"{name}\" in one directory")));
        }
        tree.put(Key::new(number, DIR_ITEM, *hash), &[&item])?;
    }
    for entry in entries {
        tree.put(Key::new(number, DIR_INDEX, entry.index), &[directory_item(entry).as_bytes(), entry.name])?;
    }
    Ok(Ok(()))
}

fn directory_item(entry: &DirectoryEntry<'_>) -> DirItem {
    DirItem {
        location: Key::new(entry.inode, INODE_ITEM, 0).into(),
        transid: GENERATION.into(),
        data_len: 0.into(),
        name_len: (entry.name.len() as u16).into(),
        file_type: entry.file_type,
    }
}

/// Writes EXTENT_DATA items of content on the device, in the order of their offsets.
pub fn write_extents<S: NodeStore>(
    tree: &mut TreeWriter<S>,
    number: u64,
    extents: &[Extent],
) -> crate::error::Result<()> {
    for extent in extents {
        let item = FileExtentItem {
            head: extent_head(extent.length, extent.compressed, FILE_EXTENT_REG),
            disk_bytenr: extent.address.into(),
            disk_num_bytes: extent.stored.into(),
            offset: 0.into(),
            num_bytes: extent.length.into(),
        };
        tree.put(Key::new(number, EXTENT_DATA, extent.file_offset), &[item.as_bytes()])?;
    }
    Ok(())
}

/// Writes the EXTENT_DATA item of content in the tree.
pub fn write_inline<S: NodeStore>(tree: &mut TreeWriter<S>, number: u64, inline: &Inline) -> crate::error::Result<()> {
    let head = extent_head(inline.length, inline.compressed, FILE_EXTENT_INLINE);
    tree.put(Key::new(number, EXTENT_DATA, 0), &[head.as_bytes(), &inline.bytes])
}

fn extent_head(length: u64, compressed: bool, extent_type: u8) -> FileExtentHead {
    FileExtentHead {
        generation: GENERATION.into(),
        ram_bytes: length.into(),
        compression: if compressed { COMPRESS_ZSTD } else { COMPRESS_NONE },
        encryption: 0,
        other_encoding: 0.into(),
        extent_type,
    }
}
