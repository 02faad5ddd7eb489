//! The same frames with and without alignment: CPU time of reading them, and what joining holds and copies.

use std::collections::HashSet;
use std::hint::black_box;

use burst::format::checksum::crc32c;
use burst::format::directory_reader::PlacedEntry;
use burst::format::limits::GRID;
use burst::format::skippable_frame::padding_header;

use crate::Result;
use crate::joiner::{Joiner, Start};
use crate::measure::{GIB, median_cpu};
use crate::sequence::{Item, Kind, Sequence, name};
use crate::walk::walk;

const IN_FLIGHT: usize = 16;
const ROUNDS: usize = 7;

pub fn run(archives: &[&str]) -> Result<()> {
    println!(
        "| data | crc only | read_part | walk aligned | walk + join | seams cut | copied % | held, mean / peak KiB | with 1 in 64 retried | pinned buffers instead, peak | retried |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for path in archives {
        row(path)?;
    }
    Ok(())
}

fn row(path: &str) -> Result<()> {
    let sequence = Sequence::read(path)?;
    let (archive, entries) = (&sequence.archive, &sequence.entries);
    let aligned = &sequence.bytes[..archive.index.trailer.data_end as usize];
    let per_gib = |seconds: f64, bytes: &[u8]| seconds / (bytes.len() as f64 / GIB);

    let order = arrivals(archive.index.trailer.parts, 1, 0);
    let ranges: Vec<_> =
        (0..archive.index.trailer.parts).map(|i| entries_of(entries, &archive.index.part_range(i))).collect();
    let checksum = median_cpu(ROUNDS, || {
        for &i in &order {
            black_box(crc32c(chunk(aligned, i)));
        }
        Ok(())
    })?;
    let real = median_cpu(ROUNDS, || {
        for &i in &order {
            black_box(archive.index.read_part(i, chunk(aligned, i), &entries[ranges[i as usize].clone()])?);
        }
        Ok(())
    })?;
    let plain = median_cpu(ROUNDS, || {
        for &i in &order {
            let bytes = chunk(aligned, i);
            black_box(crc32c(bytes));
            let end = walk(bytes, i * GRID, entries, ranges[i as usize].start, &mut written)?;
            assert_eq!(end, bytes.len(), "part {i}");
        }
        Ok(())
    })?;

    let whole = count_frames(&sequence.items);
    let unaligned = Unaligned::new(&sequence);
    let order = arrivals(unaligned.starts.len() as u64, 1, 0);
    let joining = median_cpu(ROUNDS, || {
        let joiner = Joiner::new(&unaligned.entries, &unaligned.starts);
        let mut frames = 0;
        for &i in &order {
            let bytes = chunk(&unaligned.bytes, i);
            black_box(crc32c(bytes));
            joiner.part(i, bytes, &mut |e, b| {
                frames += usize::from(unaligned.entries[e].entry.method.number() == 93);
                written(e, b);
            })?;
        }
        assert_eq!((frames, joiner.held().0), (whole, 0), "everything was joined");
        Ok(())
    })?;
    let calm = Held::of(&unaligned, 0)?;
    let retried = Held::of(&unaligned, 64)?;
    println!(
        "| {} | {:.3} | {:.3} | {:.3} | {:.3} | {} of {} | {:.2} | {:.0} / {} | {:.0} / {} | {} MiB | {} MiB |",
        name(path),
        per_gib(checksum, aligned),
        per_gib(real, aligned),
        per_gib(plain, aligned),
        per_gib(joining, &unaligned.bytes),
        calm.seams,
        unaligned.starts.len() - 1,
        100.0 * calm.copied as f64 / unaligned.bytes.len() as f64,
        calm.mean / 1024.0,
        calm.peak >> 10,
        retried.mean / 1024.0,
        retried.peak >> 10,
        calm.pinned * 8,
        retried.pinned * 8,
    );
    Ok(())
}

/// Stands for the write.
fn written(entry: usize, bytes: &[u8]) {
    black_box((entry, bytes));
}

fn chunk(bytes: &[u8], index: u64) -> &[u8] {
    let start = (index * GRID) as usize;
    &bytes[start..bytes.len().min(start + GRID as usize)]
}

fn count_frames(items: &[Item]) -> usize {
    items.iter().filter(|item| matches!(item.kind, Kind::Frame { .. })).count()
}

fn entries_of(entries: &[PlacedEntry], part: &std::ops::Range<u64>) -> std::ops::Range<usize> {
    entries.partition_point(|e| e.end <= part.start)..entries.partition_point(|e| e.entry.header_offset < part.end)
}

/// The same headers, frames and data one after the other, with nothing that the grid asks for.
struct Unaligned {
    bytes: Vec<u8>,
    entries: Vec<PlacedEntry>,
    starts: Vec<Start>,
}

