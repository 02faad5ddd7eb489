//! When an encoded write is allowed, and when it is worth more than decompressing and writing.

use super::encoded_io::MAX_CONTENT;

/// BTRFS keeps a file in its metadata up to this many stored bytes: the default of mount option `max_inline`.
const MAX_INLINE: u32 = 2048;

/// Whether the frame (`frame_len` bytes, `content_len` decompressed, for `offset` in a file that will have
/// `file_size` bytes) should go to the kernel as it is. `sector` is the file system's sector size, all in bytes.
///
/// False means: decompress and write. Either the kernel would refuse the frame, or it would need as many
/// sectors as the plain bytes and only make every later read slower.
pub fn encoded_write_pays(offset: u64, content_len: u32, frame_len: u32, file_size: u64, sector: u32) -> bool {
    if sector == 0 || content_len > MAX_CONTENT || frame_len == 0 || frame_len >= content_len {
        return false;
    }
    if !offset.is_multiple_of(sector.into()) {
        return false;
    }
    let Some(end) = offset.checked_add(content_len.into()) else {
        return false;
    };
    // An extent may only end inside a sector where the file ends.
    if end > file_size || (end < file_size && !end.is_multiple_of(sector.into())) {
        return false;
    }
    if offset == 0 && end == file_size && content_len <= sector {
        // One sector either way, unless the frame makes it inline; up to MAX_INLINE it is inline by itself.
        return content_len > MAX_INLINE && frame_len <= MAX_INLINE;
    }
    frame_len.div_ceil(sector) < content_len.div_ceil(sector)
}

#[cfg(test)]
mod tests {
    use super::encoded_write_pays;

    const K: u64 = 1024;

    #[test]
    fn encoded_write_pays_table() {
        // (offset, content, frame, file size) -> encode?
        let rows = [
            // Whole file in one sector: only to become inline.
            ((0, 2048, 100, 2048), false),
            ((0, 2049, 2048, 2049), true),
            ((0, 2049, 100, 2049), true),
            ((0, 4096, 2048, 4096), true),
            ((0, 4096, 2049, 4096), false),
            ((0, 1, 1, 1), false),
            // More than one sector: only if it saves one.
            ((0, 4097, 4096, 4097), true),
            ((0, 4097, 1507, 4097), true),
            ((0, 8192, 4096, 8192), true),
            ((0, 8192, 4097, 8192), false),
            ((0, 131_072, 126_976, 131_072), true),
            ((0, 131_072, 126_977, 131_072), false),
            ((0, 131_072, 131_071, 131_072), false),
            // Tails and middles.
            ((128 * K, 500, 100, 128 * K + 500), false),
            ((128 * K, 4096, 100, 132 * K), false),
            ((128 * K, 4097, 100, 132 * K + 1), true),
            ((4 * K, 8192, 100, 1 << 40), true),
            ((0, 4096, 100, 8192), false),
            // What the kernel refuses.
            ((100, 8192, 100, 1 << 20), false),
            ((512, 8192, 100, 1 << 20), false),
            ((0, 131_073, 100, 131_073), false),
            ((0, 8192, 8192, 8192), false),
            ((0, 8192, 9000, 8192), false),
            ((0, 8191, 100, 16384), false),
            ((0, 8193, 100, 16384), false),
            // Nonsense.
            ((0, 8192, 0, 8192), false),
            ((0, 0, 0, 0), false),
            ((0, 8192, 100, 8191), false),
            ((u64::MAX - 4095, 8192, 100, u64::MAX), false),
        ];
        for ((offset, content, frame, size), pays) in rows {
            assert_eq!(
                encoded_write_pays(offset, content, frame, size, 4096),
                pays,
                "offset {offset} content {content} frame {frame} size {size}"
            );
        }
        assert!(!encoded_write_pays(0, 8192, 100, 8192, 0));
        // With larger sectors the same frame may not save one, or not be aligned.
        assert!(!encoded_write_pays(4096, 8192, 100, 12288, 65536));
        assert!(!encoded_write_pays(65536, 8192, 100, 73728, 65536));
    }
}
