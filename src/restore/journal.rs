//! The journal of a restore that is not finished, as pure code: bytes in, values out.
//!
//! ```text
//! header:  signature (8)  version (4)  length (4)  JSON  CRC-32C (4)
//! record:  length of the body (4)  kind (1)  body  CRC-32C (4)
//! ```
//!
//! The checksum of a record also covers the header's checksum and the record's place, so that a record holds in one
//! journal and at one place only. Numbers are little-endian. A part counts only if a checkpoint covers its record:
//! that is appended when everything before it was on the disk. Whatever cannot be read ends the journal; what stood
//! there is fetched once more.

use std::collections::HashMap;
use std::io::{self, Read};

use serde_json::Value;

use crate::format::checksum::{Crc32c, crc32c};
use crate::format::limits::{GRID, NAME_MAX};

const SIGNATURE: &[u8; 8] = b"BURSTJNL";
const VERSION: u32 = 1;

/// Bytes before the header's JSON, and around the body of a record.
const HEADER_START: usize = 16;
const RECORD_START: usize = 5;
const SUM: usize = 4;

/// Longest JSON of a header.
const HEADER_MAX: u32 = 1 << 16;

/// Longest body of a record: a part cannot hold more link texts than bytes, and each has its number and length.
const BODY_MAX: u32 = 4 * GRID as u32;

/// Most parts that are kept count of: 512 TiB of archive.
pub const PARTS_MAX: u64 = 1 << 26;

const PART: u8 = 1;
const TOTAL: u8 = 2;
const CHECKPOINT: u8 = 3;
const SESSION: u8 = 4;

/// Text of a symbolic link, and the ordinal of its entry.
pub type LinkText = (u64, Vec<u8>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// All content of this part is written. Symbolic links are made at the end: their texts are kept here.
    Part { index: u64, links: Vec<LinkText> },
    /// So many parts are needed in all.
    Total(u64),
    /// All parts whose records end at or before this offset are on the disk.
    Checkpoint { covered: u64 },
    /// A run begins here: what an earlier one wrote and did not cover is lost.
    Session,
}

/// The first bytes of a journal.
pub fn encode_header(json: &str) -> Vec<u8> {
    let mut out = SIGNATURE.to_vec();
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&(json.len() as u32).to_le_bytes());
    out.extend_from_slice(json.as_bytes());
    out.extend_from_slice(&crc32c(&out).to_le_bytes());
    out
}

/// What binds records to their journal: the checksum of its header.
pub fn seed(header: &[u8]) -> u32 {
    header.last_chunk().map_or(0, |sum| u32::from_le_bytes(*sum))
}

/// Appends a record that will stand at `offset` of the journal.
pub fn encode(record: &Record, seed: u32, offset: u64, out: &mut Vec<u8>) {
    let start = out.len();
    let kind = match record {
        Record::Part { .. } => PART,
        Record::Total(_) => TOTAL,
        Record::Checkpoint { .. } => CHECKPOINT,
        Record::Session => SESSION,
    };
    out.extend_from_slice(&[0, 0, 0, 0, kind]);
    match record {
        Record::Part { index: number, .. } | Record::Total(number) | Record::Checkpoint { covered: number } => {
            out.extend_from_slice(&number.to_le_bytes())
        }
        Record::Session => {}
    }
    if let Record::Part { links, .. } = record {
        for (ordinal, text) in links {
            out.extend_from_slice(&ordinal.to_le_bytes());
            out.extend_from_slice(&(text.len() as u32).to_le_bytes());
            out.extend_from_slice(text);
        }
    }
    let length = (out.len() - start - RECORD_START) as u32;
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    let sum = record_sum(seed, offset, &out[start..]);
    out.extend_from_slice(&sum.to_le_bytes());
}

/// Checksum of a record, given without its own.
pub fn record_sum(seed: u32, offset: u64, record: &[u8]) -> u32 {
    let mut sum = Crc32c::new();
    sum.update(&seed.to_le_bytes());
    sum.update(&offset.to_le_bytes());
    sum.update(record);
    sum.finish()
}

/// Parts by number, a bit each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartSet {
    bits: Vec<u64>,
    count: u64,
}

impl PartSet {
    pub fn contains(&self, index: u64) -> bool {
        let word = usize::try_from(index / 64).ok().and_then(|at| self.bits.get(at));
        word.is_some_and(|word| word & 1 << (index % 64) != 0)
    }

    /// How many of these parts are in the set.
    pub fn count_in(&self, parts: std::ops::RangeInclusive<u64>) -> u64 {
        if self.count == 0 { 0 } else { parts.filter(|&part| self.contains(part)).count() as u64 }
    }

