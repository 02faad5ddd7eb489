//! BURST: BTRFS Ultrafast Restore From S3 Transfers.
//!
//! `burst restore` turns one S3 object into a file tree on BTRFS; `burst snapshot` makes such objects. This crate is that
//! program and the library below it. The library prints nothing, handles no signals and has no global state (with the
//! feature `s3` it sets, once, how much aws-c-io reads at a time, for the whole process). Of the environment it reads TMPDIR
//! and what [`store::S3Options::from_environment`] and the AWS credential chain read. What happens it tells as
//! [typed events](observe). This page is how to use it, and then the map of the code; the format is specified in `spec/format.md`, what is relied on of the kernel in
//! `spec/btrfs-encoded-io.md`, why things are as they are in `spec/discussion.md`, and what a version number promises in
//! `spec/guides/contributing.md`. Programs that do a little more than the following are in `tests/examples`.
//!
//! # Restore an archive
//! From S3, a file or a block device into a directory. A run that was broken off is continued by calling it again.
//!
//! ```no_run
//! use burst::observe::{Event, Events};
//! use burst::restore::{Archive, RestoreOptions, StopFlag, restore};
//! use burst::store::{Location, S3Options, open_source};
//!
//! # fn main() -> burst::error::Result<()> {
//! let location = Location::parse("s3://bucket/data.burst".as_ref())?;
//! let events = Events::to(|event| {
//!     if let Event::PartDone { part, bytes } = event {
//!         println!("part {part}: {bytes} bytes are in place");
//!     }
//! });
//! let s3 = S3Options { region: Some("eu-central-1".into()), events: events.clone(), ..S3Options::default() };
//! let archive = Archive::open(open_source(&location, &s3)?)?;
//! // Another thread may store a signal's number here.
//! let stop = StopFlag::new(0);
//! let report = restore(&archive, "/mnt/data".as_ref(), &RestoreOptions::default(), &events, &stop)?;
//! println!("{} files, {} frames decompressed", report.files, report.decoded_frames);
//! # Ok(())
//! # }
//! ```
//!
//! # Make an archive
//!
//! ```no_run
//! use burst::observe::Events;
//! use burst::snapshot::{SnapshotOptions, random_id, run};
//! use burst::store::{Location, S3Options, create_sink};
//!
//! # fn main() -> burst::error::Result<()> {
//! let options = SnapshotOptions { archive_id: random_id()?, ..SnapshotOptions::default() };
//! let to = Location::parse("data.burst".as_ref())?;
//! // How large the parts of an upload must be is known after the walk.
//! let sink = |part_size| create_sink(&to, &S3Options { part_size, ..S3Options::default() }, false);
//! let report = run(&options, &["/srv/data".into()], sink, &Events::unheard())?;
//! println!("{} bytes of content in {}", report.content_bytes, report.archive_bytes);
//! # Ok(())
//! # }
//! ```
//!
//! # Read an archive without any I/O
//! [`mod@format`] takes bytes and gives values. Here one is written and read in memory:
//!
//! ```
//! use burst::format::archive_index::{Opening, open};
//! use burst::format::archive_writer::{ArchiveWriter, NewEntry, WriterOptions};
//! use burst::format::checksum::crc32;
//! use burst::format::directory_reader::{DirectoryReader, DirectoryStep};
//! use burst::format::{Attributes, EntryType};
//!
//! # fn main() -> burst::format::Result<()> {
//! let options = WriterOptions { archive_id: [7; 16], root: None, upload_part_size: 8 << 20 };
//! let mut writer = ArchiveWriter::new(options)?;
//! let entry = NewEntry {
//!     path: b"name".to_vec(),
//!     entry_type: EntryType::Regular,
//!     attributes: Attributes { permissions: 0o644, ..Attributes::default() },
//!     link_count: None,
//! };
//! writer.add_stored(entry, b"content".to_vec(), crc32(b"content"))?;
//! let end = writer.finish()?;
//! let archive = [writer.output(), writer.directory(), &end.end_records].concat();
//!
//! // Of a large archive, its last MiB would do; then `Opening::Need` says what else is needed.
//! let Opening::Ready(index) = open(archive.len() as u64, &[(0, &archive)])? else { panic!("it is all there") };
//! let range = index.directory_range();
//! let mut directory = &archive[range.start as usize..range.end as usize];
//! index.check_directory_piece(0, directory)?;
//! let mut reader = DirectoryReader::new(&index.trailer);
//! let mut names = Vec::new();
//! while let DirectoryStep::Entry(placed) = reader.next(&mut directory)? {
//!     names.push(placed.entry.path);
//! }
//! assert_eq!(names, [b"name"]);
//! # Ok(())
//! # }
//! ```
//!
//! # Three ideas
//! 1. Many ranged GETs in flight through aws-c-s3, each one aligned 8 MiB part of the archive.
//! 2. Nothing is compressed or decompressed on the way: the archive holds zstd frames that BTRFS takes as they are.
//! 3. Nothing is put in order: the directory and the first bytes of a part say where everything in it belongs.
//!
//! # Layers
//! Arrows point downwards only.
//!
//! ```text
//! cli  ->  restore, snapshot  ->  store, format, btrfs, btrfs_image, linux    store -> aws_crt, ec2, linux
//!  |          \-> volume  ->  btrfs_image, linux                              btrfs -> linux, btrfs_image
//!  \-> job, volume, tuning -> store, ec2                  format -> nothing; btrfs_image, ec2 -> error
//!                        restore, snapshot, store, aws_crt -> observe -> nothing
//! ```
//!
//! | module | what it is | what it does not know |
//! |---|---|---|
//! | [`cli`] | flags, environment, what is printed and logged, exit codes | how anything is done |
//! | [`restore`] | directory, part pipeline, sinks (a mounted tree; a blank device; verification) | S3, flags |
//! | [`snapshot`] | walk, compression on all cores, the archive writer's driver | S3, flags |
//! | [`mod@format`] | the archive format as pure code: bytes in, values out | files, sockets, clocks, threads |
//! | `volume` | disks: which there are, what they hold, file systems on blank ones, mounts | archives |
//! | `job` | one restore as a file: read and checked | how it is carried out |
//! | [`store`] | where archives live: S3, file, standard input and output | what an archive is |
//! | `aws_crt` | every call into aws-c-s3 (feature `s3`) | |
//! | [`btrfs`] | every BTRFS ioctl; what a mounted file system has in its trees and on its devices | |
//! | `btrfs_image` | a BTRFS on disk: structures, trees, chunks, as pure code | files, devices, archives |
//! | `tuning` | what the machine is (EC2 type, CPUs, memory, disks), and the numbers to run with | what they are for |
//! | `ec2` | what EC2 says of this instance: its metadata service, its API (feature `ec2`) | what anybody makes of it |
//! | `linux` | other system calls: creating beneath a directory, attributes, holes, spools | |
//! | [`observe`] | what happens during a run, as typed events: the library emits, the command line listens | who listens |
//! | `stop` | the flag that ends a run early | who sets it |
//! | [`error`] | one error type; its kind decides the exit code | |
//!
//! Nothing outside of [`cli`] prints. What is logged is [`observe`]'s events, and `tracing` events where a decision needs
//! words; only [`cli`] listens to either, and writes them (`cli::log`).
//!
//! `unsafe` exists only in `aws_crt`, `btrfs` and `linux`, and only below a SAFETY line.
//!
//! # Restore, as the data sees it
//! [`restore::Archive::open`] reads the tail: end records, trailer, part map. The planner thread reads the directory
//! in checked pieces, announces every entry to the sink (which makes directories at once) and requests the parts of
//! which all entries are known, costly and cheap ones in turn. A part that arrives is taken by a worker: checksum, structure and every
//! header are checked before anything of it reaches the sink. The mounted sink writes each frame with
//! an encoded write where that saves a block, else decompressed, and keeps a journal of the parts that are on the disk, from
//! which the same command continues a run that was broken off. Links and the attributes of directories come last,
//! then one checked syncfs, then the completion marker. The image sink writes each frame to its final place on a blank
//! device and builds the file system around it; the superblock comes last.
//!
//! # Snapshot, as the data sees it
//! On BTRFS, and as root, the sources are read from read-only subvolume snapshots that live as long as the run; other
//! file systems may be frozen meanwhile, and a guard process thaws them whatever happens.
//! What is small in them is not read by way of the kernel's inodes, but out of the trees, and from the devices where many
//! extents lie beside each other.
//! One walk in stable order; files are cut into 128 KiB pieces and compressed by all cores (frames that a BTRFS holds
//! are taken as they are, and only decoded, for their checksum), put back in order, and
//! given to the [`format::archive_writer::ArchiveWriter`], whose output is one stream of bytes to any
//! [`store::ArchiveSink`]. Nothing is visible at the destination before the last byte.

#[cfg(feature = "s3")]
mod aws_crt;
pub mod btrfs;
mod btrfs_image;
pub mod cli;
mod ec2;
pub mod error;
pub mod format;
mod job;
#[doc(hidden)]
pub mod linux;
pub mod observe;
pub mod restore;
pub mod snapshot;
mod stop;
pub mod store;
mod tuning;
mod volume;
