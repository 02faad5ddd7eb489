//! Makes an archive of a directory and says what happens: `snapshot DIRECTORY ARCHIVE`, where ARCHIVE is a new file.

use std::error::Error;
use std::path::PathBuf;

use burst::observe::{Event, Events};
use burst::snapshot::{SnapshotOptions, random_id, run};
use burst::store::{Location, S3Options, create_sink};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(source), Some(archive)) = (arguments.next(), arguments.next()) else {
        return Err("usage: snapshot DIRECTORY ARCHIVE".into());
    };
    let events = Events::to(|event| match event {
        Event::Walked { entries, bytes } => println!("found {entries} entries, {bytes} bytes"),
        Event::Archived { bytes } => println!("{bytes} bytes are in the archive"),
        Event::LeftOut { path, why } => println!("left out: {} ({why:?})", path.display()),
        Event::Changed { path, how } => println!("changed: {} ({how:?})", path.display()),
        Event::Finishing => println!("directory and end"),
        _ => {}
    });
    let options =
        SnapshotOptions { archive_id: random_id()?, exclude: vec!["*.tmp".to_owned()], ..SnapshotOptions::default() };
    let location = Location::parse(&archive)?;
    // What is known after the walk decides the part size of an upload.
    let sink = |part_size| create_sink(&location, &S3Options { part_size, ..S3Options::default() }, false);
    let report = run(&options, &[PathBuf::from(source)], sink, &events)?;
    println!("archived {} files in {} bytes", report.files, report.archive_bytes);
    Ok(())
}
