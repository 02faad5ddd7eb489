//! Skippable frames (RFC 8878 section 3.1.2): padding and the start of a part (spec `#padding`, `#start-of-part`).

use super::error::{Error, Result};
use super::step::Step;

/// Magic of padding as writers make it.
pub const PADDING_MAGIC: u32 = 0x184D_2A5B;

/// Magic of a start-of-part frame.
pub const START_OF_PART_MAGIC: u32 = 0x184D_2A55;

/// Magic and length: what every skippable frame has, and the shortest padding.
pub const HEADER_LENGTH: usize = 8;

/// Length of a start-of-part frame.
pub const START_OF_PART_LENGTH: usize = 48;

const START_OF_PART_PAYLOAD: u32 = 40;

/// What a part begins with when it begins inside the data of a method-93 entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartOfPart {
    /// Must be that of the trailer.
    pub archive_id: [u8; 16],
    /// Where this frame stands in the archive: a multiple of 8 MiB.
    pub archive_offset: u64,
    /// The entry whose data this is.
    pub ordinal: u64,
    /// Offset in the entry's content of the first byte that follows.
    pub content_offset: u64,
}

/// A skippable frame by its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkippableFrame {
    /// To be skipped, payload unseen.
    Skip {
        /// Bytes, with the header.
        length: u64,
        /// Whether it has [`PADDING_MAGIC`].
        is_padding: bool,
    },
    /// [`START_OF_PART_LENGTH`] bytes.
    StartOfPart(StartOfPart),
}

/// Whether a frame with this magic is skippable.
#[inline]
pub const fn is_skippable(magic: u32) -> bool {
    magic & 0xFFFF_FFF0 == 0x184D_2A50
}

/// Parses the skippable frame at the start of the slice. The payload of one to be skipped need not be in the slice.
pub fn parse(bytes: &[u8]) -> Result<Step<SkippableFrame>> {
    let Some((&[m0, m1, m2, m3, l0, l1, l2, l3], payload)) = bytes.split_first_chunk::<8>() else {
        return Ok(Step::NeedMore(HEADER_LENGTH));
    };
    let magic = u32::from_le_bytes([m0, m1, m2, m3]);
    let length = u32::from_le_bytes([l0, l1, l2, l3]);
    if !is_skippable(magic) {
        return Err(Error::corrupt(format!(
            "skippable frame magic is {magic:#010x}, expected 0x184d2a50 to 0x184d2a5f"
        )));
    }
    if magic != START_OF_PART_MAGIC {
        return Ok(Step::Ready(SkippableFrame::Skip {
            length: HEADER_LENGTH as u64 + u64::from(length),
            is_padding: magic == PADDING_MAGIC,
        }));
    }
    if length != START_OF_PART_PAYLOAD {
        return Err(Error::corrupt(format!(
            "start-of-part frame has a payload of {length} bytes, expected {START_OF_PART_PAYLOAD}"
        )));
    }
    let Some((archive_id, rest)) = payload.split_first_chunk::<16>() else {
        return Ok(Step::NeedMore(START_OF_PART_LENGTH));
    };
    let mut rest = rest.chunks_exact(8).map(|b| b.first_chunk::<8>().map_or(0, |b| u64::from_le_bytes(*b)));
    let (Some(archive_offset), Some(ordinal), Some(content_offset)) = (rest.next(), rest.next(), rest.next()) else {
        return Ok(Step::NeedMore(START_OF_PART_LENGTH));
    };
    Ok(Step::Ready(SkippableFrame::StartOfPart(StartOfPart {
        archive_id: *archive_id,
        archive_offset,
        ordinal,
        content_offset,
    })))
}

/// Header of a padding frame of `length` bytes in all; `length - 8` zeros follow it. None if no frame has that length.
pub fn padding_header(length: u64) -> Option<[u8; HEADER_LENGTH]> {
    let payload = u32::try_from(length.checked_sub(HEADER_LENGTH as u64)?).ok()?;
    let mut header = [0; HEADER_LENGTH];
    header[..4].copy_from_slice(&PADDING_MAGIC.to_le_bytes());
    header[4..].copy_from_slice(&payload.to_le_bytes());
    Some(header)
}

impl StartOfPart {
    /// The whole frame.
    pub fn encode(&self) -> [u8; START_OF_PART_LENGTH] {
        let mut frame = [0; START_OF_PART_LENGTH];
        frame[..4].copy_from_slice(&START_OF_PART_MAGIC.to_le_bytes());
        frame[4..8].copy_from_slice(&START_OF_PART_PAYLOAD.to_le_bytes());
        frame[8..24].copy_from_slice(&self.archive_id);
        frame[24..32].copy_from_slice(&self.archive_offset.to_le_bytes());
        frame[32..40].copy_from_slice(&self.ordinal.to_le_bytes());
        frame[40..].copy_from_slice(&self.content_offset.to_le_bytes());
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_of_part_round_trip_at_every_length() {
        let start = StartOfPart {
            archive_id: *b"0123456789abcdef",
            archive_offset: 3 << 23,
            ordinal: 0x0102_0304_0506,
            content_offset: 40_960,
        };
        let bytes = start.encode();
        assert_eq!(parse(&bytes), Ok(Step::Ready(SkippableFrame::StartOfPart(start))));
        for have in 0..bytes.len() {
            assert!(matches!(parse(&bytes[..have]), Ok(Step::NeedMore(n)) if n > have && n <= 48), "{have}");
        }
        let mut longer = bytes;
        longer[4] = 41;
        assert!(parse(&longer).unwrap_err().message.contains("41 bytes, expected 40"));
    }

    #[test]
    fn padding() {
        assert_eq!(padding_header(7), None);
        assert_eq!(padding_header(1 << 33), None);
        for length in [8, 9, 8 << 20] {
            assert_eq!(
                parse(&padding_header(length).unwrap()),
                Ok(Step::Ready(SkippableFrame::Skip { length, is_padding: true }))
            );
        }
        let foreign = [0x5F, 0x2A, 0x4D, 0x18, 0xFF, 0xFF, 0xFF, 0xFF];
        assert_eq!(
            parse(&foreign),
            Ok(Step::Ready(SkippableFrame::Skip { length: 8 + 0xFFFF_FFFF, is_padding: false }))
        );
        assert!(parse(&[0x60, 0x2A, 0x4D, 0x18, 0, 0, 0, 0]).is_err());
    }
}
