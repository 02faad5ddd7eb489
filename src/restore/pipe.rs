//! Restore from a stream. (to be written)
use std::io::Read;
use std::path::Path;

use super::{Progress, Report, RestoreOptions, StopFlag};
use crate::error::Result;

pub fn restore(_: &mut dyn Read, _: &Path, _: &RestoreOptions, _: Progress<'_>, _: &StopFlag) -> Result<Report> {
    unimplemented!()
}
