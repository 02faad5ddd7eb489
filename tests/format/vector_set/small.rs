//! Archives of one part: data of every form.

use burst::format::archive_writer::Piece;
use burst::format::{Attributes, EntryType, Timestamp};

use super::Vector;
use super::maker::{EXTENT, LIBRARY_FRAME, LIBRARY_TEXT, Maker, attributes, entry, file, rle, uncut, xattr};

pub fn empty() -> Vector {
    let shows = "an empty directory has the entry \"./\"; the archive says nothing about its attributes";
    Maker::new("empty", shows, &["entry-order", "layout"]).finish()
}

pub fn empty_with_root() -> Vector {
    let shows = "an empty directory with attributes: extended attributes stand only in the root attributes";
    let root = Attributes { permissions: 0o2750, xattrs: vec![xattr("user.a", b"b")], ..attributes() };
    Maker::with_root("empty-with-root", shows, &["entry-order", "attribute-region"], Some(root)).finish()
}

pub fn root_attributes() -> Vector {
    let root = Attributes {
        permissions: 0o1770,
        uid: 12,
        gid: 34,
        mtime: Timestamp { seconds: -86_400, nanos: 999_999_999 },
        xattrs: vec![xattr("user.root", b"of the archive")],
    };
    let shows = "attributes of the archived directory itself";
    let mut m = Maker::with_root("root-attributes", shows, &["attribute-region"], Some(root));
    m.stored(file("file"), b"below it");
    m.finish()
}

/// F5
pub fn order() -> Vector {
    let shows = "directories first, parents before children; then all other entries, in any order";
    let mut m = Maker::new("order", shows, &["entry-order", "directory"]);
    for path in ["z", "z/y", "a", "z/y/x"] {
        m.directory(path);
    }
    m.stored(file("z/y/x/file"), b"deep");
    m.stored(file("file"), b"not deep");
    m.stored(entry("a/link", EntryType::Symlink), b"../file");
    m.stored(file("a/empty"), b"");
    m.finish()
}

/// F4
pub fn stored() -> Vector {
    let mut m =
        Maker::new("stored", "STORE entries have a pad field, here without payload", &["method", "local-file-header"]);
    m.stored(file("one byte"), b"1");
    m.stored(file("page"), [b'p'; 4096]);
    m.stored(file("empty"), b"");
    m.finish()
}

pub fn frames() -> Vector {
    let shows =
        "frames of all forms: raw, RLE and compressed blocks, with and without Window_Descriptor, several blocks";
    let mut m = Maker::new("frames", shows, &["frames", "method-93-data"]);
    let text = LIBRARY_TEXT.repeat(211)[..8192].to_vec();
    let compressed = || Piece::Frame { bytes: LIBRARY_FRAME.to_vec(), content_length: 8192 };
    m.framed(file("compressed"), vec![compressed()]);
    m.framed(file("compressed, raw, RLE"), vec![compressed(), Piece::Raw(text.clone()), rle(b'r', 4096), rle(b'e', 1)]);
    // Content size in one byte, one raw block.
    let one_byte = b"\x28\xb5\x2f\xfd\x20\x03\x19\0\0abc".to_vec();
    m.framed(file("short sizes"), vec![Piece::Frame { bytes: one_byte, content_length: 3 }]);
    m.framed(file("blocks"), vec![Piece::Frame { bytes: blocks(), content_length: 8192 }]);
    m.finish()
}

/// A frame with a Window_Descriptor, a 2-byte content size, and a raw, an RLE and an empty raw block.
fn blocks() -> Vec<u8> {
    let mut bytes = b"\x28\xb5\x2f\xfd\x40\x38".to_vec();
    bytes.extend_from_slice(&(8192u16 - 256).to_le_bytes());
    bytes.extend_from_slice(&(4096u32 << 3).to_le_bytes()[..3]);
    bytes.extend_from_slice(&[b'a'; 4096]);
    bytes.extend_from_slice(&(4096u32 << 3 | 2).to_le_bytes()[..3]);
    bytes.push(b'b');
    bytes.extend_from_slice(&[1, 0, 0]);
    bytes
}

/// F8
pub fn holes() -> Vector {
    let mut m = Maker::new("holes", "holes at the start, in the middle, at the end, and nothing else", &["holes"]);
    let page = || rle(b'd', 4096);
    m.framed(file("start"), vec![Piece::Hole(8192), page()]);
    m.framed(file("middle"), vec![page(), Piece::Hole(4096), page(), Piece::Hole(EXTENT as u32), rle(b'e', 5)]);
    m.framed(file("end"), vec![page(), Piece::Hole(EXTENT as u32), Piece::Hole(100)]);
    m.framed(file("all"), vec![Piece::Hole(EXTENT as u32), Piece::Hole(EXTENT as u32)]);
    m.framed(file("all, one byte"), vec![Piece::Hole(1)]);
    m.large(file("16 MiB and a byte"), [vec![Piece::Hole(EXTENT as u32); 128], vec![rle(b'x', 1)]].concat());
    m.finish()
}

/// F8
pub fn allocated_zeros() -> Vector {
    let shows = "zeros that occupy space are not written as hole frames; a restorer writes them";
    let mut m = Maker::new("allocated-zeros", shows, &["holes"]);
    m.framed(file("frame"), vec![rle(0, 8192), Piece::Hole(4096), rle(0, 4096)]);
    m.framed(file("raw"), vec![Piece::Raw(vec![0; 4096])]);
    m.stored(file("stored"), [0; 4096]);
    m.finish()
}

/// F3
pub fn full_last_frame() -> Vector {
    let shows = "a last frame of exactly 128 KiB is followed by a padding frame of 8 bytes";
    let mut m = Maker::new("full-last-frame", shows, &["padding"]);
    m.framed(file("single"), vec![rle(b'1', EXTENT)]);
    m.framed(file("second"), vec![rle(b'1', 4096), uncut(b'2', EXTENT)]);
    m.framed(file("hole"), vec![Piece::Hole(EXTENT as u32)]);
    m.large(file("descriptor"), vec![rle(b'4', EXTENT)]);
    m.stored(file("not compressed"), [b'5'; EXTENT]);
    m.finish()
}

/// F7
pub fn descriptor() -> Vector {
    let shows = "bit 3: ZIP64 field with zeros, sizes and CRC-32 in a descriptor of 24 bytes";
    let mut m = Maker::new("descriptor", shows, &["data-descriptor", "local-file-header"]);
    m.large(file("short"), vec![rle(b's', 1)]);
    m.large(file("pages"), vec![rle(b'p', 8192), Piece::Raw(vec![b'q'; 4097])]);
    m.framed(file("without"), vec![rle(b'w', 4096)]);
    m.finish()
}

/// F7
pub fn large_file() -> Vector {
    let shows = "sizes in the header up to 16 MiB of content, in a descriptor above, as this library writes them";
    let mut m = Maker::new("large-file", shows, &["data-descriptor", "method"]);
    m.framed(file("16 MiB"), (0..128).map(|i| rle(b'0' + i % 10, EXTENT)).collect());
    let mut pieces: Vec<_> = (0..128).map(|i| rle(b'a' + i % 26, EXTENT)).collect();
    pieces.push(rle(b'.', 1));
    m.large(file("16 MiB and a byte"), pieces);
    m.finish()
}
