//! Disks: which there are, what they hold, and file systems on those that are blank. Nothing is made by guess: a disk
//! that holds anything that is not ours, or is in use, stays as it is.
//!
//! ```text
//! find      disks of sysfs with the names EC2 has for them; which ones a selector means
//! wait      until they are attached            identify   bytes of NVMe Identify
//! content   blank, ours, or something else     mount      mount points
//! prepare   the decision, mkfs.btrfs, mount    twice      one disk under two names
//! ```

pub mod content;
pub mod find;
pub mod identify;
pub mod mount;
pub mod prepare;
pub mod twice;
pub mod wait;

pub use content::{Content, content};
pub use find::{Disk, Roots, Selector, disks};
pub use prepare::{Data, Prepared, Wanted, prepare};
