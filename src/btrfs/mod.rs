//! Every BTRFS call the program makes. `spec/btrfs-encoded-io.md` lists what the kernel promises and
//! what it does not check; `tests/btrfs` proves each line of it on a real file system.

mod capability;
mod device_errors;
mod device_reader;
mod encoded_io;
mod inode_items;
mod policy;
pub(crate) mod subvolume;
mod tree_search;

pub use capability::{EncodedSupport, SECTOR_SIZE, probe};
pub use device_errors::{DeviceErrors, Risen};
pub use device_reader::{DeviceFiles, DeviceReader};
pub use encoded_io::{
    Compression, EncodedExtent, MAX_CONTENT, WriteRequest, encoded_read, encoded_write, encoded_write_pieces,
};
pub use inode_items::{InodeItem, InodeItems, Place, SmallFile};
pub use policy::encoded_write_pays;
