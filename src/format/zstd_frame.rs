//! Zstandard frames as far as an archive needs them: RFC 8878 section 3.1.1 without decompression, spec `#frames`.
//!
//! The block headers are walked and everything that can be known without decoding is checked, because BTRFS takes
//! a broken frame without complaint and gives zeros or EIO when it is read later.

use std::ops::Range;

use super::error::{Error, Result};
use super::limits::{FRAME_CONTENT_MAX, FRAME_LENGTH_MAX};
use super::step::Step;

/// First four bytes of a frame (RFC 8878 section 3.1.1).
pub const MAGIC: u32 = 0xFD2F_B528;

/// Length of the hole frame (spec `#holes`).
pub const HOLE_FRAME_LENGTH: usize = 13;

/// Length of what [`raw_frame_header`] gives.
pub const RAW_FRAME_HEADER_LENGTH: usize = 12;

/// The largest Window_Descriptor: exponent 7, mantissa 0 = 128 KiB.
const WINDOW_DESCRIPTOR_MAX: u8 = 0x38;

/// Frame_Header_Descriptor: Single_Segment_flag, 4-byte Frame_Content_Size, nothing else.
const SINGLE_SEGMENT_FCS4: u8 = 0xA0;

/// A compressed block has at least a literals and a sequences section header of a byte each.
const COMPRESSED_BLOCK_MIN: u32 = 2;

const BLOCK_RAW: u32 = 0;
const BLOCK_RLE: u32 = 1;
const BLOCK_COMPRESSED: u32 = 2;

/// A frame that keeps every rule of spec `#frames`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameInfo {
    /// Bytes of the whole frame.
    pub length: usize,
    /// Bytes it decodes to, 1 to 131,072.
    pub content_size: u32,
    /// It is the hole frame of `content_size`.
    pub is_hole: bool,
}

/// A frame header that keeps the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Bytes of the header with the magic.
    pub length: usize,
    /// Bytes the frame decodes to, 1 to 131,072.
    pub content_size: u32,
    /// Block_Maximum_Size (RFC 8878 section 3.1.1.2.4): the window size, at most 131,072.
    pub block_max: u32,
}

/// Parses and checks the frame header at the start of the slice.
#[inline]
pub fn parse_header(bytes: &[u8]) -> Result<Step<FrameHeader>> {
    let Some((fixed, rest)) = bytes.split_first_chunk::<5>() else {
        return Ok(Step::NeedMore(6));
    };
    let [m0, m1, m2, m3, descriptor] = *fixed;
    let magic = u32::from_le_bytes([m0, m1, m2, m3]);
    if magic != MAGIC {
        return Err(Error::corrupt(format!("frame magic is {magic:#010x}, expected {MAGIC:#010x}")));
    }
    if descriptor & 0b0000_1111 != 0 {
        return Err(refused_descriptor(descriptor));
    }
    let single_segment = descriptor & 0x20 != 0;
    let (window, rest) = if single_segment {
        (None, rest)
    } else {
        match rest.split_first() {
            Some((&w, rest)) => (Some(w), rest),
            None => return Ok(Step::NeedMore(7)),
        }
    };
    let before_size = 5 + usize::from(!single_segment);
    let size_length = match descriptor >> 6 {
        0 if single_segment => 1,
        0 => {
            return Err(Error::corrupt("frame header declares no content size, expected 1 to 131072"));
        }
        1 => 2,
        2 => 4,
        _ => 8,
    };
    let Some(size) = rest.get(..size_length) else {
        return Ok(Step::NeedMore(before_size + size_length));
    };
    let content = match *size {
        [a] => u64::from(a),
        [a, b] => u64::from(u16::from_le_bytes([a, b])) + 256,
        [a, b, c, d] => u64::from(u32::from_le_bytes([a, b, c, d])),
        [a, b, c, d, e, f, g, h] => u64::from_le_bytes([a, b, c, d, e, f, g, h]),
        _ => 0,
    };
    if content == 0 || content > FRAME_CONTENT_MAX.into() {
        return Err(Error::corrupt(format!(
            "frame declares {content} bytes of content, allowed are 1 to {FRAME_CONTENT_MAX}"
        )));
    }
    let content_size = content as u32;
    let block_max = match window {
        None => content_size,
        Some(w) if w <= WINDOW_DESCRIPTOR_MAX => {
            let base = 1u32 << (10 + (w >> 3));
            base + base / 8 * u32::from(w & 7)
        }
        Some(w) => {
            return Err(Error::corrupt(format!(
                "frame has Window_Descriptor {w:#04x}, allowed is at most {WINDOW_DESCRIPTOR_MAX:#04x} (128 KiB)"
            )));
        }
    };
    Ok(Step::Ready(FrameHeader { length: before_size + size_length, content_size, block_max }))
}

#[cold]
fn refused_descriptor(descriptor: u8) -> Error {
    let what = if descriptor & 3 != 0 {
        "a dictionary id"
    } else if descriptor & 4 != 0 {
        "a content checksum"
    } else {
        "the reserved bit"
    };
    Error::corrupt(format!("frame header descriptor {descriptor:#04x} sets {what}, expected bits 0 to 3 clear"))
}

