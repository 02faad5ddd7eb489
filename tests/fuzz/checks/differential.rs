//! Other readers of ZIP files must see what ours sees, in archives that both accept.

use std::io::{Cursor, Read};

use burst::format::EntryType;
use burst::format::checksum::crc32;

use super::{read, reseal, seven_zip};

pub fn differential(bytes: &[u8]) {
    let mut sealed = bytes.to_vec();
    reseal::reseal(&mut sealed);
    let Ok(ours) = read::read(&sealed, true) else { return };
    let Ok(mut theirs) = zip::ZipArchive::new(Cursor::new(&sealed)) else { return };
    assert_eq!(theirs.len(), ours.len(), "number of entries");
    for (n, (placed, content)) in ours.iter().enumerate() {
        let entry = &placed.entry;
        let Ok(mut file) = theirs.by_index(n) else { continue };
        let mut path = entry.path.clone();
        if entry.entry_type == EntryType::Directory {
            path.push(b'/');
        }
        assert_eq!(file.name_raw(), path, "name of entry {n}");
        assert_eq!(file.size(), entry.uncompressed_size, "size of entry {n}");
        assert_eq!(file.crc32(), entry.crc32);
        let mut data = Vec::new();
        // A CRC-32 that is wrong is an error there, and for `burst verify --content`.
        let read = file.by_ref().take(content.len() as u64 + 1).read_to_end(&mut data);
        match read {
            Ok(_) => assert!(data == *content, "content of entry {n}"),
            Err(_) => assert_ne!(crc32(content), entry.crc32, "refused there although it is right: entry {n}"),
        }
    }
    seven_zip::compare_now_and_then(&sealed, &ours);
}
