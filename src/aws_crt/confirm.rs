//! Whether an upload is complete whose end was not answered, or answered only at a repetition: "there is no such upload"
//! then may mean that the first request did what it should. Only the object itself can tell.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crc_fast::{CrcAlgorithm, Digest};

use super::client::Client;
use super::get::{self, Object};
use super::put::base64;
use crate::error::Result;

/// Time between two looks at an object that may still be in the making.
const PAUSE: Duration = Duration::from_secs(1);

/// Bytes that are read back at once.
const PIECE: u64 = 8 << 20;

/// Whether the object consists of these parts (length and CRC32C). If not, it is looked at again until `patience` is over.
pub(super) fn is_complete(
    client: &Arc<Client>,
    name: &str,
    key: &str,
    parts: &[(u64, u32)],
    patience: Duration,
) -> Result<bool> {
    let begun = Instant::now();
    loop {
        if consists_of(client, name, key, parts)? {
            return Ok(true);
        }
        if begun.elapsed() >= patience {
            return Ok(false);
        }
        std::thread::sleep(PAUSE);
    }
}

fn consists_of(client: &Arc<Client>, name: &str, key: &str, parts: &[(u64, u32)]) -> Result<bool> {
    let Some(found) = get::look(client, name, key)? else { return Ok(false) };
    if found.len != parts.iter().map(|(len, _)| len).sum::<u64>() {
        return Ok(false);
    }
    match &found.crc32c {
        // The checksum of the parts' checksums. S3 has it of every upload that came with checksums.
        Some(sum) if sum.contains('-') => Ok(*sum == composite(parts)),
        _ => reads_as(client, &found.object(name, key), parts),
    }
}

/// Reads all of it back.
fn reads_as(client: &Arc<Client>, object: &Arc<Object>, parts: &[(u64, u32)]) -> Result<bool> {
    let mut at = 0;
    for (len, crc) in parts {
        let (mut digest, end) = (Digest::new(CrcAlgorithm::Crc32Iscsi), at + len);
        while at < end {
            let to = end.min(at + PIECE);
            digest.update((*get::read(client, object, at..to)?).as_ref());
            at = to;
        }
        if digest.finalize() as u32 != *crc {
            return Ok(false);
        }
    }
    Ok(true)
}

/// As S3 writes it: the CRC32C of all parts' CRC32C, and the number of parts.
fn composite(parts: &[(u64, u32)]) -> String {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    for (_, crc) in parts {
        digest.update(&crc.to_be_bytes());
    }
    format!("{}-{}", base64(digest.finalize() as u32), parts.len())
}
