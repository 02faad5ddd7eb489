//! The valid golden vectors, made by the writer. Nothing in them depends on a library's compression: frames are made
//! by hand, or kept as bytes.

mod grid;
pub mod json;
mod maker;
mod metadata;
mod small;

use burst::format::{Attributes, archive_writer::NewEntry};

/// An archive and what a reader must find in it.
pub struct Vector {
    pub name: &'static str,
    /// One line: what it shows.
    pub shows: &'static str,
    /// Anchors in spec/format.md.
    pub anchors: &'static [&'static str],
    /// Tools that do not get everything right, with the reason.
    pub deviations: &'static [(&'static str, &'static str)],
    /// Kind, ordinal and content offset at the start of each part; empty if it is not what the vector is about.
    pub parts: &'static [(u8, u64, u64)],
    pub root: Option<Attributes>,
    pub entries: Vec<Expected>,
    pub bytes: Vec<u8>,
}

pub struct Expected {
    pub entry: NewEntry,
    /// Content, or the text of a link.
    pub data: Vec<u8>,
    /// Start and end of each hole, neighbours joined.
    pub holes: Vec<(u64, u64)>,
}

pub const ALL: &[fn() -> Vector] = &[
    small::empty,
    small::empty_with_root,
    small::root_attributes,
    small::order,
    small::stored,
    small::frames,
    small::holes,
    small::allocated_zeros,
    small::full_last_frame,
    small::descriptor,
    small::large_file,
    metadata::all_attributes,
    metadata::overflow,
    metadata::nodes,
    metadata::symlinks,
    metadata::hard_links,
    metadata::times,
    metadata::names,
    metadata::long_names,
    metadata::unrestorable_name,
    grid::three_kinds,
    grid::raw_frames_cut,
    grid::stored_on_the_grid,
    grid::pad_field_before_header,
    grid::padding_before_header,
    grid::tail_before_the_grid,
    grid::descriptor_after_the_grid,
    grid::ends_on_the_grid,
];