impl Unaligned {
    fn new(sequence: &Sequence) -> Unaligned {
        let mut out = Vec::with_capacity(sequence.bytes.len());
        let mut entries = sequence.entries.clone();
        let mut starts: Vec<Start> = Vec::new();
        let (mut current, mut content_of_last) = (0, 0);
        for (i, item) in sequence.items.iter().enumerate() {
            let at = out.len();
            let next = sequence.items.get(i + 1).map(|next| next.kind);
            let bytes = &sequence.bytes[item.range.clone()];
            let placed = &mut entries[current];
            // A seam inside STORE data cuts nothing.
            let boundary = starts.len() * GRID as usize;
            if at >= boundary && !bytes.is_empty() && !matches!(item.kind, Kind::Padding | Kind::StartOfPart) {
                starts.push(Start { first: at - boundary, entry: current });
            }
            match item.kind {
                Kind::Header { .. } => {
                    out.extend_from_slice(bytes);
                    placed.entry.header_offset = at as u64;
                    placed.data_start = out.len() as u64;
                }
                Kind::Frame { content, .. } => {
                    out.extend_from_slice(bytes);
                    content_of_last = content;
                }
                Kind::Stored => {
                    out.extend_from_slice(bytes);
                    while starts.len() * (GRID as usize) < out.len() {
                        starts.push(Start { first: 0, entry: current });
                    }
                }
                Kind::Padding if next == Some(Kind::End) && content_of_last == 131_072 => {
                    out.extend_from_slice(&padding_header(8).unwrap_or_default());
                }
                Kind::Padding | Kind::StartOfPart => {}
                Kind::End => {
                    placed.data_end = at as u64;
                    out.extend_from_slice(bytes);
                    placed.end = out.len() as u64;
                    current += 1;
                }
            }
        }
        // A last part without a whole item has nothing but the end of one.
        if starts.len() * (GRID as usize) < out.len() {
            starts.push(Start { first: out.len() - starts.len() * GRID as usize, entry: entries.len() });
        }
        Unaligned { bytes: out, entries, starts }
    }
}

/// What joining costs in memory, over five orders of arrival.
struct Held {
    mean: f64,
    peak: usize,
    copied: usize,
    seams: usize,
    /// Most parts whose buffer would wait for a neighbour if fragments were not copied.
    pinned: usize,
}

impl Held {
    fn of(unaligned: &Unaligned, one_late_in: u64) -> Result<Held> {
        let mut held = Held { mean: 0.0, peak: 0, copied: 0, seams: 0, pinned: 0 };
        for seed in 1..=5 {
            let joiner = Joiner::new(&unaligned.entries, &unaligned.starts);
            let order = arrivals(unaligned.starts.len() as u64, seed, one_late_in);
            let mut arrived = HashSet::new();
            let mut sum = 0;
            for &i in &order {
                joiner.part(i, chunk(&unaligned.bytes, i), &mut written)?;
                arrived.insert(i);
                let (bytes, seams) = joiner.held();
                sum += bytes;
                held.peak = held.peak.max(bytes);
                let waiting: HashSet<u64> =
                    seams.iter().flat_map(|&s| [s - 1, s]).filter(|part| arrived.contains(part)).collect();
                held.pinned = held.pinned.max(waiting.len());
            }
            held.mean += sum as f64 / order.len() as f64 / 5.0;
        }
        let lone = Joiner::new(&unaligned.entries, &unaligned.starts);
        for i in (0..unaligned.starts.len() as u64).step_by(2) {
            lone.part(i, chunk(&unaligned.bytes, i), &mut |_, _| ())?;
        }
        // Every second part alone: one half of every seam; the other half is counted with the odd ones.
        held.seams = lone.held().1.iter().filter(|&&seam| seam < unaligned.starts.len() as u64).count();
        held.copied = lone.held().0;
        let lone = Joiner::new(&unaligned.entries, &unaligned.starts);
        for i in (1..unaligned.starts.len() as u64).step_by(2) {
            lone.part(i, chunk(&unaligned.bytes, i), &mut |_, _| ())?;
        }
        held.copied += lone.held().0;
        Ok(held)
    }
}

/// The order in which parts arrive, 16 being in flight and any of them the next. One in `one_late_in` (0: none) is
/// retried: it arrives 32 arrivals later than it could.
fn arrivals(parts: u64, seed: u64, one_late_in: u64) -> Vec<u64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut random = |n: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) % n
    };
    let mut order = Vec::new();
    let mut flying: Vec<(u64, usize)> = Vec::new();
    let mut next = 0;
    while order.len() < parts as usize {
        while next < parts && flying.len() < IN_FLIGHT {
            let late = one_late_in > 0 && random(one_late_in) == 0;
            flying.push((next, order.len() + if late { 2 * IN_FLIGHT } else { 0 }));
            next += 1;
        }
        let ready: Vec<usize> = (0..flying.len()).filter(|&i| flying[i].1 <= order.len()).collect();
        let chosen = match ready.is_empty() {
            true => 0,
            false => ready[random(ready.len() as u64) as usize],
        };
        order.push(flying.remove(chosen).0);
    }
    order
}
