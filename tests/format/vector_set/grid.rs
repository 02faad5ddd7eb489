//! Archives of several parts: what stands at and before the grid points. Contents repeat one byte, so that the files
//! take little room in a compressed repository.

use burst::format::archive_writer::Piece;

use super::Vector;
use super::maker::{EXTENT, Maker, file, rle, uncut};

const GRID: usize = 8 << 20;
/// Local file header without the name: with a pad field without payload, and with nothing.
const STORED_HEADER: usize = 34;
const FRAMED_HEADER: usize = 30;
const LARGE_HEADER: usize = 50;
/// Length of an `uncut` frame less its content.
const FRAME_HEADER: usize = 12;
const FULL_FRAME: usize = FRAME_HEADER + EXTENT;

const START_OF_PART: u8 = 2;
const STORED_DATA: u8 = 3;
const LOCAL_HEADER: u8 = 1;

const BSDTAR: &[(&str, &str)] = &[(
    "bsdtar",
    "libarchive takes a frame of raw blocks that ends with its read buffer (at every 8 MiB) for the end of the entry and reports an error",
)];

fn uncut_frames(n: usize) -> Vec<Piece> {
    (0..n).map(|i| uncut(b'a' + (i % 26) as u8, EXTENT)).collect()
}

/// F1, F2, F3, F4
pub fn three_kinds() -> Vector {
    let shows = "parts that begin with a local header, a start-of-part frame and within STORE data; padding before the last frame of a part";
    let mut m = Maker::new("grid", shows, &["grid", "start-of-part", "part-map", "placing"]);
    // Tools' decoders see the end of the frame before the grid point only if it is really compressed: see BSDTAR.
    let mut pieces = uncut_frames(63);
    pieces.push(rle(b'z', EXTENT));
    pieces.extend(uncut_frames(2));
    m.framed(file("packed"), pieces);
    m.stored(file("stored"), vec![b's'; 9 << 20]);
    m.stored(file("last"), b"l");
    // 64 frames fit before the grid point, the last of them ends on it. The next point lies in the stored file.
    m.parts(&[(LOCAL_HEADER, 0, 0), (START_OF_PART, 0, 64 * EXTENT as u64), (STORED_DATA, 1, 0x7B_F000)]);
    m.finish()
}

/// F3
pub fn raw_frames_cut() -> Vector {
    let shows = "a frame of raw blocks is cut at a multiple of 4 KiB before the grid point";
    let mut m = Maker::new("raw-frames-cut", shows, &["grid", "frames"]).deviations(BSDTAR);
    m.framed(file("raw"), (0..65).map(|i| Piece::Raw(vec![b'a' + i % 26; EXTENT])).collect());
    const SECOND: u64 = (63 * EXTENT + 126_976) as u64;
    m.parts(&[(LOCAL_HEADER, 0, 0), (START_OF_PART, 0, SECOND)]);
    m.finish()
}

/// F4
pub fn stored_on_the_grid() -> Vector {
    let shows =
        "the pad field moves STORE data that would cross the grid point to a multiple of 4 KiB: the grid point itself";
    let mut m = Maker::new("stored-on-the-grid", shows, &["grid", "local-file-header"]);
    m.stored(file("filler"), vec![b'f'; GRID - 2000 - STORED_HEADER - 6]);
    m.stored(file("stored"), vec![b's'; 5000]);
    m.parts(&[(LOCAL_HEADER, 0, 0), (STORED_DATA, 1, 0)]);
    m.finish()
}

/// F3, F4
pub fn pad_field_before_header() -> Vector {
    let shows = "5 bytes before the grid point are too few for the next header: the pad field moves the data up to it";
    let mut m = Maker::new("pad-field-before-header", shows, &["grid", "local-file-header"]);
    m.stored(file("stored"), vec![b's'; GRID - 5 - STORED_HEADER - 6]);
    m.stored(file("next"), b"n");
    m.parts(&[(LOCAL_HEADER, 0, 0), (LOCAL_HEADER, 1, 0)]);
    m.finish()
}

/// F3
pub fn padding_before_header() -> Vector {
    let shows = "20 bytes before the grid point are too few for the next header: a padding frame fills them";
    let mut m = Maker::new("padding-before-header", shows, &["grid", "padding"]);
    let mut pieces = uncut_frames(63);
    let rest = GRID - 20 - FRAMED_HEADER - 6 - 63 * FULL_FRAME - FRAME_HEADER;
    pieces.push(uncut(b'.', rest));
    m.framed(file("packed"), pieces);
    m.stored(file("next"), b"n");
    m.parts(&[(LOCAL_HEADER, 0, 0), (LOCAL_HEADER, 1, 0)]);
    m.finish()
}

/// F3
pub fn tail_before_the_grid() -> Vector {
    let shows = "a full last frame would fit before the grid point, but not its padding: both go to the next part";
    let mut m = Maker::new("tail-before-the-grid", shows, &["grid", "padding", "start-of-part"]).deviations(BSDTAR);
    m.stored(file("filler"), vec![b'f'; GRID - 4 - 63 * FULL_FRAME - FRAMED_HEADER - 4 - STORED_HEADER - 6]);
    m.framed(file("full"), uncut_frames(63));
    m.parts(&[(LOCAL_HEADER, 0, 0), (START_OF_PART, 1, 62 * EXTENT as u64)]);
    m.finish()
}

/// F2, F7
pub fn descriptor_after_the_grid() -> Vector {
    let shows = "a descriptor would not fit before the grid point: the part begins with start-of-part frame, last frame, descriptor";
    let mut m = Maker::new("descriptor-after-the-grid", shows, &["grid", "data-descriptor", "start-of-part"])
        .deviations(BSDTAR);
    let before_descriptor = 80 * 13 + 63 * FULL_FRAME + FRAME_HEADER + 4096;
    m.stored(file("filler"), vec![b'f'; GRID - 10 - before_descriptor - LARGE_HEADER - 5 - STORED_HEADER - 6]);
    let mut pieces = vec![rle(b'r', EXTENT); 80];
    pieces.extend(uncut_frames(63));
    pieces.push(uncut(b'.', 4096));
    m.large(file("large"), pieces);
    m.stored(file("next"), b"n");
    m.parts(&[(LOCAL_HEADER, 0, 0), (START_OF_PART, 1, 143 * EXTENT as u64)]);
    m.finish()
}

/// F6
pub fn ends_on_the_grid() -> Vector {
    let mut m = Maker::new("ends-on-the-grid", "data that ends on a grid point: no part begins there", &["part-map"]);
    m.stored(file("stored"), vec![b's'; GRID - STORED_HEADER - 6]);
    m.parts(&[(LOCAL_HEADER, 0, 0)]);
    m.finish()
}
