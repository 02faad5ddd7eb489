//! Every BTRFS call the program makes. `spec/btrfs-encoded-io.md` lists what the kernel promises and
//! what it does not check; `tests/btrfs` proves each line of it on a real file system.

mod capability;
mod device_errors;
mod encoded_io;
mod policy;
pub(crate) mod subvolume;

pub use capability::{EncodedSupport, SECTOR_SIZE, probe};
pub use device_errors::{DeviceErrors, Risen};
pub use encoded_io::{
    Compression, EncodedExtent, MAX_CONTENT, WriteRequest, encoded_read, encoded_write, encoded_write_pieces,
};
pub use policy::encoded_write_pays;
