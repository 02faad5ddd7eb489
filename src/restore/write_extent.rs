//! One piece of content to its place in a file: as it is by an encoded write where that pays, else decompressed.

use std::io;
use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use zstd::bulk::Decompressor;

use super::report::{Counters, add};
use crate::btrfs::{encoded_write, encoded_write_pays};
use crate::format::limits::FRAME_CONTENT_MAX;
use crate::format::part_reader::{Piece, PieceKind};
use crate::linux::{is_errno, pwrite_all};

/// Writes pieces; one for each worker, because it owns a decompressor and its output buffer.
pub struct ExtentWriter<'a> {
    /// Sector size of the file system if it takes encoded writes.
    sector: Option<u32>,
    decompressor: Decompressor<'static>,
    content: Vec<u8>,
    counters: &'a Counters,
}

impl<'a> ExtentWriter<'a> {
    pub fn new(sector: Option<u32>, counters: &'a Counters) -> io::Result<Self> {
        Ok(ExtentWriter {
            sector,
            decompressor: Decompressor::new()?,
            content: Vec::with_capacity(FRAME_CONTENT_MAX as usize),
            counters,
        })
    }

    /// Writes one piece; `bytes` is what its ranges count in. A hole needs no write.
    pub fn write(&mut self, file: BorrowedFd<'_>, piece: &Piece, bytes: &[u8], file_size: u64) -> io::Result<()> {
        let slice = |range: &std::ops::Range<usize>| {
            bytes
                .get(range.clone())
                .ok_or_else(|| io::Error::other("a piece reaches beyond its part (a fault of burst)"))
        };
        match &piece.kind {
            PieceKind::Hole => Ok(()),
            PieceKind::Raw { range } | PieceKind::Stored { range } => {
                pwrite_all(file, piece.content_offset, slice(range)?)
            }
            PieceKind::Frame { range } => self.frame(file, piece, slice(range)?, file_size),
        }
    }

    fn frame(&mut self, file: BorrowedFd<'_>, piece: &Piece, frame: &[u8], file_size: u64) -> io::Result<()> {
        let (offset, length) = (piece.content_offset, piece.content_len as u32);
        if let Some(sector) = self.sector
            && encoded_write_pays(offset, length, frame.len() as u32, file_size, sector)
        {
            match encoded_write(file, offset, length, frame) {
                Ok(()) => {
                    add(&self.counters.encoded_frames, 1);
                    add(&self.counters.encoded_bytes, frame.len() as u64);
                    return Ok(());
                }
                // EINVAL: a NOCOW file. ENOSPC: no contiguous room for this extent, pages may still fit.
                Err(e) if is_errno(&e, &[Errno::EINVAL, Errno::ENOTTY, Errno::ENOSPC]) => {
                    add(&self.counters.refused_frames, 1)
                }
                Err(e) => return Err(e),
            }
        }
        add(&self.counters.decoded_frames, 1);
        self.content.clear();
        self.decompressor.decompress_to_buffer(frame, &mut self.content)?;
        if self.content.len() != length as usize {
            let message = format!("a frame has {} bytes of content, its header says {length}", self.content.len());
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        pwrite_all(file, offset, &self.content)
    }
}
