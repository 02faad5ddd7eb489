//! zstd levels on frames of 128 KiB as BTRFS takes them, and the same bytes as one stream.

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
    println!("| level | ratio | on disk | compress CPU s/GiB | decompress CPU s/GiB |");
    println!("|---|---|---|---|---|");
    for level in [-15, -5, 1, 3, 6, 9, 15] {
        // The lesser of two runs: other work on the machine only ever adds.
        let (mut compressing, mut decompressing, mut frames) = (f64::MAX, f64::MAX, Vec::new());
        for _ in 0..2 {
            drop(std::mem::take(&mut frames));
            let begun = cpu()?;
            frames = compress(&pieces, level)?;
            compressing = compressing.min((cpu()? - begun).as_secs_f64());
            let begun = cpu()?;
            decompress(&pieces, &frames)?;
            decompressing = decompressing.min((cpu()? - begun).as_secs_f64());
        }
        let gib = bytes as f64 / GIB;
        let total: usize = frames.iter().zip(&pieces).map(|(f, p)| f.len().min(p.len())).sum();
        let disk: usize = frames.iter().zip(&pieces).map(|(f, p)| f.len().min(p.len()).next_multiple_of(4096)).sum();
        println!(
            "| {level} | {:.3} | {:.1} % | {:.2} | {:.2} |",
            bytes as f64 / total as f64,
            100.0 * disk as f64 / blocks as f64,
            compressing / gib,
            decompressing / gib,
        );
    }
    let begun = cpu()?;
    let mut stream = zstd::stream::write::Encoder::new(Vec::new(), 3)?;
    for piece in &pieces {
        std::io::Write::write_all(&mut stream, piece)?;
    }
    let total = stream.finish()?.len();
    let seconds = (cpu()? - begun).as_secs_f64();
    println!("| 3, one stream | {:.3} | - | {:.2} | - |", bytes as f64 / total as f64, seconds / (bytes as f64 / GIB));
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

/// Decompresses and compares what compression made smaller.
fn decompress(pieces: &[Vec<u8>], frames: &[Vec<u8>]) -> Result<()> {
    let mut decompressor = Decompressor::new()?;
    let mut out = Vec::with_capacity(PIECE);
    for (frame, piece) in frames.iter().zip(pieces).filter(|(frame, piece)| frame.len() < piece.len()) {
        out.clear();
        decompressor.decompress_to_buffer(frame, &mut out)?;
        assert_eq!(&out, piece);
    }
    Ok(())
}
