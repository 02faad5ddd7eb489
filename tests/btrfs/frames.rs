//! Zstd frames for the tests, and the content they stand for.

use std::io::Write;

/// Text-like bytes that compress to about a third.
pub fn text(len: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut bytes = Vec::with_capacity(len + 64);
    while bytes.len() < len {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        writeln!(bytes, "record {} of the journal has value {}", state >> 52, state >> 40 & 0xFFF).unwrap();
    }
    bytes.truncate(len);
    bytes
}

/// One frame with its content size declared.
pub fn compress(content: &[u8], level: i32) -> Vec<u8> {
    zstd::bulk::compress(content, level).unwrap()
}

/// Content and frame of exactly these lengths: a raw block and a run of 'x' (RFC 8878, 3.1.1).
/// The frame has 16 bytes more than its raw block, the run at least one byte.
pub fn exact(content_len: usize, frame_len: usize) -> (Vec<u8>, Vec<u8>) {
    let raw = frame_len - 16;
    let run = content_len.checked_sub(raw).filter(|&run| run > 0).expect("lengths that are possible");
    let mut content = noise(raw);
    let mut frame = header(0xA0, &[], content_len);
    block(&mut frame, false, 0, raw);
    frame.extend_from_slice(&content);
    block(&mut frame, true, 1, run);
    frame.push(b'x');
    content.resize(content_len, b'x');
    assert_eq!(frame.len(), frame_len);
    assert_eq!(zstd::bulk::decompress(&frame, content_len).unwrap(), content);
    (content, frame)
}

/// One frame whose header names a window of `1 << log` bytes, with or without the content size.
/// Up to 128 KiB the encoder keeps to that window.
pub fn with_window(content: &[u8], log: u8, content_size: bool) -> Vec<u8> {
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 3).unwrap();
    encoder.window_log(log.min(17).into()).unwrap();
    encoder.include_contentsize(false).unwrap();
    encoder.write_all(content).unwrap();
    let without = encoder.finish().unwrap();
    // Magic number, descriptor, window, blocks. The encoder itself would leave out a window that is larger
    // than a declared size.
    assert_eq!(without[4], 0);
    let window = (log - 10) << 3;
    let blocks = &without[6..];
    if content_size {
        [&header(0x80, &[window], content.len()), blocks].concat()
    } else {
        [&without[..5], &[window], blocks].concat()
    }
}

/// A run of 'x' in a frame that asks for dictionary 7.
pub fn with_dictionary_id(content_len: usize) -> Vec<u8> {
    let mut frame = header(0xA1, &[7], content_len);
    block(&mut frame, true, 1, content_len);
    frame.push(b'x');
    frame
}

pub fn with_checksum(content: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.set_pledged_src_size(Some(content.len() as u64)).unwrap();
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// A skippable frame with `len` zero bytes in it.
pub fn skippable(len: usize) -> Vec<u8> {
    let mut frame = vec![0x50, 0x2A, 0x4D, 0x18];
    frame.extend_from_slice(&(len as u32).to_le_bytes());
    frame.resize(8 + len, 0);
    frame
}

/// Bytes that do not compress.
pub fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(step).collect()
}

/// The descriptor must say "4-byte content size".
fn header(descriptor: u8, between: &[u8], content_len: usize) -> Vec<u8> {
    let mut frame = vec![0x28, 0xB5, 0x2F, 0xFD, descriptor];
    frame.extend_from_slice(between);
    frame.extend_from_slice(&(content_len as u32).to_le_bytes());
    frame
}

fn block(frame: &mut Vec<u8>, last: bool, kind: u32, len: usize) {
    let header = (len as u32) << 3 | kind << 1 | u32::from(last);
    frame.extend_from_slice(&header.to_le_bytes()[..3]);
}