/// Parses and checks the frame at the start of the slice; what follows it is not looked at.
pub fn parse(bytes: &[u8]) -> Result<Step<FrameInfo>> {
    let header = match parse_header(bytes)? {
        Step::Ready(header) => header,
        Step::NeedMore(n) => return Ok(Step::NeedMore(n)),
    };
    let content_size = header.content_size;
    let mut position = header.length;
    // Bytes that raw and RLE blocks make, and how many compressed blocks there are.
    let (mut plain, mut compressed) = (0u32, 0u64);
    let mut short = None;
    loop {
        let Some(&[b0, b1, b2]) = bytes.get(position..).and_then(|b| b.first_chunk::<3>()) else {
            return Ok(Step::NeedMore(short.unwrap_or(position + 3)));
        };
        let block = u32::from_le_bytes([b0, b1, b2, 0]);
        let size = block >> 3;
        if size > header.block_max {
            return Err(Error::corrupt(format!(
                "frame has a block of size {size}, allowed is at most {} here",
                header.block_max
            )));
        }
        position += 3;
        match block >> 1 & 3 {
            BLOCK_RAW => {
                plain += size;
                position += size as usize;
            }
            BLOCK_RLE => {
                plain += size;
                position += 1;
            }
            BLOCK_COMPRESSED if size >= COMPRESSED_BLOCK_MIN => {
                compressed += 1;
                position += size as usize;
            }
            BLOCK_COMPRESSED => {
                return Err(Error::corrupt(format!(
                    "frame has a compressed block of {size} bytes, the least is {COMPRESSED_BLOCK_MIN}"
                )));
            }
            _ => return Err(Error::corrupt("frame has a block of the reserved type")),
        }
        if plain > content_size {
            return Err(Error::corrupt(format!(
                "frame declares {content_size} bytes of content, its raw and RLE blocks alone make {plain}"
            )));
        }
        if position > FRAME_LENGTH_MAX {
            return Err(Error::corrupt(format!(
                "frame is at least {position} bytes long, allowed are {FRAME_LENGTH_MAX}"
            )));
        }
        if block & 1 == 1 {
            break;
        }
        // With another block to come, its header is the least that is missing.
        short = Some(position + 3);
    }
    let most = u64::from(plain) + compressed * u64::from(header.block_max);
    if most < content_size.into() {
        return Err(Error::corrupt(format!(
            "frame declares {content_size} bytes of content, its blocks make at most {most}"
        )));
    }
    if bytes.len() < position {
        return Ok(Step::NeedMore(position));
    }
    Ok(Step::Ready(FrameInfo {
        length: position,
        content_size,
        is_hole: position == HOLE_FRAME_LENGTH && is_hole_frame(&bytes[..position]),
    }))
}

/// The hole frame of n bytes (spec `#holes`); n is 1 to 131,072.
pub fn hole_frame(n: u32) -> [u8; HOLE_FRAME_LENGTH] {
    let mut frame = [0; HOLE_FRAME_LENGTH];
    frame[..RAW_FRAME_HEADER_LENGTH].copy_from_slice(&one_block(n, BLOCK_RLE));
    frame
}

/// What stands before `content_length` bytes (1 to 131,072) to make a frame of one raw block of them.
pub fn raw_frame_header(content_length: u32) -> [u8; RAW_FRAME_HEADER_LENGTH] {
    one_block(content_length, BLOCK_RAW)
}

fn one_block(n: u32, block_type: u32) -> [u8; RAW_FRAME_HEADER_LENGTH] {
    debug_assert!((1..=FRAME_CONTENT_MAX).contains(&n));
    let [m0, m1, m2, m3] = MAGIC.to_le_bytes();
    let [n0, n1, n2, n3] = n.to_le_bytes();
    let [b0, b1, b2, _] = ((n << 3) | (block_type << 1) | 1).to_le_bytes();
    [m0, m1, m2, m3, SINGLE_SEGMENT_FCS4, n0, n1, n2, n3, b0, b1, b2]
}

/// Whether these bytes are a hole frame, byte for byte. Other frames of zeros occupy space when restored.
pub fn is_hole_frame(frame: &[u8]) -> bool {
    let Ok(frame) = <&[u8; HOLE_FRAME_LENGTH]>::try_from(frame) else {
        return false;
    };
    let n = u32::from_le_bytes([frame[5], frame[6], frame[7], frame[8]]);
    (1..=FRAME_CONTENT_MAX).contains(&n) && *frame == hole_frame(n)
}

