//! A buffer that direct I/O takes: it begins at a multiple of the sector size.

use std::ops::{Deref, DerefMut};

use super::constants::SECTOR;

/// Zeroed bytes of a fixed length, aligned in memory.
pub struct AlignedBuffer {
    bytes: Vec<u8>,
    start: usize,
    length: usize,
}

impl AlignedBuffer {
    pub fn new(length: usize) -> AlignedBuffer {
        let bytes = vec![0; length + SECTOR as usize];
        let start = bytes.as_ptr().align_offset(SECTOR as usize);
        // align_offset may give up in theory; then direct I/O fails and says so.
        AlignedBuffer { start: if start < SECTOR as usize { start } else { 0 }, bytes, length }
    }
}

impl Deref for AlignedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.length]
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_aligned() {
        for length in [0, 1, 4096, 1 << 20] {
            let buffer = AlignedBuffer::new(length);
            assert_eq!(buffer.as_ptr() as usize % SECTOR as usize, 0);
            assert_eq!(buffer.len(), length);
        }
    }
}
