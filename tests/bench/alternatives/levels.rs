//! zstd levels on frames of 128 KiB as BTRFS takes them, and the same bytes as one stream.

use std::time::Instant;

use walkdir::WalkDir;
use zstd::bulk::Decompressor;
use zstd::zstd_safe::{CCtx, CParameter, compress_bound, get_error_name};

use crate::Result;
use crate::measure::{GIB, cpu};

/// Every how many files one is taken.
const EVERY: usize = 4;
const PIECE: usize = 131_072;

pub fn run(directories: &[&str]) -> Result<()> {
    let mut pieces = Vec::new();
    let mut seen = 0usize;
    for directory in directories {
        for entry in WalkDir::new(directory).sort_by_file_name() {
            let entry = entry?;
            if entry.file_type().is_file() {
                seen += 1;
                if seen.is_multiple_of(EVERY) {
                    let content = std::fs::read(entry.path())?;
                    pieces.extend(content.chunks(PIECE).map(<[u8]>::to_vec));
                }
            }
        }
    }
    let bytes: usize = pieces.iter().map(Vec::len).sum();
    let blocks: usize = pieces.iter().map(|piece| piece.len().next_multiple_of(4096)).sum();
    println!("every {EVERY}th file of {directories:?}: {} pieces, {:.1} MiB\n", pieces.len(), bytes as f64 / 1048576.0);
    println!("| level | ratio | on disk | compress CPU s/GiB | decompress CPU s/GiB | wall s |");
    println!("|---|---|---|---|---|---|");
    for level in [-15, -5, 1, 3, 6, 9, 15] {
        let begun = (cpu()?, Instant::now());
        let frames = compress(&pieces, level)?;
        let compressed = cpu()?;
        let mut decompressor = Decompressor::new()?;
        let mut out = Vec::with_capacity(PIECE);
        for (frame, piece) in frames.iter().zip(&pieces).filter(|(frame, piece)| frame.len() < piece.len()) {
            out.clear();
            decompressor.decompress_to_buffer(frame, &mut out)?;
            assert_eq!(&out, piece);
        }
        let done = cpu()?;
        let gib = bytes as f64 / GIB;
        let total: usize = frames.iter().zip(&pieces).map(|(f, p)| f.len().min(p.len())).sum();
        let disk: usize = frames.iter().zip(&pieces).map(|(f, p)| f.len().min(p.len()).next_multiple_of(4096)).sum();
        println!(
            "| {level} | {:.3} | {:.1} % | {:.2} | {:.2} | {:.0} |",
            bytes as f64 / total as f64,
            100.0 * disk as f64 / blocks as f64,
            (compressed - begun.0).as_secs_f64() / gib,
            (done - compressed).as_secs_f64() / gib,
            begun.1.elapsed().as_secs_f64(),
        );
    }
    let begun = cpu()?;
    let mut stream = zstd::stream::write::Encoder::new(Vec::new(), 3)?;
    for piece in &pieces {
        std::io::Write::write_all(&mut stream, piece)?;
    }
    let total = stream.finish()?.len();
    let seconds = (cpu()? - begun).as_secs_f64();
    println!(
        "| 3, one stream | {:.3} | - | {:.2} | - | - |",
        bytes as f64 / total as f64,
        seconds / (bytes as f64 / GIB)
    );
    Ok(())
}

/// As `burst snapshot` does it: window of at most 128 KiB, content size, no checksum.
fn compress(pieces: &[Vec<u8>], level: i32) -> Result<Vec<Vec<u8>>> {
    let failed = |code: usize| format!("zstd: {}", get_error_name(code));
    let mut context = CCtx::create();
    for parameter in [CParameter::CompressionLevel(level), CParameter::WindowLog(17), CParameter::ContentSizeFlag(true)]
    {
        context.set_parameter(parameter).map_err(failed)?;
    }
    let mut frame = Vec::with_capacity(compress_bound(PIECE));
    let compress = |piece: &Vec<u8>| {
        frame.clear();
        context.compress2(&mut frame, piece).map_err(failed)?;
        Ok(frame.clone())
    };
    pieces.iter().map(compress).collect()
}
