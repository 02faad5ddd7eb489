//! Frames taken from a BTRFS as they are stored, so that nothing is compressed again.

use std::collections::HashMap;
use std::ops::Range;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::sys::statfs::{BTRFS_SUPER_MAGIC, fstatfs};
use zstd::zstd_safe::DCtx;

use super::source_file::SourceFile;
use crate::btrfs::{Compression, encoded_read};
use crate::format::limits::FRAME_CONTENT_MAX;
use crate::format::step::Step;
use crate::format::zstd_frame::parse;
use crate::linux::fiemap::encoded_extents;
use crate::linux::{is_errno, retry};

/// BTRFS compresses at most this much at once, and stores it in at most as many bytes.
const EXTENT_MAX: usize = FRAME_CONTENT_MAX as usize;

/// All but the last frame of a file must hold a multiple of this.
const GRAIN: u64 = 4096;

/// What stands at a position of a file.
pub enum Stored {
    /// A frame that an archive may hold; its content has been put into the buffer.
    Frame { bytes: Vec<u8>, content_length: u32 },
    /// Something else, for this many bytes: to be read, and compressed.
    Other(u64),
}

/// Reads frames; one per thread.
pub struct StoredFrames {
    /// By device number: whether it is worth asking.
    file_systems: HashMap<u64, bool>,
    /// Off by choice.
    recompress: bool,
    /// Off by choice, or because this process may not.
    is_off: bool,
    extent: Vec<u8>,
    decoder: DCtx<'static>,
}

impl StoredFrames {
    pub fn new(recompress: bool) -> StoredFrames {
        StoredFrames {
            file_systems: HashMap::new(),
            recompress,
            is_off: recompress,
            extent: vec![0; EXTENT_MAX],
            decoder: DCtx::create(),
        }
    }

    /// Whether the file may be stored in frames.
    pub fn can_hold(&mut self, file: &SourceFile) -> bool {
        let is_btrfs = || retry(|| fstatfs(&file.file)).is_ok_and(|s| s.filesystem_type() == BTRFS_SUPER_MAGIC);
        !self.is_off && *self.file_systems.entry(file.stat.dev).or_insert_with(is_btrfs)
    }

    /// Where in `range` it is worth to [`take`](Self::take); nowhere if the file system cannot tell.
    pub fn ranges(&mut self, file: &SourceFile, range: Range<u64>) -> Vec<Range<u64>> {
        if !self.can_hold(file) {
            return Vec::new();
        }
        encoded_extents(file.file.as_fd(), range).unwrap_or_default()
    }

    /// What is stored at the start of `range`. A frame is taken only if it keeps the format's rules (spec `#frames`),
    /// ends within `range`, and decodes to what it says: then that is the start of `content`. BTRFS may also keep a
    /// part of a frame only, another compression, or a frame with more behind it.
    ///
    /// An error is not reported: reading the content in the ordinary way comes next, and knows better what is wrong.
    pub fn take(&mut self, file: &SourceFile, range: Range<u64>, content: &mut [u8]) -> Stored {
        let rest = range.end - range.start;
        let extent = match encoded_read(file.file.as_fd(), range.start, &mut self.extent) {
            Ok(extent) => extent,
            Err(error) => {
                self.is_off |= is_errno(&error, &[Errno::EPERM, Errno::ENOTTY, Errno::EOPNOTSUPP]);
                return Stored::Other(rest);
            }
        };
        if extent.len == 0 {
            return Stored::Other(rest);
        }
        let other = Stored::Other(extent.len.min(rest));
        if extent.compression != Compression::Zstd || extent.unencoded_offset != 0 || extent.len > rest {
            return other;
        }
        let is_last = range.start + extent.len == file.stat.size;
        let content = content.get_mut(..extent.len as usize);
        let (Some(content), true) = (content, is_last || extent.len.is_multiple_of(GRAIN)) else { return other };
        let bytes = self.extent.get(..extent.bytes).unwrap_or_default();
        match frame(&mut self.decoder, bytes, content) {
            Some(bytes) => Stored::Frame { bytes, content_length: extent.len as u32 },
            None => other,
        }
    }

    /// All of a file as it is stored, found in another way than by [`take`](Self::take): fills `content`, and gives the
    /// frame if that would take it. None if the kernel has to decompress it.
    pub fn decode(&mut self, compression: Compression, stored: &[u8], content: &mut [u8]) -> Option<Option<Vec<u8>>> {
        match compression {
            Compression::None => {
                content.copy_from_slice(stored.get(..content.len())?);
                Some(None)
            }
            Compression::Zstd => {
                let frame = frame(&mut self.decoder, stored, content)?;
                Some((!self.recompress).then_some(frame))
            }
            _ => None,
        }
    }
}

/// The frame at the start of `bytes`, if it keeps the format's rules and is `content`, which it fills.
fn frame(decoder: &mut DCtx<'_>, bytes: &[u8], content: &mut [u8]) -> Option<Vec<u8>> {
    let Ok(Step::Ready(frame)) = parse(bytes) else { return None };
    let bytes = bytes.get(..frame.length)?;
    if frame.content_size as usize != content.len() || decoder.decompress(content, bytes) != Ok(content.len()) {
        return None;
    }
    Some(bytes.to_vec())
}
