//! Little-endian fields out of a slice, with an error instead of a panic when it is too short.

use super::error::{Error, Result};

/// Reads fixed-width fields one after the other.
#[derive(Clone)]
pub struct Fields<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Fields<'a> {
    /// `what` names the structure in the error message.
    pub fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Fields { rest: bytes, what }
    }

    pub fn bytes(&mut self, n: usize) -> Result<&'a [u8]> {
        match self.rest.split_at_checked(n) {
            Some((head, tail)) => {
                self.rest = tail;
                Ok(head)
            }
            None => {
                Err(Error::corrupt(format!("{} is cut short: {n} bytes expected, {} left", self.what, self.rest.len())))
            }
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.bytes(N)?);
        Ok(out)
    }

    pub fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Refuses a field that does not have the one value the format allows.
    pub fn expect<T: PartialEq + std::fmt::LowerHex>(&self, field: &str, found: T, expected: T) -> Result<()> {
        if found == expected {
            Ok(())
        } else {
            Err(Error::corrupt(format!("{}: {field} is {found:#x}, expected {expected:#x}", self.what)))
        }
    }
}