    pub fn len(&self) -> u64 {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// `index` must be below [`PARTS_MAX`].
    fn insert(&mut self, index: u64) {
        let at = (index / 64) as usize;
        if at >= self.bits.len() {
            self.bits.resize(at + 1, 0);
        }
        if let Some(word) = self.bits.get_mut(at)
            && *word & 1 << (index % 64) == 0
        {
            *word |= 1 << (index % 64);
            self.count += 1;
        }
    }
}

/// What a journal says.
#[derive(Debug, Clone, PartialEq)]
pub struct Contents {
    /// The JSON object of the header.
    pub header: Value,
    pub seed: u32,
    /// Parts that are on the disk.
    pub done: PartSet,
    /// Where the records of those stand that hold link texts.
    pub links: HashMap<u64, u64>,
    /// How many parts are needed, if the directory was read to its end.
    pub total: Option<u64>,
    /// Where the next record goes.
    pub end: u64,
}

/// Reads a journal from its start. None if the header is damaged or of another version; an error only if reading fails.
pub fn read(input: &mut impl Read) -> io::Result<Option<Contents>> {
    let Some((header, seed, mut offset)) = read_header(input)? else { return Ok(None) };
    let mut contents = Contents { header, seed, done: PartSet::default(), links: HashMap::new(), total: None, end: 0 };
    // Parts that no checkpoint covers yet: number, start, end, whether there are links.
    let mut waiting: Vec<(u64, u64, u64, bool)> = Vec::new();
    while let Some((record, length)) = read_record(input, seed, offset)? {
        let end = offset + length;
        match record {
            Record::Part { index, .. } if index >= PARTS_MAX => break,
            Record::Part { index, links } => waiting.push((index, offset, end, !links.is_empty())),
            Record::Total(total) => contents.total = Some(total),
            Record::Session => waiting.clear(),
            Record::Checkpoint { covered } if covered > offset => break,
            Record::Checkpoint { covered } => waiting.retain(|&(index, start, end, has_links)| {
                if end <= covered {
                    contents.done.insert(index);
                    if has_links {
                        contents.links.insert(index, start);
                    }
                }
                end > covered
            }),
        }
        offset = end;
    }
    contents.end = offset;
    Ok(Some(contents))
}

/// The link texts of the part whose record begins at `offset`; None if there is no such record.
pub fn read_links(input: &mut impl Read, seed: u32, offset: u64) -> io::Result<Option<Vec<LinkText>>> {
    Ok(match read_record(input, seed, offset)? {
        Some((Record::Part { links, .. }, _)) => Some(links),
        _ => None,
    })
}

/// The JSON, the checksum, and the length of it all.
fn read_header(input: &mut impl Read) -> io::Result<Option<(Value, u32, u64)>> {
    let Some(mut bytes) = take(input, HEADER_START)? else { return Ok(None) };
    let (version, length) = (number(&bytes, 8), number(&bytes, 12));
    if bytes.get(..8) != Some(SIGNATURE) || version != VERSION || length > HEADER_MAX {
        return Ok(None);
    }
    let Some(rest) = take(input, length as usize + SUM)? else { return Ok(None) };
    bytes.extend_from_slice(&rest);
    let (body, _) = bytes.split_at(bytes.len() - SUM);
    let seed = seed(&bytes);
    if crc32c(body) != seed {
        return Ok(None);
    }
    let json = serde_json::from_slice::<Value>(body.get(HEADER_START..).unwrap_or_default());
    Ok(json.ok().filter(Value::is_object).map(|json| (json, seed, bytes.len() as u64)))
}

/// The record at `offset`, and its whole length; None for anything that is none.
fn read_record(input: &mut impl Read, seed: u32, offset: u64) -> io::Result<Option<(Record, u64)>> {
    let Some(mut bytes) = take(input, RECORD_START)? else { return Ok(None) };
    let length = number(&bytes, 0);
    if length > BODY_MAX {
        return Ok(None);
    }
    let Some(rest) = take(input, length as usize + SUM)? else { return Ok(None) };
    bytes.extend_from_slice(&rest);
    let (record, sum) = bytes.split_at(bytes.len() - SUM);
    if record_sum(seed, offset, record) != number(sum, 0) {
        return Ok(None);
    }
    let body = record.get(RECORD_START..).unwrap_or_default();
    let record = parse(record.get(4).copied().unwrap_or_default(), body);
    Ok(record.map(|record| (record, bytes.len() as u64)))
}

fn parse(kind: u8, body: &[u8]) -> Option<Record> {
    if kind == SESSION {
        return body.is_empty().then_some(Record::Session);
    }
    let (first, mut rest) = body.split_first_chunk::<8>()?;
    let first = u64::from_le_bytes(*first);
    if kind != PART {
        return match kind {
            _ if !rest.is_empty() => None,
            TOTAL => Some(Record::Total(first)),
            CHECKPOINT => Some(Record::Checkpoint { covered: first }),
            _ => None,
        };
    }
    let mut links = Vec::new();
    while !rest.is_empty() {
        let (ordinal, after) = rest.split_first_chunk::<8>()?;
        let (length, after) = after.split_first_chunk::<4>()?;
        let (text, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        if text.is_empty() || text.len() > NAME_MAX || text.contains(&0) {
            return None;
        }
        links.push((u64::from_le_bytes(*ordinal), text.to_vec()));
        rest = after;
    }
    Some(Record::Part { index: first, links })
}

fn number(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

/// Exactly `length` bytes, or None if the input ends before.
fn take(input: &mut impl Read, length: usize) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    // A length that lies must not allocate what is not there.
    input.take(length as u64).read_to_end(&mut bytes)?;
    Ok((bytes.len() == length).then_some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A journal of two runs; parts 0 to 2 are covered, 3 and 5 are not. With the borders between its records.
    fn journal() -> (Vec<u8>, Vec<usize>) {
        let mut bytes = encode_header(r#"{"a":1}"#);
        let seed = seed(&bytes);
        let mut borders = vec![bytes.len()];
        let mut add = |record: &Record| {
            let offset = bytes.len() as u64;
            encode(record, seed, offset, &mut bytes);
            borders.push(bytes.len());
            offset
        };
        let part = |index, links: &[LinkText]| Record::Part { index, links: links.to_vec() };
        add(&Record::Session);
        add(&part(0, &[]));
        let covered = add(&part(2, &[(7, b"text".to_vec()), (9, b"../x".to_vec())]));
        add(&Record::Checkpoint { covered });
        // Part 2 was not covered by that, and a new run begins.
        add(&Record::Session);
        add(&part(2, &[(7, b"text".to_vec())]));
        add(&part(1, &[]));
        add(&Record::Total(7));
        let covered = add(&part(3, &[]));
        add(&Record::Checkpoint { covered });
        add(&part(5, &[]));
        (bytes, borders)
    }

    fn done(bytes: &[u8]) -> Vec<u64> {
        let contents = read(&mut &bytes[..]).unwrap().unwrap();
        (0..10).filter(|&part| contents.done.contains(part)).collect()
    }

    #[test]
    fn what_is_covered_counts() {
        let (bytes, _) = journal();
        let contents = read(&mut &bytes[..]).unwrap().unwrap();
        assert_eq!(done(&bytes), [0, 1, 2]);
        assert_eq!((contents.done.len(), contents.total), (3, Some(7)));
        assert_eq!(contents.done.count_in(1..=5), 2);
        assert_eq!((contents.end as usize, &contents.header["a"]), (bytes.len(), &1.into()));
        let at = contents.links[&2];
        let links = read_links(&mut &bytes[at as usize..], contents.seed, at).unwrap().unwrap();
        assert_eq!(links, [(7, b"text".to_vec())]);
        assert_eq!(contents.links.len(), 1);
    }

    #[test]
    fn a_cut_journal_says_less() {
        let (bytes, borders) = journal();
        let (mut seen, whole) = (0, done(&bytes));
        for length in 0..bytes.len() {
            let Some(contents) = read(&mut &bytes[..length]).unwrap() else {
                assert!(length < borders[0]);
                continue;
            };
            assert!((0..10).filter(|&p| contents.done.contains(p)).all(|p| whole.contains(&p)), "cut at {length}");
            assert_eq!(contents.end as usize, *borders.iter().rfind(|&&b| b <= length).unwrap());
            seen = seen.max(contents.done.len());
        }
        assert_eq!(seen, 3);
    }

    #[test]
    fn a_flipped_bit_says_less() {
        let (bytes, borders) = journal();
        for at in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[at / 8] ^= 1 << (at % 8);
            match read(&mut &bad[..]).unwrap() {
                None => assert!(at / 8 < borders[0]),
                Some(contents) => {
                    assert!(at / 8 >= borders[0], "bit {at} of the header");
                    assert!(contents.end as usize <= at / 8);
                    assert!((0..10).filter(|&p| contents.done.contains(p)).all(|p| p < 3));
                }
            }
        }
    }

    #[test]
    fn records_hold_at_their_place_only() {
        let (bytes, borders) = journal();
        let mut moved = bytes[..borders[0]].to_vec();
        moved.extend_from_slice(&bytes[borders[1]..borders[2]]);
        assert_eq!(read(&mut &moved[..]).unwrap().unwrap().end as usize, borders[0]);
        // Nor in another journal.
        let mut other = encode_header(r#"{"a":2}"#);
        other.extend_from_slice(&bytes[borders[0]..]);
        assert_eq!(read(&mut &other[..]).unwrap().unwrap().end as usize, borders[0]);
    }

    #[test]
    fn numbers_that_lie() {
        let header = encode_header("{}");
        let seed = seed(&header);
        for record in [
            Record::Part { index: PARTS_MAX, links: vec![] },
            Record::Checkpoint { covered: u64::MAX },
            Record::Part { index: 1, links: vec![(1, vec![])] },
            Record::Part { index: 1, links: vec![(1, b"a\0".to_vec())] },
        ] {
            let mut bytes = header.clone();
            encode(&record, seed, header.len() as u64, &mut bytes);
            let contents = read(&mut &bytes[..]).unwrap().unwrap();
            assert_eq!((contents.end as usize, contents.done.len()), (header.len(), 0), "{record:?}");
        }
        let mut long = header.clone();
        long.extend_from_slice(&[0xFF; 100]);
        assert_eq!(read(&mut &long[..]).unwrap().unwrap().end as usize, header.len());
        assert!(read(&mut &encode_header("[]")[..]).unwrap().is_none());
        assert!(read(&mut &encode_header("{")[..]).unwrap().is_none());
    }
}
