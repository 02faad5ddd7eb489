//! Data regions that break one rule each, and the words of the refusal.

use burst::format::limits::GRID;
use burst::format::skippable_frame::{StartOfPart, padding_header};
use burst::format::stream_reader::{Event, StreamReader};
use burst::format::zip::data_descriptor::DataDescriptor;
use burst::format::zip::local_file_header::NewHeader;
use burst::format::zstd_frame::{hole_frame, raw_frame_header};
use burst::format::{Method, Result, Step, Timestamp};

const END: &[u8] = b"BURSTATR";
const ID: [u8; 16] = *b"0123456789abcdef";

/// Reads to the end of the data; gives the number of events.
fn read(bytes: &[u8]) -> Result<usize> {
    let (mut reader, mut rest) = (StreamReader::at_start(), bytes);
    for events in 0.. {
        match reader.next(rest)? {
            Step::Ready(advance) if advance.event == Event::EndOfData => return Ok(events),
            Step::Ready(advance) => rest = &rest[advance.consumed..],
            Step::NeedMore(n) => panic!("cut short: {n} bytes needed, {} there", rest.len()),
        }
    }
    unreachable!()
}

fn refused(bytes: &[u8], words: &str) {
    let text = read(bytes).unwrap_err().to_string();
    assert!(text.contains(words), "\"{text}\" without \"{words}\"");
}

fn header(name: &[u8], method: Method, sizes: Option<(u64, u64)>, pad: Option<u16>) -> Vec<u8> {
    let sizes = sizes.map(|(compressed, uncompressed)| (0, compressed, uncompressed));
    let mut out = Vec::new();
    NewHeader { name, method, mtime: Timestamp::default(), sizes, pad }.encode(&mut out);
    out
}

/// A method-93 entry whose header states these sizes.
fn framed(data: &[u8], content: u64) -> Vec<u8> {
    [&header(b"f", Method::Zstd, Some((data.len() as u64, content)), None), data].concat()
}

fn large(data: &[u8], compressed: u64, content: u64) -> Vec<u8> {
    let mut out = [&header(b"f", Method::Zstd, None, None), data].concat();
    DataDescriptor { crc32: 0, compressed_size: compressed, uncompressed_size: content }.encode(&mut out);
    out
}

fn stored(name: &[u8], data: &[u8], pad: u16) -> Vec<u8> {
    let length = data.len() as u64;
    [&header(name, Method::Stored, Some((length, length)), Some(pad)), data].concat()
}

fn padding(length: u64) -> Vec<u8> {
    let mut out = padding_header(length).unwrap().to_vec();
    out.resize(length as usize, 0);
    out
}

fn raw(length: usize) -> Vec<u8> {
    [&raw_frame_header(length as u32)[..], &vec![7; length]].concat()
}

fn start(archive_offset: u64, ordinal: u64, content_offset: u64) -> [u8; 48] {
    StartOfPart { archive_id: ID, archive_offset, ordinal, content_offset }.encode()
}

#[test]
fn sizes() {
    let hole = hole_frame(4096);
    assert_eq!(read(&[&framed(&hole, 4096), END].concat()), Ok(3));
    refused(&framed(&hole, 4095), "at least 4096 bytes of content, the uncompressed size is 4095");
    refused(&framed(&hole, 4097), "hold 4096 bytes of content, the uncompressed size is 4097");
    refused(&[&framed(&hole[..12], 4096), END].concat(), "only 12 are left");
    refused(&framed(&padding(8), 1), "hold 0 bytes");
    assert_eq!(read(&[&large(&hole, 13, 4096), END].concat()), Ok(3));
    refused(&large(&hole, 14, 4096), "compressed size is 14, the data has 13");
    refused(&large(&hole, 13, 4097), "uncompressed size is 4097");
    refused(&large(&[], 0, 0), "found 0");
    refused(&[&framed(&hole, 4096)[..], b"\0\0\0\0"].concat(), "signature");
}

#[test]
fn extents_and_tails() {
    let two = |first: usize| [raw(first), raw(1)].concat();
    assert_eq!(read(&[&framed(&two(4096), 4097), END].concat()), Ok(4));
    refused(&framed(&two(4095), 4096), "content offset 4095, expected a multiple of 4096");
    refused(&framed(&raw(131_072), 131_072), "no padding frame follows");
    refused(&large(&raw(131_072), 131_084, 131_072), "no padding frame follows");
    assert_eq!(read(&[&framed(&[raw(131_072), padding(8)].concat(), 131_072), END].concat()), Ok(4));
    let other_skippable = [0x50, 0x2A, 0x4D, 0x18, 1, 0, 0, 0, 9];
    refused(&framed(&[&raw(131_072)[..], &other_skippable].concat(), 131_072), "no padding frame follows");
    assert_eq!(read(&[&framed(&[&other_skippable[..], &raw(1)].concat(), 1), END].concat()), Ok(4));
}

