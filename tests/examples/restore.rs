//! Restores an archive into a directory and says what happens: `restore ARCHIVE DIRECTORY`, where ARCHIVE is a file or
//! s3://bucket/key. A run that was broken off is continued by the next one.

use std::error::Error;
use std::path::PathBuf;

use burst::observe::{Event, Events};
use burst::restore::{Archive, RestoreOptions, StopFlag, restore};
use burst::store::{Location, S3Options, open_source};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(archive), Some(target)) = (arguments.next(), arguments.next()) else {
        return Err("usage: restore ARCHIVE DIRECTORY".into());
    };
    let events = Events::to(|event| match event {
        Event::Requested { first, parts, bytes } => println!("requested {parts} from part {first}, {bytes} bytes"),
        Event::PartDone { part, bytes } => println!("part {part} is in place, {bytes} bytes"),
        Event::AttemptFailed => println!("a request failed and is sent again"),
        Event::Checkpoint { parts, took } => println!("{parts} parts more are on the disk, after {took:?}"),
        Event::Finishing => println!("links and directories"),
        Event::Syncing => println!("waiting for the disk"),
        _ => {}
    });
    let location = Location::parse(&archive)?;
    // Region, endpoint and profile as AWS tools take them; requests that are sent again are events, too.
    let mut s3 = S3Options { events: events.clone(), ..S3Options::from_environment(None)? };
    if matches!(location, Location::S3 { .. }) {
        s3.find_region();
    }
    let archive = Archive::open(open_source(&location, &s3)?)?;
    println!("{} entries, {} bytes", archive.index.trailer.entries, archive.index.trailer.content_bytes);

    // Another thread, or a signal handler, may store a signal's number here.
    let stop = StopFlag::new(0);
    let report = restore(&archive, &PathBuf::from(target), &RestoreOptions::default(), &events, &stop)?;
    println!("restored {} files, {} frames as they are", report.files, report.encoded_frames);
    Ok(())
}
