//! Numbers of the format (spec/format.md section 14). Changing one breaks the format unless the comment says otherwise.

/// Distance of the grid points: every multiple below the data's end is a clean point (spec `#grid`).
pub const GRID: u64 = 8 << 20;

/// Most content bytes of one frame; also the largest extent that BTRFS compresses (fs/btrfs/compression.h, BTRFS_MAX_COMPRESSED).
pub const FRAME_CONTENT_MAX: u32 = 128 << 10;

/// Longest frame. Guards parsing; a frame of raw blocks is 131,084 bytes at most.
pub const FRAME_LENGTH_MAX: usize = 132 << 10;

/// Extents start at multiples of this (the only sector size BTRFS mounts on 4 KiB-page machines).
pub const EXTENT_ALIGNMENT: u64 = 4096;

/// Longest name and longest link target (PATH_MAX without the NUL).
pub const NAME_MAX: usize = 4095;

/// Longest component a Linux file system takes. Longer ones are valid in an archive but not restorable.
pub const COMPONENT_MAX: usize = 255;

/// Longest BURST field in a central directory header; larger attribute sets move to an overflow list.
pub const BURST_FIELD_MAX: usize = 32 << 10;

/// Longest attribute list in the attribute region. Guards parsing.
pub const ATTRIBUTE_LIST_MAX: u32 = 16 << 20;

/// Longest value of an extended attribute (Linux XATTR_SIZE_MAX).
pub const XATTR_VALUE_MAX: usize = 64 << 10;

/// Largest payload of a pad field.
pub const PAD_PAYLOAD_MAX: u64 = 65_000;

/// Largest number of entries.
pub const ENTRIES_MAX: u64 = u32::MAX as u64;

/// Piece of the directory that one checksum covers.
pub const DIRECTORY_CHECKSUM_STEP: u64 = 1 << 20;

/// Files up to this size are finished in memory, so that sizes and CRC-32 stand in the local file header.
/// A choice of this writer, not of the format.
pub const FINISHED_IN_MEMORY_MAX: u64 = 16 << 20;

/// Extended attribute of a completely restored target; a statement about that target, so no archive carries it on.
pub const COMPLETION_MARKER: &str = "user.burst.restored";

/// The same while only tidying up is left: all content is there, and the mark comes next. No archive carries it on either.
pub const FINISHING_MARKER: &str = "user.burst.finishing";

/// Whether an extended attribute is one of these marks.
pub fn is_marker(name: &[u8]) -> bool {
    [COMPLETION_MARKER, FINISHING_MARKER].iter().any(|mark| name == mark.as_bytes())
}

/// Name reserved in the root for the restorer's own state: a directory in the target that exists while a restore runs, and
/// stays when it fails.
pub const STATE_DIRECTORY: &str = ".burst";
