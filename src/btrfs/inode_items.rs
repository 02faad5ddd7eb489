//! What the tree of a subvolume says of an inode, without the kernel making it an inode of its own.
//!
//! Layouts: kernel `include/uapi/linux/btrfs_tree.h`.

use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;

use super::Compression;
use super::tree_search::{Item, THIS_SUBVOLUME, TreeSearch, Wanted, u32_at, u64_at};
use crate::btrfs_image::constants::{
    COMPRESS_NONE, COMPRESS_ZSTD, EXTENT_DATA, FILE_EXTENT_INLINE, FILE_EXTENT_REG, INODE_ITEM, SECTOR, XATTR_ITEM,
};

/// `BTRFS_VERITY_DESC_ITEM_KEY`, `BTRFS_VERITY_MERKLE_ITEM_KEY`
const VERITY_DESCRIPTOR: u8 = 36;
const VERITY_MERKLE: u8 = 37;

/// What lstat(2) would say, from the inode's item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InodeItem {
    /// Type and permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Names of the inode.
    pub nlink: u32,
    /// Bytes of content.
    pub size: u64,
    /// Bytes that are allocated for it (`nbytes`).
    pub data_bytes: u64,
    /// When the content last changed: seconds since 1970, and nanoseconds.
    pub mtime: (i64, u32),
    /// When anything of the inode last changed.
    pub ctime: (i64, u32),
}

/// Where an extent is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place<'a> {
    /// In the tree itself: the bytes as they are stored.
    Inline(&'a [u8]),
    /// On a device: logical addresses, in bytes. See [`DeviceReader`](super::DeviceReader).
    Regular(Range<u64>),
}

/// A file whose content is one extent, from its start; without compression the extent may be longer than the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmallFile<'a> {
    /// Of the extent.
    pub compression: Compression,
    /// Where the extent is.
    pub place: Place<'a>,
    /// Whether it has extended attributes, whatever they are.
    pub has_xattrs: bool,
}

/// Asks for inodes; one per thread, because it owns the buffer of the call.
pub struct InodeItems {
    search: TreeSearch,
}

impl InodeItems {
    /// Its buffer is 64 KiB.
    #[allow(clippy::new_without_default)]
    pub fn new() -> InodeItems {
        InodeItems { search: TreeSearch::new() }
    }

    /// The item of an inode of the subvolume that `within` is in; None if there is no such inode.
    ///
    /// Errors: EPERM without CAP_SYS_ADMIN in the first user namespace, ENOTTY where there is no such call.
    pub fn inode(&mut self, within: BorrowedFd<'_>, inode: u64) -> io::Result<Option<InodeItem>> {
        let wanted =
            Wanted { tree: THIS_SUBVOLUME, object: inode, types: INODE_ITEM..=INODE_ITEM, offsets: 0..=0, items: 1 };
        Ok(self.search.find(within, &wanted)?.next().and_then(|item| inode_item(item.bytes)))
    }

    /// A regular file or symbolic link of `size` bytes, if it is that simple. Errors as of [`inode`](Self::inode).
    pub fn small_file(&mut self, within: BorrowedFd<'_>, inode: u64, size: u64) -> io::Result<Option<SmallFile<'_>>> {
        let wanted = Wanted {
            tree: THIS_SUBVOLUME,
            object: inode,
            types: XATTR_ITEM..=EXTENT_DATA,
            offsets: 0..=u64::MAX,
            items: u32::MAX,
        };
        let mut has_xattrs = false;
        let mut only = None;
        // In the order of their types: where the content is found, nothing before it is missing.
        for Item { item_type, offset, bytes } in self.search.find(within, &wanted)? {
            match item_type {
                XATTR_ITEM => has_xattrs = true,
                EXTENT_DATA if offset == 0 && only.is_none() => only = Some(bytes),
                // Also what only the kernel's own read compares with a fs-verity digest.
                EXTENT_DATA | VERITY_DESCRIPTOR | VERITY_MERKLE => return Ok(None),
                _ => {}
            }
        }
        let extent = only.and_then(|item| extent(item, size));
        Ok(extent.map(|(compression, place)| SmallFile { compression, place, has_xattrs }))
    }
}

/// `struct btrfs_inode_item`
fn inode_item(item: &[u8]) -> Option<InodeItem> {
    let time = |at| Some((u64_at(item, at)? as i64, u32_at(item, at + 8)?));
    Some(InodeItem {
        size: u64_at(item, 16)?,
        data_bytes: u64_at(item, 24)?,
        nlink: u32_at(item, 40)?,
        uid: u32_at(item, 44)?,
        gid: u32_at(item, 48)?,
        mode: u32_at(item, 52)?,
        ctime: time(124)?,
        mtime: time(136)?,
    })
}

/// `struct btrfs_file_extent_item`, if it is all of a file of `size` bytes, and all of it is in the file.
fn extent(item: &[u8], size: u64) -> Option<(Compression, Place<'_>)> {
    let length = u64_at(item, 8)?;
    let [compression, encryption, encoding @ .., kind] = *item.get(16..)?.first_chunk::<5>()?;
    if encryption != 0 || encoding != [0; 2] {
        return None;
    }
    // `BTRFS_COMPRESS_*`, which are other numbers than those of encoded reads.
    let compression = match compression {
        COMPRESS_NONE => Compression::None,
        COMPRESS_ZSTD => Compression::Zstd,
        other => Compression::Other(other.into()),
    };
    let place = match kind {
        FILE_EXTENT_INLINE if length == size => Place::Inline(item.get(21..)?),
        FILE_EXTENT_REG => {
            let [address, stored, offset, used] = [21, 29, 37, 45].map(|at| u64_at(item, at));
            let (address, stored) = (address?, stored?);
            // 0 is the address of a hole.
            if address == 0 || offset? != 0 || used? < size || length < size {
                return None;
            }
            // Of a compressed extent all must be read: not for a piece of it that a cut or cloned file has.
            if compression != Compression::None && length > size.checked_next_multiple_of(SECTOR)? {
                return None;
            }
            // Without compression an extent may be longer than what a file has of it.
            let needed = if compression == Compression::None { size.checked_next_multiple_of(SECTOR)? } else { stored };
            Place::Regular(address..address.checked_add(needed.min(stored))?)
        }
        _ => return None,
    };
    Some((compression, place))
}
