//! Every BTRFS call the program makes. `spec/btrfs-encoded-io.md` lists what the kernel promises and
//! what it does not check; `tests/btrfs` proves each line of it on a real file system.

pub mod capability;
pub mod device_errors;
pub mod encoded_io;
pub mod policy;
pub mod subvolume;

pub use capability::{EncodedSupport, probe};
pub use device_errors::DeviceErrors;
pub use encoded_io::{Compression, EncodedExtent, encoded_read, encoded_write};
pub use policy::encoded_write_pays;
