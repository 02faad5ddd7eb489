//! What the archive writer is given, and what it refuses of it.

use super::frame_layout::Unit;
use crate::format::entry::{Attributes, EntryType};
use crate::format::error::{Error, Reason, Result};
use crate::format::limits::{
    ATTRIBUTE_LIST_MAX, EXTENT_ALIGNMENT, FRAME_CONTENT_MAX, FRAME_LENGTH_MAX, XATTR_VALUE_MAX,
};
use crate::format::zstd_frame::{hole_frame, is_hole_frame, raw_frame_header};

/// What is fixed before the first entry.
#[derive(Debug, Clone)]
pub struct WriterOptions {
    /// Identifies the archive in every start-of-part frame; random unless bytes must be reproducible.
    pub archive_id: [u8; 16],
    /// Attributes of the directory that is archived; None for a collection of several sources.
    pub root: Option<Attributes>,
    /// The S3 upload part size this archive is planned for (a hint in the trailer).
    pub upload_part_size: u64,
}

/// An entry to be added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEntry {
    /// Path relative to the root, without a final `/`.
    pub path: Vec<u8>,
    /// Must fit the call that adds it: only a regular file has pieces.
    pub entry_type: EntryType,
    /// Overflow to the attribute region where they are too long for the directory.
    pub attributes: Attributes,
    /// `st_nlink` if it is over 1: hard links may name this entry.
    pub link_count: Option<u32>,
}

/// A range of a file's content. All but an entry's last hold a multiple of 4,096 bytes, at most 128 KiB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// One zstd frame (spec `#frames`).
    Frame {
        /// The whole frame, with the length of its content in its header.
        bytes: Vec<u8>,
        /// Bytes it decompresses to.
        content_length: u32,
    },
    /// Content that compression does not shrink.
    Raw(Vec<u8>),
    /// A hole of this many bytes.
    Hole(u32),
}

impl Piece {
    /// Bytes of the file that it stands for.
    pub fn content_length(&self) -> u64 {
        match self {
            Piece::Frame { content_length, .. } | Piece::Hole(content_length) => u64::from(*content_length),
            Piece::Raw(content) => content.len() as u64,
        }
    }

    /// Bytes it takes in the archive.
    pub fn length(&self) -> u64 {
        match self {
            Piece::Frame { bytes, .. } => bytes.len() as u64,
            Piece::Raw(content) => (raw_frame_header(1).len() + content.len()) as u64,
            Piece::Hole(n) => hole_frame(*n).len() as u64,
        }
    }

    pub(super) fn unit(&self) -> Unit {
        Unit { length: self.length(), content: self.content_length(), raw: matches!(self, Piece::Raw(_)) }
    }
}

/// Checks one piece and its place; makes sure that allocated zeros never look like a hole (spec `#holes`).
pub(super) fn check_piece(piece: &mut Piece, offset: &mut u64) -> Result<()> {
    let content = piece.content_length();
    if content == 0 || content > u64::from(FRAME_CONTENT_MAX) || piece.length() > FRAME_LENGTH_MAX as u64 {
        return Err(misuse(format!("a piece of {content} bytes in a frame of {} bytes", piece.length())));
    }
    if !offset.is_multiple_of(EXTENT_ALIGNMENT) {
        return Err(misuse(format!("a piece at offset {offset}, which is not a multiple of {EXTENT_ALIGNMENT}")));
    }
    *offset += content;
    if let Piece::Frame { bytes, .. } = piece
        && is_hole_frame(bytes)
    {
        // The same frame with a window descriptor of 128 KiB instead of the single-segment flag.
        bytes[4] &= !0x20;
        bytes.insert(5, 0x38);
    }
    Ok(())
}

/// Refuses attributes that no Linux file has.
pub(super) fn check_xattrs(attributes: &Attributes) -> Result<()> {
    let mut total = 0;
    for (name, value) in &attributes.xattrs {
        if name.is_empty() || name.len() > 255 || value.len() > XATTR_VALUE_MAX {
            return Err(misuse(format!(
                "extended attribute \"{}\" has a name of {} bytes (allowed are 1 to 255) and a value of {} (at most {XATTR_VALUE_MAX})",
                name.escape_ascii(),
                name.len(),
                value.len()
            )));
        }
        total += 5 + name.len() + value.len();
    }
    if total > ATTRIBUTE_LIST_MAX as usize - 64 {
        return Err(misuse(format!("{total} bytes of extended attributes, allowed are {}", ATTRIBUTE_LIST_MAX - 64)));
    }
    Ok(())
}

/// An entry that cannot be in an archive, or is given at the wrong time. No archive is damaged by it.
pub(super) fn misuse(message: impl Into<String>) -> Error {
    Error::new(Reason::Unsupported, format!("cannot be archived: {}", message.into()))
}
