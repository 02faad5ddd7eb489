//! Bytes that the grid costs: as the archive has them, and by calculation for other grids and rules.

use burst::format::limits::GRID;

use crate::Result;
use crate::sequence::{Item, Kind, Sequence, name};

const START_OF_PART: u64 = 48;
const RAW_HEADER: u64 = 12;
const FULL: u64 = 131_072;

/// What the grid costs in an archive as it is, by reason.
#[derive(Debug, Default)]
struct Cost {
    /// Padding frames between frames, so that none crosses a grid point.
    seams: u64,
    /// Padding after an entry's last frame and pad fields, so that no header crosses one.
    headers: u64,
    /// Headers of the second halves of raw frames that were cut.
    cuts: u64,
    /// Pad fields that are there in case they must grow.
    fields: u64,
    starts_of_part: u64,
    /// 8 bytes after a full last frame; not the grid's fault.
    tails: u64,
}

impl Cost {
    fn of(items: &[Item]) -> Cost {
        let mut cost = Cost::default();
        let mut last_content = 0;
        for (i, item) in items.iter().enumerate() {
            let next = items.get(i + 1).map(|next| next.kind);
            match item.kind {
                Kind::Header { pad } => {
                    cost.fields += pad.min(4);
                    cost.headers += pad.saturating_sub(4);
                }
                Kind::Frame { content, raw } => {
                    last_content = content;
                    if raw && content < FULL && next == Some(Kind::StartOfPart) {
                        cost.cuts += RAW_HEADER;
                    }
                }
                Kind::Padding if next == Some(Kind::End) => {
                    let tail = if last_content == FULL { 8 } else { 0 };
                    cost.tails += tail;
                    cost.headers += item.len() - tail;
                }
                Kind::Padding => cost.seams += item.len(),
                Kind::StartOfPart => cost.starts_of_part += START_OF_PART,
                Kind::Stored | Kind::End => {}
            }
        }
        cost
    }

    fn total(&self) -> u64 {
        self.seams + self.headers + self.cuts + self.fields + self.starts_of_part
    }
}

pub fn run(archives: &[&str]) -> Result<()> {
    println!(
        "| data | archive MiB | parts | frames | mean frame B | (a) seams | headers | raw cuts | pad fields | SOP | (a) total | (b) | (c) | tail skips |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    let mut grids = Vec::new();
    for path in archives {
        let sequence = Sequence::read(path)?;
        let (items, all) = (&sequence.items, sequence.archive.index.trailer.data_end);
        let frames = || items.iter().filter(|item| matches!(item.kind, Kind::Frame { .. }));
        let count = frames().count().max(1) as u64;
        let cost = Cost::of(items);
        let bare = all - cost.total();
        let percent = |n: u64| format!("{:.4} %", 100.0 * n as f64 / bare as f64);
        println!(
            "| {} | {:.1} | {} | {count} | {} | {} | {} | {} | {} | {} | {} = {} B | 0 | {} | {} B |",
            name(path),
            all as f64 / f64::from(1 << 20),
            sequence.archive.index.trailer.parts,
            frames().map(Item::len).sum::<u64>() / count,
            percent(cost.seams),
            percent(cost.headers),
            percent(cost.cuts),
            percent(cost.fields),
            percent(cost.starts_of_part),
            percent(cost.total()),
            cost.total(),
            percent(cost.total() - cost.starts_of_part),
            cost.tails,
        );
        let units = units(items);
        let mut row = vec![percent(cost.total() - cost.fields)];
        row.extend([1, 2, 4, 8, 16, 64].map(|mib| percent(laid_out(&units, mib << 20, true) - bare)));
        row.push(percent(laid_out(&units, GRID, false) - bare));
        grids.push(format!("| {} | {} |", name(path), row.join(" | ")));
    }
    let worst = GRID - START_OF_PART - (GRID - START_OF_PART) / (FULL + RAW_HEADER) * (FULL + RAW_HEADER);
    println!("\nOther grids, by calculation (no pad fields); the first column is the real archive's, to compare\n");
    println!("| data | real 8 MiB | 1 MiB | 2 MiB | 4 MiB | 8 MiB | 16 MiB | 64 MiB | 8 MiB, raw frames not cut |");
    println!("|---|---|---|---|---|---|---|---|---|");
    grids.iter().for_each(|row| println!("{row}"));
    println!(
        "\nWorst case without cutting (every frame raw, 131,084 B): {worst} of {GRID} B per part = {:.2} %",
        100.0 * worst as f64 / (GRID - worst) as f64
    );
    Ok(())
}

/// What is laid out: length, whether it may be cut at 4 KiB, whether it is data of a STORE entry.
struct Unit {
    length: u64,
    raw: bool,
    stored: bool,
}

/// The archive without anything that the grid asks for; cut raw frames are joined again.
fn units(items: &[Item]) -> Vec<Unit> {
    let mut units: Vec<Unit> = Vec::new();
    let mut last_content = 0;
    let mut join = false;
    for (i, item) in items.iter().enumerate() {
        let next = items.get(i + 1).map(|next| next.kind);
        let length = match item.kind {
            Kind::Header { pad } => item.len() - pad,
            Kind::Frame { content, .. } => {
                last_content = content;
                item.len()
            }
            Kind::Padding if next == Some(Kind::End) && last_content == FULL => 8,
            Kind::Padding | Kind::StartOfPart => continue,
            Kind::Stored | Kind::End => item.len(),
        };
        let raw = matches!(item.kind, Kind::Frame { raw: true, .. });
        if std::mem::take(&mut join)
            && raw
            && let Some(last) = units.last_mut()
        {
            last.length += length - RAW_HEADER;
        } else if length > 0 {
            units.push(Unit { length, raw, stored: item.kind == Kind::Stored });
        }
        join = raw && last_content < FULL && next == Some(Kind::StartOfPart);
    }
    units
}

/// Length of the data region on this grid.
fn laid_out(units: &[Unit], grid: u64, cut: bool) -> u64 {
    let mut at = 0u64;
    for unit in units {
        let mut length = unit.length;
        loop {
            let room = grid - at % grid;
            if unit.stored {
                let seam_inside = length > room;
                at = if seam_inside { at.next_multiple_of(4096) } else { at } + length;
                break;
            }
            if at.is_multiple_of(grid) && at > 0 {
                at += START_OF_PART;
            }
            let room = grid - at % grid;
            if length == room || length + 8 <= room {
                at += length;
                break;
            }
            let piece =
                (room.saturating_sub(RAW_HEADER + 8) / 4096 * 4096).min((length - RAW_HEADER - 1) / 4096 * 4096);
            if cut && unit.raw && piece > 0 {
                length -= piece;
            }
            at += room;
        }
    }
    at
}
