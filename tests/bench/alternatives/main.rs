//! What the format costs and what its alternatives would cost: the numbers of `spec/discussion.md`.
//! `tests/bench/alternatives/run` makes the data, calls this for each table and prints what it says.

#[cfg(feature = "s3")]
mod fetch;
mod join;
mod joiner;
mod layout;
mod levels;
mod measure;
mod sequence;
mod walk;

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

const USAGE: &str = "\
layout ARCHIVE...            bytes that the grid costs
join ARCHIVE...              an unaligned archive whose restorer joins what the seams cut
levels DIRECTORY...          zstd levels on frames of 128 KiB, and one stream
fetch URL ENDPOINT MIB COUNT [RX_BYTES_FILE]   ranges of MIB, COUNT in flight, through aws-c-s3";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["layout", archives @ ..] => layout::run(archives),
        ["join", archives @ ..] => join::run(archives),
        ["levels", directories @ ..] => levels::run(directories),
        #[cfg(feature = "s3")]
        ["fetch", url, endpoint, mib, count, rx @ ..] => {
            fetch::run(url, endpoint, mib.parse()?, count.parse()?, rx.first().copied())
        }
        _ => Err(USAGE.into()),
    }
}
