//! The archive format of `spec/format.md` as pure code: bytes in, values out. No files, sockets, clocks, threads
//! or unsafe code, so that every part can be fuzzed and tested without S3, BTRFS or root.

pub mod archive_index;
pub mod archive_writer;
pub mod attributes;
pub(crate) mod bytes;
pub mod checksum;
pub mod directory_reader;
pub mod entry;
pub mod error;
pub mod hard_links;
mod header_rules;
pub mod limits;
pub mod namespace;
pub mod part_map;
pub mod part_reader;
pub mod skippable_frame;
pub mod step;
pub mod stream_reader;
pub mod trailer;
pub mod zip;
pub mod zstd_frame;

pub use entry::{Attributes, Entry, EntryType, Method, Overflow, Timestamp, Xattr};
pub use error::{Error, Reason, Result};
pub use step::Step;
