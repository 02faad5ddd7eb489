//! What must hold for any bytes at all. The fuzzers run these, and the tests of the format with every case ever found.

mod differential;
mod image;
pub mod read;
pub mod reseal;
pub mod seven_zip;

use burst::format::attributes::{AttributeList, encode_root, parse_root};
use burst::format::stream_reader::{Event, StreamReader};
use burst::format::zip::{central_directory, local_file_header};
use burst::format::{Step, zstd_frame};
use burst::restore::journal;

pub use differential::differential;
pub use image::image;

/// End records, trailer, part map, directory and parts, behind checksums that are made right.
pub fn archive(bytes: &[u8]) {
    let _ = read::read(bytes, true);
    let mut sealed = bytes.to_vec();
    if reseal::reseal(&mut sealed) {
        let _ = read::read(&sealed, true);
    }
}

/// The data region as a stream: however it is cut, the same comes of it.
pub fn stream(bytes: &[u8]) {
    let Some((&cut, bytes)) = bytes.split_first() else { return };
    let whole = events(bytes, || usize::MAX);
    for piece in [1, 1 + usize::from(cut)] {
        assert_eq!(whole, events(bytes, || piece), "pieces of {piece}");
    }
}

/// Events until the end, an error, or more is needed than there is. What depends on how the input was cut is joined.
pub fn events(bytes: &[u8], mut step: impl FnMut() -> usize) -> Vec<String> {
    let mut reader = StreamReader::at_start();
    let (mut from, mut to) = (0, step().min(bytes.len()));
    let mut all: Vec<String> = Vec::new();
    loop {
        let text = match reader.next(&bytes[from..to]) {
            Err(e) => {
                all.push(format!("{e}"));
                return all;
            }
            Ok(Step::NeedMore(n)) => {
                assert!(n > to - from, "asks for {n} and has {}", to - from);
                if to == bytes.len() {
                    return all;
                }
                to = to.saturating_add(step()).min(bytes.len());
                continue;
            }
            Ok(Step::Ready(advance)) => {
                assert!(advance.consumed <= to - from);
                let text = match &advance.event {
                    Event::EndOfData => return all,
                    Event::Padding => "padding".to_owned(),
                    Event::Stored { .. } => "stored".to_owned(),
                    other => format!("{from} {other:?}"),
                };
                from += advance.consumed;
                text
            }
        };
        if all.last() != Some(&text) {
            all.push(text);
        }
    }
}

/// A frame that is accepted is what the kernel needs: one frame, of this length, with this much content at most.
pub fn frame(bytes: &[u8]) {
    let Some(at) = bytes.windows(4).position(|w| w == [0x28, 0xB5, 0x2F, 0xFD]) else { return };
    let bytes = &bytes[at..];
    let Ok(Step::Ready(info)) = zstd_frame::parse(bytes) else { return };
    let frame = &bytes[..info.length];
    assert!((1..=131_072).contains(&info.content_size) && frame.len() <= 135_168);
    assert_eq!(zstd::zstd_safe::find_frame_compressed_size(frame), Ok(frame.len()), "another length than zstd finds");
    let content = zstd::bulk::decompress(frame, 131_072);
    if let Ok(content) = &content {
        assert_eq!(content.len(), info.content_size as usize);
    }
    if info.is_hole {
        assert!(content.is_ok_and(|c| c.iter().all(|&b| b == 0)));
    } else if let Some(raw) = zstd_frame::raw_content(frame) {
        assert_eq!(content.ok().as_deref(), frame.get(raw));
    }
}

/// Headers, extra fields and attribute lists: what is read can be written, and is the same again.
pub fn fields(bytes: &[u8]) {
    let after = |mark: &[u8]| bytes.windows(mark.len()).position(|w| w == mark).map(|at| &bytes[at..]);
    let _ = local_file_header::parse(bytes);
    if let Some(bytes) = after(b"PK\x01\x02")
        && let Some(length) = central_directory::length(bytes)
        && let Some(header) = bytes.get(..length)
        && let Ok(entry) = central_directory::parse(header, 0, 0)
    {
        let mut again = Vec::new();
        central_directory::encode(&entry, &mut again);
        let parsed = central_directory::parse(&again, 0, 0);
        assert_eq!(parsed.as_ref().ok(), Some(&entry), "{parsed:?}");
    }
    for bytes in [Some(bytes), after(b"BRST").and_then(|b| b.get(16..))].into_iter().flatten() {
        if let Ok(list) = AttributeList::parse(bytes) {
            let mut again = Vec::new();
            list.encode(&mut again);
            assert_eq!(AttributeList::parse(&again).as_ref(), Ok(&list));
        }
        if let Ok(root) = parse_root(bytes) {
            let mut again = Vec::new();
            encode_root(&root, &mut again);
            assert_eq!(parse_root(&again).as_ref(), Ok(&root));
        }
    }
}

/// The journal of an unfinished restore: as it comes, behind checksums that are made right, and what is read of it
/// written again. A journal that was cut short never says more.
pub fn journal(bytes: &[u8]) {
    let read = |mut bytes: &[u8]| journal::read(&mut bytes).expect("reading from memory does not fail");
    let _ = read(bytes);
    let sealed = reseal::journal(bytes);
    let contents = read(&sealed).expect("the header is right");
    assert!(contents.end as usize <= sealed.len());
    assert_eq!(read(&sealed[..contents.end as usize]), Some(contents.clone()));
    for (&part, &offset) in &contents.links {
        assert!(contents.done.contains(part));
        let mut record = &sealed[offset as usize..];
        let links = journal::read_links(&mut record, contents.seed, offset).unwrap().expect("it was read before");
        let mut again = Vec::new();
        journal::encode(&journal::Record::Part { index: part, links }, contents.seed, offset, &mut again);
        assert_eq!(again, sealed[offset as usize..][..again.len()]);
    }
    let half = contents.end as usize / 2;
    if let Some(less) = read(&sealed[..half]) {
        assert!(less.done.len() <= contents.done.len() && (less.end as usize) <= half);
    }
}
