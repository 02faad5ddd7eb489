//! BURST: BTRFS Ultrafast Restore From S3 Transfers.
//!
//! `burst restore` turns one S3 object into a file tree on BTRFS; `burst snapshot` makes such objects. This page is the
//! map of the code; the format is specified in `spec/format.md`, what is relied on of the kernel in
//! `spec/btrfs-encoded-io.md`, and why things are as they are in `spec/discussion.md`.
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
//!  |          \-> volume  ->  btrfs_image, linux                              btrfs -> linux
//!  \-> job, volume, tuning -> store, ec2                  format -> nothing; btrfs_image, ec2 -> error
//!                                  restore, store, aws_crt -> observe -> nothing
//! ```
//!
//! | module | what it is | what it does not know |
//! |---|---|---|
//! | [`cli`] | flags, environment, what is printed and logged, exit codes | how anything is done |
//! | [`restore`] | directory, part pipeline, sinks (a mounted tree; a blank device; verification) | S3, flags |
//! | [`snapshot`] | walk, compression on all cores, the archive writer's driver | S3, flags |
//! | [`format`] | the archive format as pure code: bytes in, values out | files, sockets, clocks, threads |
//! | [`volume`] | disks: which there are, what they hold, file systems on blank ones, mounts | archives |
//! | [`job`] | one restore as a file: read and checked | how it is carried out |
//! | [`store`] | where archives live: S3, file, standard input and output | what an archive is |
//! | `aws_crt` | every call into aws-c-s3 (feature `s3`) | |
//! | [`btrfs`] | every BTRFS ioctl | |
//! | [`btrfs_image`] | a BTRFS on disk: structures, trees, chunks, as pure code | files, devices, archives |
//! | [`tuning`] | what the machine is (EC2 type, CPUs, memory, disks), and the numbers to run with | what they are for |
//! | [`ec2`] | what EC2 says of this instance: its metadata service, its API (feature `ec2`) | what anybody makes of it |
//! | [`linux`] | other system calls: creating beneath a directory, attributes, holes, spools | |
//! | [`observe`] | what happens during a run, as typed events: the library emits, the command line listens | who listens |
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
//! header are checked before anything of it reaches the [`restore::Sink`]. The mounted sink writes each frame with
//! an encoded write where that saves a block, else decompressed, and keeps a journal of the parts that are on the disk, from
//! which the same command continues a run that was broken off. Links and the attributes of directories come last,
//! then one checked syncfs, then the completion marker. The image sink writes each frame to its final place on a blank
//! device and builds the file system around it; the superblock comes last.
//!
//! # Snapshot, as the data sees it
//! On BTRFS, and as root, the sources are read from read-only subvolume snapshots that live as long as the run; other
//! file systems may be frozen meanwhile, and a guard process thaws them whatever happens.
//! One walk in stable order; files are cut into 128 KiB pieces and compressed by all cores (frames that a BTRFS holds
//! are taken as they are, and only decoded, for their checksum), put back in order, and
//! given to the [`format::archive_writer::ArchiveWriter`], whose output is one stream of bytes to any
//! [`store::ArchiveSink`]. Nothing is visible at the destination before the last byte.

#[cfg(feature = "s3")]
pub mod aws_crt;
pub mod btrfs;
pub mod btrfs_image;
pub mod cli;
pub mod ec2;
pub mod error;
pub mod format;
pub mod job;
pub mod linux;
pub mod observe;
pub mod restore;
pub mod snapshot;
pub mod store;
pub mod tuning;
pub mod volume;
