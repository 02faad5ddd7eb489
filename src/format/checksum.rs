//! The two checksums of the format: CRC-32C guards what is stored, CRC-32 (ZIP) what it decodes to.

use crc_fast::{CrcAlgorithm, Digest, checksum};
use crc32fast::Hasher;

/// CRC-32C (Castagnoli) of stored bytes: parts, map, directory, trailer, attribute lists.
pub fn crc32c(bytes: &[u8]) -> u32 {
    checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

/// CRC-32C of bytes that come in pieces.
pub struct Crc32c(Digest);

impl Crc32c {
    /// Of no bytes yet.
    pub fn new() -> Self {
        Crc32c(Digest::new(CrcAlgorithm::Crc32Iscsi))
    }

    /// Continues with the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of all bytes given so far.
    pub fn finish(self) -> u32 {
        self.0.finalize() as u32
    }
}

impl Default for Crc32c {
    fn default() -> Self {
        Crc32c::new()
    }
}

/// The ZIP CRC-32 (APPNOTE 4.4.7) of content.
pub fn crc32(bytes: &[u8]) -> u32 {
    checksum(CrcAlgorithm::Crc32IsoHdlc, bytes) as u32
}

/// CRC-32 of a followed by b.
pub fn crc32_combine(a: u32, b: u32, b_length: u64) -> u32 {
    let mut joined = Hasher::new_with_initial(a);
    joined.combine(&Hasher::new_with_initial_len(b, b_length));
    joined.finalize()
}

/// CRC-32 of n zero bytes, by doubling: holes of terabytes cost microseconds.
pub fn crc32_of_zeros(mut n: u64) -> u32 {
    let (mut crc, mut step, mut step_length) = (0, crc32(&[0]), 1u64);
    while n > 0 {
        if n & 1 == 1 {
            crc = crc32_combine(crc, step, step_length);
        }
        n >>= 1;
        if n > 0 {
            step = crc32_combine(step, step, step_length);
            step_length *= 2;
        }
    }
    crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(crc32_combine(crc32(b"1234"), crc32(b"56789"), 5), 0xCBF4_3926);
        assert_eq!(crc32_combine(crc32(b""), crc32(b"123456789"), 9), 0xCBF4_3926);
        assert_eq!(crc32_combine(crc32(b"123456789"), crc32(b""), 0), 0xCBF4_3926);
    }

    #[test]
    fn zeros() {
        for n in [0usize, 1, 2, 3, 4095, 131_072, 1_000_003] {
            assert_eq!(crc32_of_zeros(n as u64), crc32(&vec![0; n]), "{n}");
        }
    }
}
