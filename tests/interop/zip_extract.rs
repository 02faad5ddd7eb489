//! Reads every entry of a ZIP file with the `zip` crate, for the interoperability tests.
//!
//! `zip_extract ARCHIVE [DIR]`: one line per entry on standard output: number, mode (octal), size, name (hex). The
//! crate checks each CRC-32. With DIR the content of entry N goes to the file DIR/N, so that no name of the archive
//! can lead anywhere.

use std::error::Error;
use std::fs::File;
use std::io::{BufReader, BufWriter, Write, copy, sink};
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let archive = arguments.next().ok_or("usage: zip_extract ARCHIVE [DIR]")?;
    let directory = arguments.next();
    let mut zip = zip::ZipArchive::new(BufReader::with_capacity(1 << 20, File::open(archive)?))?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    for number in 0..zip.len() {
        let mut entry = zip.by_index(number)?;
        let name: String = entry.name_raw().iter().map(|byte| format!("{byte:02x}")).collect();
        let told = |error: &dyn Error| format!("entry {number}, name {name}: {error}");
        let size = match &directory {
            Some(directory) => copy(&mut entry, &mut File::create(directory.join(number.to_string()))?),
            None => copy(&mut entry, &mut sink()),
        }
        .map_err(|error| told(&error))?;
        if size != entry.size() {
            return Err(format!("entry {number}: {size} bytes, not {}", entry.size()).into());
        }
        writeln!(out, "{number} {:o} {size} {name}", entry.unix_mode().unwrap_or(0))?;
    }
    out.flush()?;
    Ok(())
}