#[test]
fn headers() {
    refused(b"PK\x01\x02", "signature is 0x02014b50");
    refused(b"BURSTXXX", "BURSTXXX");
    let change = |at: usize, value: u8| {
        let mut bytes = stored(b"f", b"data", 0);
        bytes[at] = value;
        bytes
    };
    assert_eq!(read(&[&stored(b"f", b"data", 0), END].concat()), Ok(3));
    refused(&change(4, 21), "version needed is 21, expected 20");
    refused(&change(7, 8), "flags are 0x0800, expected 0x0000");
    refused(&change(8, 8), "method is 8, expected 0 or 93");
    refused(&change(18, 5), "compressed size 5 and uncompressed size 4");
    refused(&change(30, b'/'), "the name");
    refused(&change(31, 9), "0x7509");
    refused(&header(b"f", Method::Stored, Some((0, 0)), None), "without pad field");
    refused(&header(b"f", Method::Zstd, Some((9, 0)), None), "uncompressed size 0");
    refused(&header(b"f", Method::Stored, Some((u64::MAX, u64::MAX)), Some(0)), "past the largest archive");
    refused(&stored(b"f", b"", 65_001), "65001 bytes, allowed are 65000");
    refused(&stored(b"../f", b"", 0), "..");
    refused(&stored(b"d/", b"x", 0), "a directory with 1 bytes");
    refused(&[stored(b"f", b"", 0), stored(b"d/", b"", 0)].concat(), "directories come first");
}

/// A stored entry that ends `room` bytes before the grid point.
fn up_to(room: u64) -> Vec<u8> {
    let header_length = stored(b"f", b"", 0).len();
    stored(b"f", &vec![1; GRID as usize - room as usize - header_length], 0)
}

#[test]
fn nothing_crosses_a_grid_point() {
    let hole = hole_frame(4096);
    let head = framed(&hole, 4096).len() as u64 - 13;
    let large_head = large(&[], 0, 0).len() as u64 - 24;
    assert_eq!(read(&[up_to(head + 13), framed(&hole, 4096), END.to_vec()].concat()), Ok(6));
    refused(&[up_to(head + 12), framed(&hole, 4096)].concat(), "only 12 are left");
    refused(&[up_to(head - 1), framed(&hole, 4096)].concat(), "local file header of at least");
    refused(&[up_to(head + 9), framed(&padding(10), 1)].concat(), "skippable frame of at least 10");
    assert_eq!(read(&[up_to(large_head + 13 + 24), large(&hole, 13, 4096), END.to_vec()].concat()), Ok(6));
    refused(&[up_to(large_head + 13 + 23), large(&hole, 13, 4096)].concat(), "data descriptor of at least 24");
    // The descriptor would begin on the grid point.
    refused(&[up_to(large_head + 13), large(&hole, 13, 4096)].concat(), "expected a start-of-part");
    let with_start = [&hole[..], &start(GRID, 1, 4096)].concat();
    assert_eq!(read(&[up_to(large_head + 13), large(&with_start, 61, 4096), END.to_vec()].concat()), Ok(7));
    // STORE data with a grid point in it, off the multiples of 4,096.
    refused(&stored(b"f", &vec![1; GRID as usize], 0), "must begin at a multiple of 4096");
    assert_eq!(read(&[stored(b"f", &vec![1; GRID as usize], 4096 - 35), END.to_vec()].concat()), Ok(3));
}

#[test]
fn starts_of_parts() {
    let hole = hole_frame(4096);
    let head = framed(&hole, 4096).len() as u64 - 13;
    let with = |frame: [u8; 48]| {
        let entry = framed(&[&hole[..], &frame, &hole].concat(), 8192);
        [&up_to(head + 13), &entry[..], END].concat()
    };
    assert_eq!(read(&with(start(GRID, 1, 4096))), Ok(8));
    refused(&with(start(2 * GRID, 1, 4096)), "archive offset is 16777216, expected 8388608");
    refused(&with(start(GRID, 0, 4096)), "ordinal is 0, expected 1");
    refused(&with(start(GRID, 1, 8192)), "content offset is 8192, expected 4096");
    refused(&framed(&[&start(31, 0, 0)[..], &hole].concat(), 4096), "not a multiple of 8388608");
    // Data that begins on a grid point begins with it too.
    assert_eq!(read(&[&up_to(head), &framed(&[&start(GRID, 1, 0)[..], &hole].concat(), 4096), END].concat()), Ok(7));
    refused(&[up_to(head), framed(&hole, 4096)].concat(), "expected a start-of-part");
}

#[test]
fn all_parts_have_one_archive_identifier() {
    let hole = hole_frame(4096);
    let head = framed(&hole, 4096).len() as u64 - 13;
    let other =
        StartOfPart { archive_id: [1; 16], archive_offset: 2 * GRID, ordinal: 1, content_offset: 4096 }.encode();
    let fill = padding(GRID - 48 - 13);
    let with = |second: [u8; 48]| {
        let data = [&start(GRID, 1, 0)[..], &hole, &fill, &second, &hole].concat();
        [&up_to(head), &framed(&data, 8192)[..], END].concat()
    };
    assert!(read(&with(start(2 * GRID, 1, 4096))).is_ok());
    refused(&with(other), "archive identifier is 0101");
}
