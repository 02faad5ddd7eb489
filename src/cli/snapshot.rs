//! `burst snapshot`: flags, and what is printed.

use clap::Args;

use super::s3_args::S3Args;
use crate::error::Result;

/// Makes an archive of directories or files.
#[derive(Debug, Args)]
pub struct SnapshotArgs {
    #[command(flatten)]
    s3: S3Args,
}

pub fn run(_args: SnapshotArgs) -> Result<()> {
    Ok(())
}
