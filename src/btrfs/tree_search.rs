//! BTRFS_IOC_TREE_SEARCH_V2: items of any tree of a file system.
//!
//! Layouts and numbers: kernel `include/uapi/linux/btrfs.h` and `btrfs_tree.h`. The call shows what is in a tree: not
//! what waits to be written. Of a subvolume snapshot that was made read-only it is everything.

#![allow(unsafe_code)]

use std::io;
use std::mem::offset_of;
use std::ops::RangeInclusive;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::linux::retry;

/// Bytes of found items that one call may give: any item, of the largest nodes, and more than a small file has.
const ROOM: usize = 64 << 10;

#[repr(C)]
struct Args {
    tree: u64,
    min_object: u64,
    max_object: u64,
    min_offset: u64,
    max_offset: u64,
    min_transaction: u64,
    max_transaction: u64,
    min_type: u32,
    max_type: u32,
    /// In: at most so many; out: so many were found.
    items: u32,
    unused: u32,
    reserved: [u64; 4],
    room: u64,
    found: [u8; ROOM],
}

/// `sizeof(struct btrfs_ioctl_search_args_v2)`, which ends where the room for items begins.
const ARGS_SIZE: usize = 112;
const _: () = assert!(offset_of!(Args, found) == ARGS_SIZE && offset_of!(Args, items) == 64);

nix::ioctl_readwrite_bad!(ioctl_tree_search, nix::request_code_readwrite!(0x94, 17, ARGS_SIZE), Args);

/// `struct btrfs_ioctl_search_header`
const HEADER_SIZE: usize = 32;

/// The tree of the subvolume that the descriptor is in.
pub(super) const THIS_SUBVOLUME: u64 = 0;

/// What to look for.
pub(super) struct Wanted {
    pub tree: u64,
    pub object: u64,
    /// From the first type at the first offset to the last type at the last offset.
    pub types: RangeInclusive<u8>,
    pub offsets: RangeInclusive<u64>,
    /// At most so many.
    pub items: u32,
}

/// One thread's: it owns the buffer of the call, 64 KiB.
pub(super) struct TreeSearch {
    args: Box<Args>,
}

impl TreeSearch {
    pub fn new() -> TreeSearch {
        let args = Args {
            tree: 0,
            min_object: 0,
            max_object: 0,
            min_offset: 0,
            max_offset: 0,
            min_transaction: 0,
            max_transaction: u64::MAX,
            min_type: 0,
            max_type: 0,
            items: 0,
            unused: 0,
            reserved: [0; 4],
            room: 0,
            found: [0; ROOM],
        };
        TreeSearch { args: Box::new(args) }
    }

    /// What is there, in the order of the keys, as far as the buffer goes.
    ///
    /// Errors: EPERM without CAP_SYS_ADMIN in the first user namespace, ENOENT if there is no such tree, ENOTTY where
    /// there is no such call.
    pub fn find(&mut self, within: BorrowedFd<'_>, wanted: &Wanted) -> io::Result<Items<'_>> {
        let args = &mut *self.args;
        args.tree = wanted.tree;
        (args.min_object, args.max_object) = (wanted.object, wanted.object);
        (args.min_type, args.max_type) = (u32::from(*wanted.types.start()), u32::from(*wanted.types.end()));
        (args.min_offset, args.max_offset) = (*wanted.offsets.start(), *wanted.offsets.end());
        (args.items, args.room) = (wanted.items, ROOM as u64);
        // SAFETY: the argument must be a writable struct of the size in the ioctl number, followed by `room` writable
        // bytes. `args` is that struct and those bytes (asserted above), and exclusively ours during the call.
        retry(|| unsafe { ioctl_tree_search(within.as_raw_fd(), args) })?;
        Ok(Items { rest: &args.found, left: args.items })
    }
}

/// One item.
pub(super) struct Item<'a> {
    pub item_type: u8,
    pub offset: u64,
    pub bytes: &'a [u8],
}

pub(super) struct Items<'a> {
    rest: &'a [u8],
    left: u32,
}

impl<'a> Iterator for Items<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let (header, rest) = self.rest.split_at_checked(HEADER_SIZE)?;
        // The header is the call's, in the order of this machine; items are little-endian.
        let offset = u64::from_ne_bytes(*header.get(16..)?.first_chunk()?);
        let item_type = u32::from_ne_bytes(*header.get(24..)?.first_chunk()?);
        let length = u32::from_ne_bytes(*header.get(28..)?.first_chunk()?);
        let (bytes, rest) = rest.split_at_checked(length as usize)?;
        self.rest = rest;
        Some(Item { item_type: item_type as u8, offset, bytes })
    }
}

/// Fields of items; None where the item is too short.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}
