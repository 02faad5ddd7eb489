//! Lists the entries of an archive that is in memory, with nothing but the format reader: `list ARCHIVE`.

use std::error::Error;
use std::io::{Write, stdout};

use burst::format::archive_index::{Opening, open};
use burst::format::directory_reader::{DirectoryReader, DirectoryStep};

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).ok_or("usage: list ARCHIVE")?;
    let archive = std::fs::read(path)?;
    // Given all of it, there is nothing that it could still need.
    let Opening::Ready(index) = open(archive.len() as u64, &[(0, &archive)])? else {
        return Err("the archive ends too early".into());
    };
    println!("{} parts of 8 MiB, archive {:02x?}", index.map.len(), index.trailer.archive_id);

    let range = index.directory_range();
    let mut directory = &archive[range.start as usize..range.end as usize];
    for (n, mib) in directory.chunks(1 << 20).enumerate() {
        index.check_directory_piece(n as u64, mib)?;
    }
    let mut reader = DirectoryReader::new(&index.trailer);
    let mut out = stdout().lock();
    loop {
        let entry = match reader.next(&mut directory)? {
            DirectoryStep::Entry(placed) => placed.entry,
            DirectoryStep::NeedMore(_) => return Err("the directory ends too early".into()),
            DirectoryStep::End => return Ok(()),
        };
        let (mode, size) = (entry.entry_type.mode_bits() | entry.attributes.permissions, entry.uncompressed_size);
        write!(out, "{mode:06o} {size:>12} ")?;
        // Names are bytes.
        out.write_all(&entry.path)?;
        writeln!(out)?;
    }
}
