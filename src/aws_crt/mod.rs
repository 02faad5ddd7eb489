//! Every call into aws-c-s3, through its safe Rust layer `mountpoint-s3-crt`.
//!
//! The rest of the program sees three things: [`Client`] (one bucket, one set of options), ranged reads
//! ([`get`]) and streamed uploads ([`put`]).
//!
//! Callbacks run on the CRT's threads and a panic would cross `extern "C"`, which aborts the process:
//! they only move values and never index, unwrap or block.

mod address;
mod again;
mod client;
mod confirm;
mod failure;
pub mod get;
mod pool;
pub mod put;

pub use client::{Client, Purpose};
