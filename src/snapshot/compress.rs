//! Content in, pieces out: zstd frames as the format and BTRFS want them.

use std::io::Read;
use std::time::Duration;

use nix::errno::Errno;
use nix::time::ClockId;
use zstd::zstd_safe::{CCtx, CParameter, compress_bound, get_error_name};

use crate::error::{Error, Kind, Result};
use crate::format::archive_writer::Piece;
use crate::format::limits::FRAME_CONTENT_MAX;

/// Window log of the largest window BTRFS takes (128 KiB; spec `#frames`).
const WINDOW_LOG: u32 = 17;

/// The level that zstd takes for 0, and the default here.
const DEFAULT_LEVEL: i32 = 3;

/// zstd has 5 for pieces of 16 to 128 KiB at this level; 4 makes the frames of /usr 0.6 % smaller (spec/discussion.md,
/// section 3).
const SHORTEST_MATCH: u32 = 4;

/// Compresses pieces; one per thread.
pub struct Compressor {
    context: CCtx<'static>,
    frame: Vec<u8>,
}

impl Compressor {
    /// `level`: -15 to 15; 0 is zstd's own default.
    pub fn new(level: i32) -> Result<Compressor> {
        let frame = Vec::with_capacity(compress_bound(FRAME_CONTENT_MAX as usize));
        Ok(Compressor { context: context(level)?, frame })
    }

    /// One piece of 1 to 131,072 bytes: a frame if that is smaller. The result depends on `content` and level only.
    pub fn piece(&mut self, content: &[u8]) -> Result<Piece> {
        self.frame.clear();
        self.context.compress2(&mut self.frame, content).map_err(failed)?;
        if self.frame.len() >= content.len() {
            return Ok(Piece::Raw(content.to_vec()));
        }
        Ok(Piece::Frame { bytes: self.frame.clone(), content_length: content.len() as u32 })
    }
}

/// Content per second of one CPU at a level, and content to archive, measured with a megabyte of machine code: this
/// program's own, as a system is full of.
pub fn measure_level(level: i32) -> Result<(f64, f64)> {
    const SAMPLE: u64 = 1 << 20;
    let failed = |e| Error::io("read /proc/self/exe to measure how fast this machine compresses", e);
    let mut sample = Vec::new();
    let program = std::fs::File::open("/proc/self/exe").map_err(failed)?;
    program.take(SAMPLE).read_to_end(&mut sample).map_err(failed)?;
    let mut compressor = Compressor::new(level)?;
    let mut compressed = 0;
    // Time on a CPU, whatever else runs here now. Not schedstat, which a thread that runs finds as of the last tick.
    let on_cpu = || ClockId::CLOCK_THREAD_CPUTIME_ID.now().map(Duration::from);
    let no_clock = |e: Errno| Error::io("read the clock of this thread", e.into());
    let before = on_cpu().map_err(no_clock)?;
    for content in sample.chunks(FRAME_CONTENT_MAX as usize) {
        compressed += match compressor.piece(content)? {
            Piece::Frame { bytes, .. } | Piece::Raw(bytes) => bytes.len(),
            Piece::Hole(_) => 0,
        };
    }
    let time = (on_cpu().map_err(no_clock)? - before).as_secs_f64().max(1e-6);
    let content = sample.len() as f64;
    Ok((content / time, content / (compressed as f64).max(1.0)))
}

fn context(level: i32) -> Result<CCtx<'static>> {
    let mut context = CCtx::create();
    for parameter in [
        CParameter::CompressionLevel(level),
        CParameter::WindowLog(WINDOW_LOG),
        CParameter::ContentSizeFlag(true),
        CParameter::ChecksumFlag(false),
        CParameter::DictIdFlag(false),
    ] {
        context.set_parameter(parameter).map_err(failed)?;
    }
    if matches!(level, 0 | DEFAULT_LEVEL) {
        context.set_parameter(CParameter::MinMatch(SHORTEST_MATCH)).map_err(failed)?;
    }
    Ok(context)
}

fn failed(code: usize) -> Error {
    Error::new(Kind::Failure, format!("zstd cannot compress: {}", get_error_name(code)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::step::Step;
    use crate::format::zstd_frame::parse;

    /// Text-like bytes that give the match finders work; `seed` picks them.
    fn sample(seed: u64, length: usize) -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let words: Vec<Vec<u8>> =
            (0..400).map(|_| (0..next() % 9 + 1).map(|_| (next() % 64 + 32) as u8).collect()).collect();
        let mut bytes = Vec::new();
        while bytes.len() < length {
            bytes.extend_from_slice(&words[(next() % 400).min(next() % 400) as usize]);
        }
        bytes.truncate(length);
        bytes
    }

    #[test]
    fn a_used_compressor_gives_the_same_bytes_as_a_new_one() {
        for level in -15..=15 {
            let mut used = Compressor::new(level).unwrap();
            for seed in 0..24 {
                let content = sample(seed, [131_072, 5, 4096, 70_000, 131_072][seed as usize % 5]);
                let new = Compressor::new(level).unwrap().piece(&content).unwrap();
                assert_eq!(used.piece(&content).unwrap(), new, "level {level}, piece {seed}");
            }
        }
    }

    #[test]
    fn frames_keep_the_format_s_rules_at_every_level() {
        for level in [-15, -7, -1, 0, 1, 3, 5, 9, 12, 15] {
            let mut compressor = Compressor::new(level).unwrap();
            for length in [1, 2, 100, 4095, 4096, 65_536, 131_071, 131_072] {
                for content in [sample(3, length), vec![0; length], vec![b'x'; length]] {
                    match compressor.piece(&content).unwrap() {
                        Piece::Frame { bytes, content_length } => {
                            assert!(bytes.len() < content.len());
                            assert_eq!(content_length as usize, content.len());
                            let Step::Ready(info) = parse(&bytes).unwrap() else { panic!("cut frame") };
                            assert_eq!((info.length, info.content_size as usize), (bytes.len(), length));
                            assert_eq!(zstd::bulk::decompress(&bytes, length).unwrap(), content);
                        }
                        Piece::Raw(raw) => assert_eq!(raw, content),
                        Piece::Hole(_) => panic!("a compressor makes no holes"),
                    }
                }
            }
        }
    }
}
