//! A plain reader for bytes that begin at a whole item: the same checks for the aligned and for the unaligned layout.

use burst::format::directory_reader::PlacedEntry;
use burst::format::entry::Method;
use burst::format::part_reader::compare_header;
use burst::format::skippable_frame::{self, SkippableFrame};
use burst::format::step::Step;
use burst::format::zip::{data_descriptor, local_file_header};
use burst::format::zstd_frame;

use crate::Result;

/// Walks the whole items of `bytes`, the first of which stands at `base` in the archive and belongs to
/// `entries[current]`. Returns where the first item that is cut off begins. `write` gets frames and stored data.
pub fn walk(
    bytes: &[u8],
    base: u64,
    entries: &[PlacedEntry],
    mut current: usize,
    write: &mut impl FnMut(usize, &[u8]),
) -> Result<usize> {
    let mut at = 0;
    while let (Some(placed), Some(rest @ [_, ..])) = (entries.get(current), bytes.get(at..)) {
        let (entry, offset) = (&placed.entry, base + at as u64);
        let length = if offset == entry.header_offset {
            let Some(header) = local_file_header::length(rest).and_then(|n| rest.get(..n)) else { break };
            compare_header(entry.ordinal, offset, &local_file_header::parse(header)?, placed)?;
            header.len()
        } else if offset >= placed.data_end {
            let Some(descriptor) = rest.get(..24) else { break };
            data_descriptor::DataDescriptor::parse(descriptor)?;
            24
        } else if entry.method == Method::Stored {
            let data = &rest[..rest.len().min((placed.data_end - offset) as usize)];
            write(current, data);
            data.len()
        } else {
            let Some(magic) = rest.first_chunk().map(|m| u32::from_le_bytes(*m)) else { break };
            if skippable_frame::is_skippable(magic) {
                let length = match skippable_frame::parse(rest)? {
                    Step::Ready(SkippableFrame::Skip { length, .. }) => length as usize,
                    Step::Ready(SkippableFrame::StartOfPart(_)) => skippable_frame::START_OF_PART_LENGTH,
                    Step::NeedMore(_) => break,
                };
                if length > rest.len() {
                    break;
                }
                length
            } else {
                let Step::Ready(frame) = zstd_frame::parse(rest)? else { break };
                write(current, &rest[..frame.length]);
                frame.length
            }
        };
        at += length;
        current += usize::from(base + at as u64 == placed.end);
    }
    Ok(at)
}
