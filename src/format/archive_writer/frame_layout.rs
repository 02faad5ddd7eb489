//! Where the frames of one method-93 entry go, so that every grid point is a clean point (spec `#grid`).
//!
//! Pure arithmetic on lengths: frames come in one by one, operations come out. One frame is always held back,
//! because whether it is preceded by padding depends on whether the next one still fits before the grid point.

use crate::format::limits::{EXTENT_ALIGNMENT, FRAME_CONTENT_MAX, GRID};
use crate::format::skippable_frame::{HEADER_LENGTH as PADDING_MIN, START_OF_PART_LENGTH};
use crate::format::zstd_frame::RAW_FRAME_HEADER_LENGTH;

const PADDING: u64 = PADDING_MIN as u64;
const RAW_HEADER: u64 = RAW_FRAME_HEADER_LENGTH as u64;

/// One frame: its length, the length of its content, and whether it may be cut (a frame of raw blocks).
#[derive(Debug, Clone, Copy)]
pub struct Unit {
    pub length: u64,
    pub content: u64,
    pub raw: bool,
}

/// What to append to the archive next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// A padding frame of this many bytes in all.
    Pad(u64),
    /// The start-of-part frame; content from this offset follows.
    StartOfPart(u64),
    /// The next frame as it is.
    Frame,
    /// A raw frame of this many content bytes, taken from the front of the next (raw) frame.
    RawPiece(u64),
}

/// Room the next local file header needs; see [`Need::fits`].
#[derive(Debug, Clone, Copy)]
pub struct Need {
    pub header_length: u64,
}

impl Need {
    /// Whether a header may start where `room` bytes are left before the grid point: it must fit, and what it
    /// leaves must be nothing or room for a padding frame. With no room left it starts on the grid point.
    pub fn fits(self, room: u64) -> bool {
        room == 0 || fits(self.header_length, room)
    }
}

/// Bytes from `position` to the next grid point, 1 to 8 MiB.
pub fn room(position: u64) -> u64 {
    GRID - position % GRID
}

/// Whether `length` bytes may stand here: they end on the grid point or leave at least a padding frame.
fn fits(length: u64, room: u64) -> bool {
    length == room || length + PADDING <= room
}

pub struct FrameLayout {
    /// Archive offset at which the held-back frame would start.
    position: u64,
    /// Content offset of the held-back frame.
    content_offset: u64,
    held: Option<Unit>,
    pub operations: Vec<Operation>,
}

impl FrameLayout {
    /// `position`: where the entry's data starts.
    pub fn new(position: u64) -> Self {
        FrameLayout { position, content_offset: 0, held: None, operations: Vec::new() }
    }

    /// Archive offset after the last operation.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Takes the next frame and places the one before it.
    pub fn push(&mut self, next: Unit) {
        if let Some(unit) = self.held.take() {
            let unit = self.make_fit(unit, |unit, room| fits(unit.length, room));
            let left = room(self.position) - unit.length;
            if left > 0 && !fits(next.length, left) && raw_piece(next, left).is_none() {
                self.pad(left);
            }
            self.place(unit);
        }
        self.held = Some(next);
    }

    /// Places the last frame, so that a descriptor of `descriptor` bytes and the next header find their place.
    pub fn close(&mut self, descriptor: u64, next: Option<Need>) {
        let Some(unit) = self.held.take() else { return };
        let tail = |unit: Unit| if unit.content == u64::from(FRAME_CONTENT_MAX) { PADDING } else { 0 };
        // Bytes of padding after the frame; None if it cannot end in this part.
        let padding_after = |unit: Unit, room: u64| {
            let left = room.checked_sub(unit.length + tail(unit) + descriptor)?;
            if left == 0 || next.is_none_or(|need| need.fits(left)) {
                Some(tail(unit))
            } else {
                Some(tail(unit) + left).filter(|&n| n >= PADDING)
            }
        };
        let unit = self.make_fit(unit, |unit, room| padding_after(unit, room).is_some());
        let padding = padding_after(unit, room(self.position)).unwrap_or(0);
        self.place(unit);
        if padding > 0 {
            self.pad(padding);
        }
    }

    /// Goes on to where `unit` fits: cuts it if it is raw, pads to the grid point, begins the next part.
    fn make_fit(&mut self, mut unit: Unit, fits: impl Fn(Unit, u64) -> bool) -> Unit {
        loop {
            if self.position.is_multiple_of(GRID) {
                self.operations.push(Operation::StartOfPart(self.content_offset));
                self.position += START_OF_PART_LENGTH as u64;
            }
            let room = room(self.position);
            if fits(unit, room) {
                return unit;
            }
            match raw_piece(unit, room) {
                Some(content) => {
                    let left = room - RAW_HEADER - content;
                    if left > 0 {
                        self.pad(left);
                    }
                    self.operations.push(Operation::RawPiece(content));
                    self.position += RAW_HEADER + content;
                    self.content_offset += content;
                    unit.content -= content;
                    unit.length -= content;
                }
                None => self.pad(room),
            }
        }
    }

    fn place(&mut self, unit: Unit) {
        self.operations.push(if unit.raw { Operation::RawPiece(unit.content) } else { Operation::Frame });
        self.position += unit.length;
        self.content_offset += unit.content;
    }

    fn pad(&mut self, length: u64) {
        debug_assert!(length >= PADDING && length <= room(self.position));
        self.operations.push(Operation::Pad(length));
        self.position += length;
    }
}

/// Content bytes of the largest piece of a raw frame that fits before the grid point and leaves a rest.
fn raw_piece(unit: Unit, room: u64) -> Option<u64> {
    let available = room.checked_sub(RAW_HEADER)?;
    let mut content = (available / EXTENT_ALIGNMENT * EXTENT_ALIGNMENT)
        .min(unit.content.saturating_sub(1) / EXTENT_ALIGNMENT * EXTENT_ALIGNMENT);
    if !fits(RAW_HEADER + content, room) {
        content = content.checked_sub(EXTENT_ALIGNMENT)?;
    }
    (unit.raw && content > 0).then_some(content)
}
