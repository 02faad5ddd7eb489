//! BURST: BTRFS Ultrafast Restore From S3 Transfers.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "s3")]
pub mod aws_crt;
pub mod btrfs;
pub mod cli;
pub mod error;
pub mod format;
pub mod linux;
pub mod restore;
pub mod snapshot;
pub mod store;
