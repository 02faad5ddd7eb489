//! Standard output as a sink. Standard input is read with [`std::io::stdin`]: it has no ranges.

use std::io::{Stdout, Write, stdout};

use super::ArchiveSink;
use crate::error::{Error, Kind, Result};

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
