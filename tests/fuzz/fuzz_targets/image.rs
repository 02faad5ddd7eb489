//! Most changes of any byte of an archive are refused by its format. What must be found here are those that the format
//! allows and a file system does not, so most changes are made to what an entry says, and fit in with the rest.

#![no_main]

#[path = "../checks/mod.rs"]
#[allow(dead_code, unused_imports)]
mod checks;

use checks::reseal::headers;
use libfuzzer_sys::{Corpus, fuzz_mutator, fuzz_target, fuzzer_mutate};

// What is refused is no base for further changes: almost all of those would be refused, too.
fuzz_target!(|bytes: &[u8]| -> Corpus { if checks::image(bytes) { Corpus::Keep } else { Corpus::Reject } });

fuzz_mutator!(|bytes: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut state = u64::from(seed) | 1 << 40;
    let mut below = |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n.max(1)
    };
    let all = headers(&bytes[..size]);
    if all.is_empty() || below(8) == 0 {
        return fuzzer_mutate(bytes, size, max_size);
    }
    for _ in 0..1 + below(3) {
        let (one, other) = (&all[below(all.len())], &all[below(all.len())]);
        let of_same_length = |a: &std::ops::Range<usize>, b: &std::ops::Range<usize>| a.len() == b.len();
        match below(10) {
            0 | 1 if !one.name.is_empty() => {
                let with = [b'/', 0, b'.', b'a', b'b', below(256) as u8][below(6)];
                bytes[one.name.start + below(one.name.len())] = with;
            }
            // Names that come twice, and directories of others. A directory stays one: its name ends with "/".
            2 | 3 => {
                let length = one.name.len().min(other.name.len()).saturating_sub(1);
                bytes.copy_within(other.name.start..other.name.start + length, one.name.start);
            }
            // The upper half of the external attributes: type and permissions.
            4 => {
                let types = [0o04, 0o10, 0o12, 0o02, 0o06, 0o01, 0o14, below(16) as u8];
                bytes[one.at + 41] = types[below(8)] << 4 | below(16) as u8;
                bytes[one.at + 38] = if bytes[one.at + 41] >> 4 == 0o04 { 0x10 } else { 0 };
            }
            // Owner, time, links, device, attributes.
            5 | 6 if !one.extra.is_empty() => {
                // Of the last field, most often: what comes before its attributes is in other fields, too.
                let burst = bytes[one.extra.clone()].windows(4).position(|w| w == b"BRST").map_or(0, |at| at + 16);
                let from = if burst < one.extra.len() && below(4) > 0 { burst } else { 0 };
                let at = one.extra.start + from + below(one.extra.len() - from);
                bytes[at] = [0, 1, 2, 0x7F, 0x80, 0xFF, bytes[at] ^ 1 << below(8), below(256) as u8][below(8)];
            }
            7 if of_same_length(&one.extra, &other.extra) => bytes.copy_within(other.extra.clone(), one.extra.start),
            // Sizes: CRC-32, compressed, uncompressed.
            8 => {
                let at = one.at + 16 + below(12);
                bytes[at] = bytes[at].wrapping_add([1, 0xFF, 0x10, below(256) as u8][below(4)]);
            }
            // Frames, stored data, link texts, map, trailer.
            _ => {
                let at = below(all[0].at);
                bytes[at] = [bytes[at] ^ 1 << below(8), below(256) as u8][below(2)];
            }
        }
    }
    size
});
