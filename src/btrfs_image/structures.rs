//! The on-disk structures, little-endian and without padding, field by field as the kernel declares them in
//! include/uapi/linux/btrfs_tree.h (node headers and superblock: fs/btrfs/accessors.h, include/uapi/linux/btrfs_tree.h).
//! Fields this writer always leaves zero keep their names so that offsets can be compared line by line.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

pub type Uuid = [u8; 16];

/// Declares structures that are plain bytes, and asserts the size of each.
macro_rules! on_disk {
    ($($(#[$doc:meta])* $name:ident = $size:literal { $($field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout)]
        #[repr(C)]
        pub struct $name { $(pub $field: $type,)* }
        const _: () = assert!(size_of::<$name>() == $size && align_of::<$name>() == 1);
        impl $name {
            #[allow(dead_code, reason = "not every structure begins so")]
            pub fn zeroed() -> Self {
                FromZeros::new_zeroed()
            }
        }
    )*};
}

on_disk! {
    /// `struct btrfs_disk_key`
    DiskKey = 17 { objectid: U64, item_type: u8, offset: U64, }
    /// `struct btrfs_header`
    Header = 101 {
        csum: [u8; 32], fsid: Uuid, bytenr: U64, flags: U64, chunk_tree_uuid: Uuid, generation: U64, owner: U64,
        nritems: U32, level: u8,
    }
    /// `struct btrfs_item`; the offset counts from the end of the header
    ItemHead = 25 { key: DiskKey, offset: U32, size: U32, }
    /// `struct btrfs_key_ptr`
    KeyPointer = 33 { key: DiskKey, blockptr: U64, generation: U64, }
    /// `struct btrfs_timespec`
    Timespec = 12 { sec: U64, nsec: U32, }
    /// `struct btrfs_inode_item`
    InodeItem = 160 {
        generation: U64, transid: U64, size: U64, nbytes: U64, block_group: U64, nlink: U32, uid: U32, gid: U32,
        mode: U32, rdev: U64, flags: U64, sequence: U64, reserved: [U64; 4], atime: Timespec, ctime: Timespec,
        mtime: Timespec, otime: Timespec,
    }
    /// `struct btrfs_inode_ref`, followed by the name
    InodeRef = 10 { index: U64, name_len: U16, }
    /// `struct btrfs_inode_extref`, followed by the name
    InodeExtref = 18 { parent: U64, index: U64, name_len: U16, }
    /// `struct btrfs_dir_item`, followed by name and data (the value of an extended attribute)
    DirItem = 30 { location: DiskKey, transid: U64, data_len: U16, name_len: U16, file_type: u8, }
    /// First half of `struct btrfs_file_extent_item`; inline data follows it
    FileExtentHead = 21 {
        generation: U64, ram_bytes: U64, compression: u8, encryption: u8, other_encoding: U16, extent_type: u8,
    }
    /// `struct btrfs_file_extent_item`
    FileExtentItem = 53 {
        head: FileExtentHead, disk_bytenr: U64, disk_num_bytes: U64, offset: U64, num_bytes: U64,
    }
    /// `struct btrfs_extent_item`, followed by inline references
    ExtentItem = 24 { refs: U64, generation: U64, flags: U64, }
    /// `btrfs_extent_item` with one inline `btrfs_extent_data_ref`
    DataExtentItem = 53 {
        item: ExtentItem, ref_type: u8, root: U64, objectid: U64, offset: U64, count: U32,
    }
    /// `btrfs_extent_item` (skinny, the level is in the key) with one inline `btrfs_extent_inline_ref`
    NodeExtentItem = 33 { item: ExtentItem, ref_type: u8, root: U64, }
    /// `struct btrfs_block_group_item`
    BlockGroupItem = 24 { used: U64, chunk_objectid: U64, flags: U64, }
    /// `struct btrfs_chunk` without its first stripe
    ChunkItem = 48 {
        length: U64, owner: U64, stripe_len: U64, chunk_type: U64, io_align: U32, io_width: U32, sector_size: U32,
        num_stripes: U16, sub_stripes: U16,
    }
    /// `struct btrfs_stripe`
    Stripe = 32 { devid: U64, offset: U64, dev_uuid: Uuid, }
    /// `struct btrfs_dev_item`
    DevItem = 98 {
        devid: U64, total_bytes: U64, bytes_used: U64, io_align: U32, io_width: U32, sector_size: U32,
        device_type: U64, generation: U64, start_offset: U64, dev_group: U32, seek_speed: u8, bandwidth: u8,
        uuid: Uuid, fsid: Uuid,
    }
    /// `struct btrfs_dev_extent`
    DevExtent = 48 {
        chunk_tree: U64, chunk_objectid: U64, chunk_offset: U64, length: U64, chunk_tree_uuid: Uuid,
    }
    /// `struct btrfs_dev_stats_item`
    DevStats = 40 { values: [U64; 5], }
    /// `struct btrfs_free_space_info`
    FreeSpaceInfo = 8 { extent_count: U32, flags: U32, }
    /// `struct btrfs_root_item`
    RootItem = 439 {
        inode: InodeItem, generation: U64, root_dirid: U64, bytenr: U64, byte_limit: U64, bytes_used: U64,
        last_snapshot: U64, flags: U64, refs: U32, drop_progress: DiskKey, drop_level: u8, level: u8,
        generation_v2: U64, uuid: Uuid, parent_uuid: Uuid, received_uuid: Uuid, ctransid: U64, otransid: U64,
        stransid: U64, rtransid: U64, ctime: Timespec, otime: Timespec, stime: Timespec, rtime: Timespec,
        reserved: [U64; 8],
    }
    /// `struct btrfs_root_ref`, followed by the name
    RootRef = 18 { dirid: U64, sequence: U64, name_len: U16, }
    /// `struct btrfs_root_backup`
    RootBackup = 168 {
        tree_root: U64, tree_root_gen: U64, chunk_root: U64, chunk_root_gen: U64, extent_root: U64,
        extent_root_gen: U64, fs_root: U64, fs_root_gen: U64, dev_root: U64, dev_root_gen: U64, csum_root: U64,
        csum_root_gen: U64, total_bytes: U64, bytes_used: U64, num_devices: U64, unused_64: [U64; 4],
        tree_root_level: u8, chunk_root_level: u8, extent_root_level: u8, fs_root_level: u8, dev_root_level: u8,
        csum_root_level: u8, unused_8: [u8; 10],
    }
    /// `struct btrfs_super_block`
    SuperBlock = 4096 {
        csum: [u8; 32], fsid: Uuid, bytenr: U64, flags: U64, magic: [u8; 8], generation: U64, root: U64,
        chunk_root: U64, log_root: U64, unused_log_root_transid: U64, total_bytes: U64, bytes_used: U64,
        root_dir_objectid: U64, num_devices: U64, sectorsize: U32, nodesize: U32, unused_leafsize: U32,
        stripesize: U32, sys_chunk_array_size: U32, chunk_root_generation: U64, compat_flags: U64,
        compat_ro_flags: U64, incompat_flags: U64, csum_type: U16, root_level: u8, chunk_root_level: u8,
        log_root_level: u8, dev_item: DevItem, label: [u8; 256], cache_generation: U64, uuid_tree_generation: U64,
        metadata_uuid: Uuid, nr_global_roots: U64, reserved: [U64; 27], sys_chunk_array: [u8; 2048],
        super_roots: [RootBackup; 4], padding: [u8; 565],
    }
}

/// Key of an item in memory; ordered as trees are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Key {
    pub objectid: u64,
    pub item_type: u8,
    pub offset: u64,
}

impl Key {
    pub const fn new(objectid: u64, item_type: u8, offset: u64) -> Key {
        Key { objectid, item_type, offset }
    }
}

impl From<Key> for DiskKey {
    fn from(k: Key) -> Self {
        DiskKey { objectid: k.objectid.into(), item_type: k.item_type, offset: k.offset.into() }
    }
}

impl From<&DiskKey> for Key {
    fn from(k: &DiskKey) -> Self {
        Key::new(k.objectid.get(), k.item_type, k.offset.get())
    }
}
