//! Of any archive: no file system, or one that `btrfs check` has nothing against.

use std::ops::Range;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use burst::error::{Kind, Result};
use burst::observe::Events;
use burst::restore::{Archive, Destination, ImageOptions, PipelineOptions, StopFlag, image as make};
use burst::store::{ArchiveSource, Bytes, Deliver};

use super::{read, reseal};

/// The smallest there is.
const SIZE: u64 = 64 << 20;

/// How many there were: a fuzzer that only sees refusals is worth nothing.
static CLEAN: AtomicU64 = AtomicU64::new(0);

struct Memory(Vec<u8>);

impl ArchiveSource for Memory {
    fn name(&self) -> &str {
        "memory"
    }

    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn version(&self) -> &str {
        "1"
    }

    fn tail(&self) -> &[u8] {
        &self.0
    }

    fn start(&self, range: Range<u64>, deliver: Deliver) {
        deliver(self.read(range));
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes> {
        Ok(Box::new(self.0[range.start as usize..range.end as usize].to_vec()))
    }
}

/// Whether there was one.
pub fn image(bytes: &[u8]) -> bool {
    let mut archive = bytes.to_vec();
    reseal::agree(&mut archive);
    reseal::reseal(&mut archive);
    // Beside a device's speed, the flushes of a run would be most of the time.
    let memory = std::path::Path::new("/dev/shm");
    let place = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    let file = place.path().join("image");
    let pipeline = PipelineOptions { workers: 1, in_flight: 2, most_in_flight: 2, ..PipelineOptions::default() };
    let options = ImageOptions { pipeline, ..ImageOptions::default() };
    let made = Archive::open(Box::new(Memory(archive.clone()))).and_then(|archive| {
        make(&archive, Destination::Files(&[(file.clone(), SIZE)]), &options, &Events::unheard(), &StopFlag::new(0))
    });
    match &made {
        Err(e) => {
            let kinds = [Kind::Corrupt, Kind::UnsafeEntry, Kind::Unsupported, Kind::NoSpace];
            assert!(kinds.contains(&e.kind()), "{:?}: {e}", e.kind());
            assert!(!file.exists(), "an image is left: {e}");
        }
        Ok(_) => {
            assert!(read::read(&archive, false).is_ok(), "an image of what is no archive");
            let mut check = Command::new("btrfs");
            check.args(["check", "--readonly", "--check-data-csum"]).arg(&file);
            let output = check.output().expect("btrfs cannot be run (tests/setup installs it)");
            let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
            let clean = output.status.success() && text.contains("no error found");
            let silent = !["ERROR", "WARNING", "mismatch", "errors "].iter().any(|word| text.contains(word));
            assert!(clean && silent, "{text}");
            let count = CLEAN.fetch_add(1, Ordering::Relaxed) + 1;
            if count.is_multiple_of(100) {
                eprintln!("{count} images are clean");
            }
        }
    }
    made.is_ok()
}