/// Where the content lies in a checked frame that is exactly one raw block, so that it needs no decompression.
#[inline]
pub fn raw_content(frame: &[u8]) -> Option<Range<usize>> {
    let Ok(Step::Ready(header)) = parse_header(frame) else {
        return None;
    };
    let [b0, b1, b2] = *frame.get(header.length..)?.first_chunk::<3>()?;
    let start = header.length + 3;
    let end = start + header.content_size as usize;
    let one_raw_block = (header.content_size << 3) | (BLOCK_RAW << 1) | 1;
    (u32::from_le_bytes([b0, b1, b2, 0]) == one_raw_block && frame.len() == end).then_some(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(bytes: &[u8]) -> FrameInfo {
        match parse(bytes) {
            Ok(Step::Ready(info)) => info,
            other => panic!("{other:?}"),
        }
    }

    fn refused(bytes: &[u8], word: &str) {
        let message = parse(bytes).unwrap_err().message;
        assert!(message.contains(word), "{message}");
    }

    /// Magic, descriptor, the rest.
    fn frame(descriptor: u8, rest: &[u8]) -> Vec<u8> {
        [&MAGIC.to_le_bytes()[..], &[descriptor], rest].concat()
    }

    fn block(last: bool, kind: u32, size: u32) -> [u8; 3] {
        let [a, b, c, _] = ((size << 3) | (kind << 1) | u32::from(last)).to_le_bytes();
        [a, b, c]
    }

    #[test]
    fn hole_frames_are_the_bytes_of_the_specification() {
        assert_eq!(hole_frame(131_072), [0x28, 0xB5, 0x2F, 0xFD, 0xA0, 0, 0, 2, 0, 3, 0, 0x10, 0]);
        for n in [1, 4096, 131_072] {
            let hole = hole_frame(n);
            let expected = FrameInfo { length: 13, content_size: n, is_hole: true };
            assert_eq!(ready(&hole), expected);
            assert!(is_hole_frame(&hole));
            assert_eq!(raw_content(&hole), None);
            assert_eq!(zstd::bulk::decompress(&hole, 131_072).unwrap(), vec![0; n as usize]);
            let mut ones = hole;
            ones[12] = 1;
            assert!(!ready(&ones).is_hole);
        }
    }

    #[test]
    fn raw_frames() {
        for n in [1u32, 255, 256, 4096, 131_072] {
            let content = vec![7; n as usize];
            let bytes = [&raw_frame_header(n)[..], &content].concat();
            let info = ready(&bytes);
            assert_eq!((info.length, info.content_size), (bytes.len(), n));
            assert!(!info.is_hole);
            assert_eq!(raw_content(&bytes), Some(12..bytes.len()));
            assert_eq!(zstd::bulk::decompress(&bytes, 131_072).unwrap(), content);
        }
    }

    #[test]
    fn real_frames_at_every_length() {
        let text: Vec<u8> = (0..131_072u32).flat_map(|i| (i / 7 * i).to_le_bytes()).take(131_072).collect();
        for (level, length) in [(1, 131_072), (3, 4096), (19, 100_000), (3, 1)] {
            let content = &text[..length];
            let mut compressor = zstd::bulk::Compressor::new(level).unwrap();
            compressor.set_parameter(zstd::stream::raw::CParameter::WindowLog(17)).unwrap();
            let bytes = compressor.compress(content).unwrap();
            let info = ready(&[&bytes[..], b"behind"].concat());
            assert_eq!((info.length, info.content_size as usize), (bytes.len(), length));
            // Whatever it asks for is more than it had and never more than the frame has.
            for have in 0..bytes.len() {
                match parse(&bytes[..have]) {
                    Ok(Step::NeedMore(n)) => assert!(n > have && n <= bytes.len(), "{have} {n}"),
                    other => panic!("{have}: {other:?}"),
                }
            }
        }
    }

    #[test]
    fn refusals() {
        refused(b"PK\x03\x04....", "magic");
        refused(&frame(0xA1, &[0; 8]), "dictionary");
        refused(&frame(0xA4, &[0; 8]), "checksum");
        refused(&frame(0xA8, &[0; 8]), "reserved bit");
        refused(&frame(0x00, &[0x38, 0, 0]), "no content size");
        refused(&frame(0xA0, &[0, 0, 0, 0]), "declares 0 bytes");
        refused(&frame(0xA0, &[1, 0, 2, 0]), "declares 131073 bytes");
        refused(&frame(0xE0, &[0xFF; 8]), "declares 18446744073709551615 bytes");
        refused(&frame(0x80, &[0x39, 0, 16, 0, 0]), "Window_Descriptor 0x39");
        let with = |blocks: &[u8]| frame(0xA0, &[&[0, 16, 0, 0][..], blocks].concat());
        refused(&with(&block(true, 3, 4)), "reserved type");
        refused(&with(&block(true, 1, 4097)), "block of size 4097");
        refused(&with(&block(true, 1, 4095)), "make at most 4095");
        refused(&with(&block(true, 0, 0)), "make at most 0");
        refused(&with(&block(true, 2, 1)), "compressed block of 1 bytes");
        let twice = [&block(false, 1, 4096)[..], &[0], &block(true, 1, 1)].concat();
        refused(&with(&twice), "alone make 4097");
        let many = [&block(false, 2, 4096)[..], &[0; 4096]].concat().repeat(40);
        refused(&with(&many), "long, allowed are 135168");
        let window = frame(0x80, &[&[0x00, 0, 16, 0, 0][..], &block(true, 1, 4096)].concat());
        refused(&window, "block of size 4096, allowed is at most 1024");
    }
}
