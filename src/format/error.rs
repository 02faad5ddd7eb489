//! What the format layer refuses, and where.

use std::fmt;

/// Why an archive, or an entry for a new archive, is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Not a BURST archive, damaged, or made wrongly.
    Corrupt,
    /// A version, required feature or critical attribute this program does not know; for a new archive, what the format
    /// cannot hold.
    Unsupported,
    /// A name or type that must not be put into a file system.
    UnsafeEntry,
}

/// A refusal: what was found, what was expected, in which entry and at which archive offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// What to decide by.
    pub reason: Reason,
    /// What was found and what was expected, for a person.
    pub message: String,
    /// Offset in the archive, in bytes.
    pub offset: Option<u64>,
    /// Name of the entry, as bytes.
    pub entry: Option<Vec<u8>>,
}

/// With the error of this layer unless another is named.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Without a place; see [`at`](Self::at) and [`in_entry`](Self::in_entry).
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Error { reason, message: message.into(), offset: None, entry: None }
    }

    /// [`Reason::Corrupt`]
    pub fn corrupt(message: impl Into<String>) -> Self {
        Error::new(Reason::Corrupt, message)
    }

    /// Says where in the archive, unless a more precise place is known already.
    pub fn at(mut self, offset: u64) -> Self {
        self.offset.get_or_insert(offset);
        self
    }

    /// Says in which entry, unless known already.
    pub fn in_entry(mut self, name: &[u8]) -> Self {
        self.entry.get_or_insert_with(|| name.to_vec());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.entry {
            write!(f, "entry \"{}\": ", name.escape_ascii())?;
        }
        f.write_str(&self.message)?;
        match self.offset {
            Some(offset) => write!(f, " (at byte {offset} of the archive)"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}
