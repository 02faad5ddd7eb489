//! The answer of a parser that may be given only the beginning of what it parses.

/// What came of parsing a slice that may end too early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<T> {
    /// The slice is too short to say more: call again with at least this many bytes, from the same first byte.
    NeedMore(usize),
    /// The slice was long enough.
    Ready(T),
}
