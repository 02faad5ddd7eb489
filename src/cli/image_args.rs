//! Flags of the file system that is made, the same for `image` and `restore --device`; and what is printed about it.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, ValueEnum};

use super::log;
use super::output::{bytes, count};
use super::spent::Took;
use super::units;
use crate::restore::{ImageOptions, ImageReport, PipelineOptions, Profile};
use crate::store::Location;
use crate::volume::content::show_uuid;

#[derive(Debug, Clone, Copy, ValueEnum)]
enum MetadataArg {
    /// Twice on one device, so that a bad block costs nothing
    Dup,
    /// On two devices, of which one may be lost
    Raid1,
    /// Once, which saves time where writing is slow
    Single,
    /// Once, in turn on all devices
    Raid0,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum DataArg {
    /// One piece on one device
    Single,
    /// In turn on all devices, as fast as they are together
    Raid0,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "File system")]
pub struct ImageArgs {
    /// Label of the file system, at most 255 bytes
    #[arg(long, value_name = "NAME")]
    label: Option<String>,
    /// UUID of the file system [default: random, but for the mark that BURST made it]
    #[arg(long, value_name = "UUID", value_parser = parse_uuid)]
    uuid: Option<[u8; 16]>,
    /// How content lies on the devices [default: single on one, raid0 on several]
    #[arg(long)]
    data: Option<DataArg>,
    /// How metadata is kept [default: dup on one device, raid1 on several]
    #[arg(long)]
    metadata: Option<MetadataArg>,
    /// Put everything into a subvolume of this name, which is then what is mounted; else it is the top level
    #[arg(long, value_name = "NAME")]
    subvolume: Option<OsString>,
    /// Overwrite what is there
    #[arg(long)]
    force: bool,
    /// Largest chunk, for tests of many chunks
    #[arg(long, hide = true, value_name = "SIZE", value_parser = units::size)]
    chunk_max: Option<u64>,
}

impl ImageArgs {
    /// The first flag that was given, for a command line on which none makes sense.
    pub fn given(&self) -> Option<&'static str> {
        let flags = [
            (self.label.is_some(), "--label"),
            (self.uuid.is_some(), "--uuid"),
            (self.data.is_some(), "--data"),
            (self.metadata.is_some(), "--metadata"),
            (self.subvolume.is_some(), "--subvolume"),
            (self.force, "--force"),
        ];
        flags.into_iter().find(|(given, _)| *given).map(|(_, name)| name)
    }

    pub fn options(self, pipeline: PipelineOptions) -> ImageOptions {
        ImageOptions {
            pipeline,
            label: self.label.map(String::into_bytes).unwrap_or_default(),
            uuid: self.uuid,
            data: self.data.map(|data| match data {
                DataArg::Single => Profile::Single,
                DataArg::Raid0 => Profile::Raid0,
            }),
            metadata: self.metadata.map(|metadata| match metadata {
                MetadataArg::Dup => Profile::Dup,
                MetadataArg::Raid1 => Profile::Raid1,
                MetadataArg::Single => Profile::Single,
                MetadataArg::Raid0 => Profile::Raid0,
            }),
            subvolume: self.subvolume.map(OsStringExt::into_vec),
            force: self.force,
            chunk_max: self.chunk_max.unwrap_or(u64::MAX),
        }
    }
}

/// Names of devices or files, for messages.
pub fn together(on: &[PathBuf]) -> String {
    on.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// The report as other programs read it. `target` is the first device, `devices` are all.
pub fn json(
    report: &ImageReport,
    on: &[PathBuf],
    source: &Location,
    begun: Instant,
    repeated: u64,
) -> serde_json::Value {
    let (r, s) = (&report.restored, &report.sizes);
    let first = on.first().map_or(Path::new(""), PathBuf::as_path);
    let mut value = super::restore::json(r, first, source, begun, repeated);
    value["devices"] = on.iter().map(|path| path.to_string_lossy()).collect();
    value["uuid"] = show_uuid(&report.uuid).into();
    value["device_bytes"] = s.device.into();
    value["data_bytes"] = s.data.into();
    value["metadata_bytes"] = s.metadata.into();
    value["chunks"] = s.chunks.into();
    value
}

/// Prints what was made.
pub fn summary(report: &ImageReport, on: &[PathBuf], begun: Instant, repeated: u64, took: Option<&Took>) {
    let (r, s) = (&report.restored, &report.sizes);
    let uuid = show_uuid(&report.uuid);
    super::restore::headline("made a file system of", r, format_args!("on {}", together(on)), begun);
    log::say(format_args!(
        "UUID {uuid}; {} of data, {} of metadata; {} as they were ({}), {} were decompressed",
        bytes(s.data),
        bytes(s.metadata),
        count(r.encoded_frames, "frame"),
        bytes(r.encoded_bytes),
        r.decoded_frames,
    ));
    if let Some(took) = took {
        took.say();
    }
    super::restore::say_repeated(repeated);
}

fn parse_uuid(text: &str) -> std::result::Result<[u8; 16], String> {
    let digits: String = text.split('-').collect();
    let form: Vec<usize> = text.split('-').map(str::len).collect();
    if form != [8, 4, 4, 4, 12] || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err("a UUID looks like 01234567-89ab-cdef-0123-456789abcdef".into());
    }
    match u128::from_str_radix(&digits, 16) {
        Ok(0) | Err(_) => Err("a file system cannot have this UUID".into()),
        Ok(number) => Ok(number.to_be_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let id = parse_uuid("01234567-89ab-cdef-0123-456789abcdef").unwrap();
        assert_eq!(show_uuid(&id), "01234567-89ab-cdef-0123-456789abcdef");
        for bad in ["", "0123456789abcdef0123456789abcdef", "00000000-0000-0000-0000-000000000000"] {
            assert!(parse_uuid(bad).is_err(), "{bad}");
        }
    }
}
