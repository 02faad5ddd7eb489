//! The data region as a stream, cut anywhere.

use crate::build::{self, Built, Random};
use burst::format::Step;
use burst::format::stream_reader::{Event, StreamReader};

/// Events as text, those that depend on how the input was cut joined: STORE data and padding by their place.
fn events(bytes: &[u8], mut give: impl FnMut(usize) -> usize) -> Vec<String> {
    let mut reader = StreamReader::at_start();
    let (mut from, mut to) = (0, 0);
    let mut all: Vec<String> = Vec::new();
    loop {
        assert_eq!(reader.offset(), from as u64);
        match reader.next(&bytes[from..to]).unwrap() {
            Step::NeedMore(n) => {
                assert!(n > to - from && to < bytes.len(), "{n} at {from}");
                to = (to + give(n - (to - from))).min(bytes.len());
            }
            Step::Ready(advance) => {
                assert!(advance.consumed <= to - from);
                let text = match &advance.event {
                    Event::EndOfData => return all,
                    Event::Padding => "padding".to_owned(),
                    Event::Stored { .. } => "stored".to_owned(),
                    other => format!("{from} {other:?}"),
                };
                if all.last() != Some(&text) {
                    all.push(text);
                }
                from += advance.consumed;
            }
        }
    }
}

fn contents(built: &Built) -> Vec<Vec<u8>> {
    let mut reader = StreamReader::at_start();
    let mut all: Vec<Vec<u8>> = Vec::new();
    let mut rest = &built.bytes[..];
    while let Step::Ready(advance) = reader.next(rest).unwrap() {
        let last = all.last_mut();
        match advance.event {
            Event::LocalHeader { ordinal, header, .. } => {
                assert_eq!(ordinal as usize, all.len());
                let path = header.name.strip_suffix(b"/").unwrap_or(header.name);
                assert_eq!(path, built.given[all.len()].entry.path);
                all.push(Vec::new());
            }
            Event::Stored { range, .. } => last.unwrap().extend_from_slice(&rest[range]),
            Event::Frame { range, content_offset, .. } => {
                assert_eq!(content_offset, last.as_ref().unwrap().len() as u64);
                last.unwrap().extend(zstd::bulk::decompress(&rest[range], 131_072).unwrap());
            }
            Event::EntryEnd { content_size, .. } => assert_eq!(content_size, last.unwrap().len() as u64),
            Event::EndOfData => break,
            Event::StartOfPart(_) | Event::Padding => {}
        }
        rest = &rest[advance.consumed..];
    }
    all
}

#[test]
fn contents_in_order() {
    for built in [build::small(1), build::parts(2, 30), build::parts(3, 30)] {
        let expected: Vec<_> = built.given.iter().map(|g| &g.data).collect();
        assert!(contents(&built).iter().eq(expected));
    }
}

#[test]
fn any_split_gives_the_same_events() {
    let built = build::parts(5, 20);
    let whole = events(&built.bytes, |_| usize::MAX / 2);
    assert!(whole.len() > 50);
    assert_eq!(events(&built.bytes, |missing| missing), whole);
    let mut random = Random::new(9);
    assert_eq!(events(&built.bytes, |_| 1 + random.below(100_000) as usize), whole);
}

#[test]
fn one_byte_more_each_time() {
    for seed in 0..3 {
        let mut b = build::Builder::new(seed);
        b.directory("d");
        b.noise("d/stored", 200);
        b.framed("d/framed", 2, false);
        b.framed("d/large", 3, true);
        let built = b.finish();
        assert_eq!(events(&built.bytes, |_| 1), events(&built.bytes, |_| usize::MAX / 2));
    }
}
