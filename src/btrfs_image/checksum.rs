//! CRC-32C as BTRFS uses it: of nodes and sectors (with the usual final inversion) and of names (without).

use crc_fast::{CrcAlgorithm, Digest, checksum};

use super::constants::SECTOR;

/// `btrfs_csum_data` for `BTRFS_CSUM_TYPE_CRC32` (fs/btrfs/fs.c).
pub fn crc32c(bytes: &[u8]) -> u32 {
    checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

/// Appends the checksum of each sector.
pub fn sectors(bytes: &[u8], out: &mut Vec<u32>) {
    out.extend(bytes.chunks(SECTOR as usize).map(crc32c));
}

/// `crc32c(seed, name)` of the kernel, which inverts neither before nor after.
fn raw(seed: u32, name: &[u8]) -> u64 {
    let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc32Iscsi, seed.into());
    digest.update(name);
    u64::from(!(digest.finalize() as u32))
}

/// `btrfs_name_hash` (fs/btrfs/dir-item.h): the offset of a DIR_ITEM or XATTR_ITEM key.
pub fn name_hash(name: &[u8]) -> u64 {
    raw(!1, name)
}

/// `btrfs_extref_hash` (fs/btrfs/inode-item.h): the offset of an INODE_EXTREF key.
pub fn extref_hash(parent: u64, name: &[u8]) -> u64 {
    raw(parent as u32, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bit by bit, from the definition.
    fn slow(mut crc: u32, bytes: &[u8]) -> u32 {
        for &b in bytes {
            crc ^= u32::from(b);
            for _ in 0..8 {
                crc = if crc & 1 == 1 { crc >> 1 ^ 0x82F6_3B78 } else { crc >> 1 };
            }
        }
        crc
    }

    #[test]
    fn against_the_definition() {
        // What `btrfs inspect-internal dump-tree` shows for "default" on every file system.
        assert_eq!(name_hash(b"default"), 2_378_154_706);
        for length in [1, 3, 8, 15, 16, 17, 100, 255] {
            let name: Vec<u8> = (0..length).map(|i| (i * 37 + length) as u8).collect();
            assert_eq!(name_hash(&name), u64::from(slow(!1, &name)));
            assert_eq!(extref_hash(0x1_2345_6789, &name), u64::from(slow(0x2345_6789, &name)));
            assert_eq!(crc32c(&name), !slow(!0, &name));
        }
        let mut sums = Vec::new();
        sectors(&[7; 8192], &mut sums);
        assert_eq!(sums, [crc32c(&[7; 4096]); 2]);
    }
}
