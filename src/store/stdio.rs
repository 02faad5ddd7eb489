//! Standard output as a sink, standard input as a stream: it has no ranges.

use std::fs::File;
use std::io::{self, Read, Stdout, Write, stdout};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::ArchiveSink;
use crate::error::{Error, Kind, Result};

/// How long a read waits for something to come, in milliseconds.
const TICK: u8 = 200;

/// Reads standard input. When nothing comes for a moment, a read ends with [`io::ErrorKind::Interrupted`], so that who
/// repeats it can look whether to stop.
pub struct StdinSource {
    /// Without the buffer of [`std::io::stdin`], of which poll(2) knows nothing.
    file: File,
}

impl StdinSource {
    /// Reads of it and of [`std::io::stdin`] take turns; what the latter holds in its buffer is lost.
    pub fn open() -> Result<StdinSource> {
        let fd = io::stdin().as_fd().try_clone_to_owned().map_err(|e| Error::io("open standard input", e))?;
        Ok(StdinSource { file: fd.into() })
    }
}

impl Read for StdinSource {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // Files, and what is closed or broken, are always ready.
        match poll(&mut [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)], PollTimeout::from(TICK))? {
            0 => Err(io::ErrorKind::Interrupted.into()),
            _ => self.file.read(buffer),
        }
    }
}

/// Writes the archive to standard output as it is made. There is nothing to take back on failure:
/// the reader sees a stream that ends early, which the format detects.
pub struct StdoutSink {
    out: Stdout,
}

impl StdoutSink {
    pub fn create() -> Result<StdoutSink> {
        use std::io::IsTerminal;
        if stdout().is_terminal() {
            let message = "standard output is a terminal: redirect the archive to a file or a pipe";
            return Err(Error::new(Kind::Usage, message));
        }
        Ok(StdoutSink { out: stdout() })
    }
}

impl ArchiveSink for StdoutSink {
    fn name(&self) -> &str {
        "standard output"
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(|e| Error::io("write to standard output", e))
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.out.flush().map_err(|e| Error::io("write to standard output", e))
    }
}
