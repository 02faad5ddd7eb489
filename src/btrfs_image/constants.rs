//! Numbers of the on-disk format: include/uapi/linux/btrfs_tree.h unless another source is named.

use std::ops::Range;

/// The only sector size that every kernel of a 4 KiB page mounts.
pub const SECTOR: u64 = 4096;
/// What mkfs.btrfs takes by default.
pub const NODE: usize = 16384;
/// `BTRFS_STRIPE_LEN` (fs/btrfs/volumes.h)
pub const STRIPE_LEN: u64 = 64 << 10;
pub const MIB: u64 = 1 << 20;

/// Generation of everything in a new image; any small number will do.
pub const GENERATION: u64 = 8;

/// `btrfs_sb_offset` (fs/btrfs/disk-io.h): the superblock and its copies.
pub const SUPERBLOCKS: [u64; 3] = [64 << 10, 64 << 20, 256 << 30];
/// `BTRFS_SUPER_INFO_SIZE`
pub const SUPERBLOCK_LENGTH: u64 = 4096;
pub const MAGIC: [u8; 8] = *b"_BHRfS_M";
/// In place of [`MAGIC`] while an image is being made: no program knows it.
pub const MAGIC_UNFINISHED: [u8; 8] = *b"!BURST_M";
/// `BTRFS_DEVICE_RANGE_RESERVED` (fs/btrfs/fs.h): boot loaders and the first superblock.
pub const RESERVED: Range<u64> = 0..MIB;

/// Object ids of trees.
pub const ROOT_TREE: u64 = 1;
pub const EXTENT_TREE: u64 = 2;
pub const CHUNK_TREE: u64 = 3;
pub const DEV_TREE: u64 = 4;
pub const FS_TREE: u64 = 5;
pub const ROOT_TREE_DIR: u64 = 6;
pub const CSUM_TREE: u64 = 7;
pub const UUID_TREE: u64 = 9;
pub const FREE_SPACE_TREE: u64 = 10;
pub const DATA_RELOC_TREE: u64 = -9i64 as u64;

/// `BTRFS_FIRST_FREE_OBJECTID`: the first subvolume beside the top level.
pub const FIRST_SUBVOLUME: u64 = 256;
/// `BTRFS_FIRST_FREE_OBJECTID`: the first inode of a tree of files, its root directory.
pub const ROOT_DIRECTORY: u64 = 256;
pub const FIRST_CHUNK_TREE: u64 = 256;
pub const DEV_ITEMS: u64 = 1;
pub const DEV_STATS: u64 = 0;
pub const EXTENT_CSUM: u64 = -10i64 as u64;

/// Types of items.
pub const INODE_ITEM: u8 = 1;
pub const INODE_REF: u8 = 12;
pub const INODE_EXTREF: u8 = 13;
pub const XATTR_ITEM: u8 = 24;
pub const DIR_ITEM: u8 = 84;
pub const DIR_INDEX: u8 = 96;
pub const EXTENT_DATA: u8 = 108;
pub const EXTENT_CSUM_ITEM: u8 = 128;
pub const ROOT_ITEM: u8 = 132;
pub const ROOT_BACKREF: u8 = 144;
pub const ROOT_REF: u8 = 156;
pub const EXTENT_ITEM: u8 = 168;
pub const METADATA_ITEM: u8 = 169;
pub const TREE_BLOCK_REF: u8 = 176;
pub const EXTENT_DATA_REF: u8 = 178;
pub const BLOCK_GROUP_ITEM: u8 = 192;
pub const FREE_SPACE_INFO: u8 = 198;
pub const FREE_SPACE_EXTENT: u8 = 199;
pub const DEV_EXTENT: u8 = 204;
pub const DEV_ITEM: u8 = 216;
pub const CHUNK_ITEM: u8 = 228;
/// Device statistics (`BTRFS_PERSISTENT_ITEM_KEY`).
pub const PERSISTENT_ITEM: u8 = 249;
pub const UUID_SUBVOLUME: u8 = 251;

/// `BTRFS_EXTENT_FLAG_*`
pub const EXTENT_FLAG_DATA: u64 = 1;
pub const EXTENT_FLAG_TREE_BLOCK: u64 = 2;
/// `BTRFS_HEADER_FLAG_WRITTEN`, and back reference revision `BTRFS_MIXED_BACKREF_REV` in the top byte.
pub const HEADER_FLAGS: u64 = 1 | 1 << 56;
/// `BTRFS_HEADER_FLAG_WRITTEN` alone is what a superblock has.
pub const SUPER_FLAGS: u64 = 1;
/// `BTRFS_INODE_ROOT_ITEM_INIT`
pub const INODE_ROOT_ITEM_INIT: u64 = 1 << 31;

/// `BTRFS_FILE_EXTENT_*`, and compression types
pub const FILE_EXTENT_INLINE: u8 = 0;
pub const FILE_EXTENT_REG: u8 = 1;
pub const COMPRESS_NONE: u8 = 0;
pub const COMPRESS_ZSTD: u8 = 3;

/// `BTRFS_FT_*`
pub const FT_REG_FILE: u8 = 1;
pub const FT_DIR: u8 = 2;
pub const FT_CHRDEV: u8 = 3;
pub const FT_BLKDEV: u8 = 4;
pub const FT_FIFO: u8 = 5;
pub const FT_SYMLINK: u8 = 7;
pub const FT_XATTR: u8 = 8;

/// `BTRFS_BLOCK_GROUP_*`
pub const GROUP_DATA: u64 = 1;
pub const GROUP_SYSTEM: u64 = 2;
pub const GROUP_METADATA: u64 = 4;
pub const GROUP_RAID0: u64 = 1 << 3;
pub const GROUP_RAID1: u64 = 1 << 4;
pub const GROUP_DUP: u64 = 1 << 5;

/// `BTRFS_FEATURE_INCOMPAT_DEFAULT_SUBVOL`: not the top level is what is mounted.
pub const INCOMPAT_DEFAULT_SUBVOLUME: u64 = 1 << 1;
/// `BTRFS_FEATURE_INCOMPAT_*`: MIXED_BACKREF, COMPRESS_ZSTD, BIG_METADATA, EXTENDED_IREF, SKINNY_METADATA, NO_HOLES.
pub const INCOMPAT: u64 = 1 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 8 | 1 << 9;
/// `BTRFS_FEATURE_COMPAT_RO_*`: FREE_SPACE_TREE, FREE_SPACE_TREE_VALID.
pub const COMPAT_RO: u64 = 1 | 2;

/// `BTRFS_LEAF_DATA_SIZE`: bytes of a node after its header.
pub const NODE_DATA: usize = NODE - 101;
/// The largest item a leaf can hold.
pub const ITEM_MAX: usize = NODE_DATA - 25;
/// `BTRFS_MAX_XATTR_SIZE` (fs/btrfs/fs.h): name and value of one extended attribute.
pub const XATTR_MAX: usize = ITEM_MAX - 30;
/// Pointers in an inner node (`BTRFS_NODEPTRS_PER_BLOCK`).
pub const POINTERS: usize = NODE_DATA / 33;
/// `BTRFS_LINK_MAX` (fs/btrfs/ctree.h)
pub const LINK_MAX: usize = 65535;
/// `BTRFS_DEFAULT_MAX_INLINE` (fs/btrfs/fs.h): content of a whole file up to this goes into the tree.
pub const INLINE_MAX: usize = 2048;
/// Sums in one item: `MAX_CSUM_ITEMS` (fs/btrfs/file-item.c) for 4-byte sums.
pub const SUMS_PER_ITEM: usize = (NODE_DATA - 25 * 2) / 4 - 1;
