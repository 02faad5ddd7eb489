//! Random single-bit flips in an archive of several parts: every one is found before a restore could be complete.
//!
//! BURST_SEED chooses others; BURST_FULL=1 makes 200,000 instead of 10,000.

#[allow(dead_code)]
#[path = "../format/build.rs"]
mod build;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use burst::error::{Kind, Result};
use burst::observe::Events;
use burst::restore::{Archive, PipelineOptions, StopFlag, verify};
use burst::store::{ArchiveSource, Bytes, Deliver};

use build::{Builder, Random};

/// An archive in memory with one wrong bit.
struct Flipped {
    bytes: Arc<[u8]>,
    at: u64,
    bit: u8,
    tail: Vec<u8>,
}

/// Enough for the end records only, so that map and directory are fetched as from a real source.
const TAIL: u64 = 4096;

impl Flipped {
    fn new(bytes: &Arc<[u8]>, at: u64, bit: u8) -> Self {
        let mut flipped = Flipped { bytes: bytes.clone(), at, bit, tail: Vec::new() };
        let length = bytes.len() as u64;
        flipped.tail = flipped.get(length.saturating_sub(TAIL)..length);
        flipped
    }

    fn get(&self, range: Range<u64>) -> Vec<u8> {
        let mut bytes = self.bytes[range.start as usize..range.end as usize].to_vec();
        if range.contains(&self.at) {
            bytes[(self.at - range.start) as usize] ^= 1 << self.bit;
        }
        bytes
    }
}

/// Right bytes, which need no copy.
struct Shared(Arc<[u8]>, Range<usize>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0[self.1.clone()]
    }
}

impl ArchiveSource for Flipped {
    fn name(&self) -> &str {
        "memory"
    }

    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn version(&self) -> &str {
        "1"
    }

    fn tail(&self) -> &[u8] {
        &self.tail
    }

    fn start(&self, range: Range<u64>, deliver: Deliver) {
        deliver(self.read(range));
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes> {
        assert!(range.end <= self.len(), "a read outside of the archive: {range:?}");
        Ok(match range.contains(&self.at) {
            true => Box::new(self.get(range)),
            false => Box::new(Shared(self.bytes.clone(), range.start as usize..range.end as usize)),
        })
    }
}

/// What a restore does but for the writing: the same pipeline, the same checks.
fn check(bytes: &Arc<[u8]>, at: u64, bit: u8) -> Result<()> {
    let archive = Archive::open(Box::new(Flipped::new(bytes, at, bit)))?;
    let options = PipelineOptions { workers: 1, ..PipelineOptions::default() };
    verify(&archive, false, &options, &Events::unheard(), &StopFlag::new(0)).map(drop)
}

#[test]
fn every_random_flip_is_found() {
    let seed: u64 = std::env::var("BURST_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    let flips = if std::env::var_os("BURST_FULL").is_some() { 200_000 } else { 10_000 };
    println!("{flips} flips, seed {seed} (BURST_SEED)");
    let mut builder = Builder::new(seed);
    builder.directory("d");
    for n in 0..12 {
        builder.framed(&format!("d/{n}"), 1 + n % 7, n % 9 == 0);
        builder.noise(&format!("d/s{n}"), 1000 * n);
    }
    builder.noise("over the grid", 7 << 20);
    builder.overflowing("attributes");
    builder.linked("linked", &["second"]);
    let bytes: Arc<[u8]> = builder.finish().bytes.into();
    let length = bytes.len() as u64;
    // A flip in no byte.
    check(&bytes, u64::MAX, 0).unwrap();
    let archive = Archive::open(Box::new(Flipped::new(&bytes, u64::MAX, 0))).unwrap();
    let (data_end, parts) = (archive.index.trailer.data_end, archive.index.trailer.parts);
    println!("{length} bytes, {parts} parts, {data_end} bytes of data");
    assert!(parts >= 2);

    let (next, threads) = (AtomicUsize::new(0), std::thread::available_parallelism().unwrap().get());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= flips {
                        return;
                    }
                    let mut random = Random::new(seed ^ (n as u64) << 20);
                    random.next();
                    // Most of them where the numbers are: each of the others takes the checksum of a whole part.
                    let at = match n % 4 {
                        0 => random.below(length),
                        _ => data_end + random.below(length - data_end),
                    };
                    let bit = random.below(8) as u8;
                    match check(&bytes, at, bit) {
                        Ok(()) => panic!("bit {bit} of byte {at} went unseen (flip {n}, seed {seed})"),
                        Err(e) => assert!(
                            matches!(e.kind(), Kind::Corrupt | Kind::UnsafeEntry | Kind::Unsupported),
                            "bit {bit} of byte {at}: {e}"
                        ),
                    }
                }
            });
        }
    });
    println!("all {flips} found");
}
