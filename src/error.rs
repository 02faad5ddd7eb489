//! The one error type of the program: what went wrong, said to a person, and the exit code it leads to.

use std::fmt;

/// What kind of failure this is. Each kind has one stable exit code (see [`Kind::exit_code`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Anything that has no kind of its own (an I/O error, a broken pipe).
    Failure,
    /// The command line or the configuration asks for something impossible.
    Usage,
    /// The object, bucket, file or directory does not exist.
    NotFound,
    /// Credentials are missing, wrong or not sufficient, or the file system says EACCES/EPERM.
    Denied,
    /// The object is no longer the one this run began to read (If-Match failed).
    ObjectChanged,
    /// The bytes are not a BURST archive, or are damaged.
    Corrupt,
    /// An entry would be placed outside the target, or cannot exist on this file system.
    UnsafeEntry,
    /// The target is full, or over its quota.
    NoSpace,
    /// No progress within the allowed time.
    Deadline,
    /// This kernel, file system or server lacks something that is needed.
    Unsupported,
    /// The service could not be reached, or kept failing after all retries.
    Unavailable,
    /// The target or destination is not empty, exists already, or is used by another run.
    TargetInUse,
    /// The source changed while it was read.
    SourceChanged,
    /// A restore was begun here and is not finished.
    Incomplete,
    /// Stopped by this signal number.
    Interrupted(i32),
}

impl Kind {
    /// The process exit code; the numbers are part of the public interface.
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Failure => 1,
            Kind::Usage => 2,
            Kind::NotFound => 10,
            Kind::Denied => 11,
            Kind::ObjectChanged => 12,
            Kind::Corrupt => 13,
            Kind::UnsafeEntry => 14,
            Kind::NoSpace => 15,
            Kind::Deadline => 16,
            Kind::Unsupported => 17,
            Kind::Unavailable => 18,
            Kind::TargetInUse => 19,
            Kind::SourceChanged => 20,
            Kind::Incomplete => 21,
            Kind::Interrupted(signal) => 128 + signal as u8,
        }
    }
}

impl Kind {
    /// A word for programs; part of the public interface like the exit code.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Failure => "failure",
            Kind::Usage => "usage",
            Kind::NotFound => "not-found",
            Kind::Denied => "denied",
            Kind::ObjectChanged => "object-changed",
            Kind::Corrupt => "corrupt",
            Kind::UnsafeEntry => "unsafe-entry",
            Kind::NoSpace => "no-space",
            Kind::Deadline => "deadline",
            Kind::Unsupported => "unsupported",
            Kind::Unavailable => "unavailable",
            Kind::TargetInUse => "target-in-use",
            Kind::SourceChanged => "source-changed",
            Kind::Incomplete => "incomplete",
            Kind::Interrupted(_) => "interrupted",
        }
    }

    /// What to try, where that is the same for most failures of a kind.
    fn hint(self) -> Option<&'static str> {
        match self {
            Kind::Failure | Kind::Unsupported | Kind::TargetInUse => None,
            Kind::Usage => Some("see the command's --help"),
            Kind::NotFound => Some("check the spelling, the region and the version of the object"),
            Kind::Denied => {
                Some("check s3:GetObject (and kms:Decrypt) of the role in use, and whether this must run as root")
            }
            Kind::ObjectChanged => {
                Some("run it again, a restore into a directory with --restart; ?versionId= names a version that stays")
            }
            Kind::Corrupt => Some("`burst verify` checks all of the archive; restore another version or make it anew"),
            Kind::UnsafeEntry => Some("do not trust the archive; ask who made it"),
            Kind::NoSpace => Some("make room and run the same command again: a restore continues"),
            Kind::Deadline => {
                Some("run the same command again: a restore continues; allow more time if it goes on slowly")
            }
            Kind::Unavailable => {
                Some("check network, endpoint and region, then run the same command again: a restore continues")
            }
            Kind::SourceChanged => Some("archive a still copy, or accept it with --allow-changed"),
            Kind::Incomplete => Some("run the restore again: it continues"),
            Kind::Interrupted(_) => Some("run the same command again: a restore continues"),
        }
    }
}

/// An error with its kind. The message says what, where and, where that is known, what to do.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    hint: Option<&'static str>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// With [`Error`] unless another error is named.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// The message is a sentence for a person, without a final full stop.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Error { kind, message: message.into(), hint: kind.hint(), source: None }
    }

    /// Keeps what it was caused by, for [`std::error::Error::source`].
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Puts where it happened in front: "context: message".
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.message = format!("{context}: {}", self.message);
        self
    }

    /// Says what to try, instead of what holds for most errors of this kind.
    pub fn with_hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }

    /// What to try.
    pub fn hint(&self) -> Option<&'static str> {
        self.hint
    }

    /// What to decide by; the message is for people.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// An I/O error met while doing `what` (for example "open /mnt/data/a").
    pub fn io(what: impl fmt::Display, error: std::io::Error) -> Self {
        let kind = kind_of_io(&error);
        let failed = Error::new(kind, format!("{what}: {error}")).with_source(error);
        // What holds for most errors of these kinds is about S3.
        match kind {
            Kind::NotFound => {
                failed.with_hint("check the spelling of the path, and whether its file system is mounted")
            }
            Kind::Denied => failed.with_hint("check the modes of the path, and whether this must run as root"),
            _ => failed,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|e| e as &(dyn std::error::Error + 'static))
    }
}

/// The kind an errno stands for, wherever it comes from.
fn kind_of_io(error: &std::io::Error) -> Kind {
    use std::io::ErrorKind as E;
    match error.kind() {
        E::NotFound => Kind::NotFound,
        E::PermissionDenied => Kind::Denied,
        E::StorageFull | E::QuotaExceeded => Kind::NoSpace,
        E::Unsupported => Kind::Unsupported,
        _ => Kind::Failure,
    }
}

impl From<crate::format::Error> for Error {
    fn from(error: crate::format::Error) -> Self {
        use crate::format::Reason;
        let kind = match error.reason {
            Reason::Corrupt => Kind::Corrupt,
            Reason::Unsupported => Kind::Unsupported,
            Reason::UnsafeEntry => Kind::UnsafeEntry,
        };
        Error::new(kind, error.to_string()).with_source(error)
    }
}
