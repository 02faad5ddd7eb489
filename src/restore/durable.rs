//! Making what was written durable, and finding out whether it is.
//!
//! Always by syncfs, which commits a transaction of BTRFS, never by fsync of one file: that writes a log tree, to be replayed
//! by the next mount, and after a write that failed Linux 6.18 often cannot ("File exists") and mounts nothing at all.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::btrfs::DeviceErrors;
use crate::error::{Error, Kind, Result};
use crate::linux::syncfs;

/// The file system of a target.
pub struct Durable {
    /// Any file or directory of it.
    anchor: OwnedFd,
    /// For messages.
    target: PathBuf,
    /// What its devices had counted when the run began; None if that cannot be asked: it is no BTRFS.
    before: Option<DeviceErrors>,
    /// An error was met. The kernel tells it once, so whoever asks again would hear that all is well.
    broken: Mutex<bool>,
}

impl Durable {
    /// To be called before anything is written that [`sync`](Self::sync) is to answer for.
    pub fn new(anchor: BorrowedFd<'_>, target: &Path) -> Result<Durable> {
        let anchor =
            anchor.try_clone_to_owned().map_err(|e| Error::io(format!("open the target {}", target.display()), e))?;
        let before = DeviceErrors::read(anchor.as_fd()).ok();
        Ok(Durable { anchor, target: target.to_owned(), before, broken: Mutex::new(false) })
    }

    /// Whether errors of the devices will be seen. Where they are not, encoded writes must not be used.
    pub fn sees_device_errors(&self) -> bool {
        self.before.is_some()
    }

    /// Waits until everything that was written before this call is on the disk. After an error every further call fails.
    pub fn sync(&self) -> Result<()> {
        let mut broken = self.broken.lock().unwrap_or_else(|e| e.into_inner());
        if *broken {
            let shown = self.target.display();
            let message = format!(
                "{shown}: an earlier write to the disk failed (see the first error), so nothing that follows counts"
            );
            return Err(Error::new(Kind::Failure, message));
        }
        let result = self.sync_and_look();
        *broken = result.is_err();
        result
    }

    fn sync_and_look(&self) -> Result<()> {
        let shown = self.target.display();
        // What went wrong with plain writes and with metadata since the last call.
        let synced = syncfs(self.anchor.as_fd());
        // What went wrong with encoded writes. Also the better message for the others.
        if let Some(before) = &self.before {
            let now = DeviceErrors::read(self.anchor.as_fd())
                .map_err(|e| Error::io(format!("ask for the errors of the devices of {shown}"), e))?;
            if let Some(risen) = now.risen_since(before, self.anchor.as_fd()) {
                let message = format!(
                    "the disk of {shown} failed while it was written ({risen}): the tree is not complete; check or \
                     replace the disk (`btrfs device stats`, the kernel's messages), then run the same command again"
                );
                return Err(Error::new(Kind::Failure, message));
            }
        }
        synced.map_err(|e| Error::io(format!("write to disk {shown}"), e))
    }
}
