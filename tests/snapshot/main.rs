//! `burst snapshot` from the outside: the program makes archives of odd trees, and readers that share no code with it
//! (the reference reader, the grid checker, 7-Zip) look at them.
//!
//! Needs root (devices, owners), python3 with the package zstandard ($BURST_PYTHON names another python), and 7zz.

mod changing;
mod content;
mod grid;
mod names;
mod support;
