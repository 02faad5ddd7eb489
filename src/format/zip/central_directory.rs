//! Central directory header (APPNOTE 4.3.12; spec `#directory`, `#burst-field`).

use super::extra_field::{self, BURST, UNIX_OWNER, UNIX_TIME, ZIP64};
use super::{FLAG_DATA_DESCRIPTOR, VERSION_MADE_BY, dos_time, flags, needs_zip64, short, version_needed};
use crate::format::attributes::{AttributeList, check_owner, parse_timestamp};
use crate::format::bytes::Fields;
use crate::format::entry::{
    Attributes, Entry, EntryType, Method, S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG,
    check_entry_path,
};
use crate::format::error::{Error, Reason, Result};
use crate::format::limits::BURST_FIELD_MAX;

/// `PK\1\2`
pub const SIGNATURE: u32 = 0x0201_4B50;
/// Length of the fields before the name.
pub const FIXED_LENGTH: usize = 46;
/// Signature at the start of the BURST field's payload (APPNOTE 4.6.3 asks for one).
pub const BURST_SIGNATURE: &[u8; 4] = b"BRST";
/// MS-DOS directory attribute in the lower external attributes.
const DOS_DIRECTORY: u32 = 0x10;

/// Name as it stands in the archive.
pub fn archive_name(entry: &Entry) -> Vec<u8> {
    let mut name = entry.path.clone();
    if entry.entry_type == EntryType::Directory {
        name.push(b'/');
    }
    name
}

/// The payload of the BURST field; longer than BURST_FIELD_MAX if the extended attributes must overflow.
pub fn encode_burst_field(entry: &Entry) -> Vec<u8> {
    let mut out = BURST_SIGNATURE.to_vec();
    out.extend_from_slice(&entry.attributes.mtime.seconds.to_le_bytes());
    out.extend_from_slice(&entry.attributes.mtime.nanos.to_le_bytes());
    let (device, hard_link) = match entry.entry_type {
        EntryType::CharDevice { major, minor } | EntryType::BlockDevice { major, minor } => {
            (Some((major, minor)), None)
        }
        EntryType::HardLink { target } => (None, Some(target)),
        _ => (None, None),
    };
    AttributeList {
        link_count: entry.link_count,
        xattrs: if entry.overflow.is_some() { Vec::new() } else { entry.attributes.xattrs.clone() },
        device,
        hard_link,
        overflow: entry.overflow,
    }
    .encode(&mut out);
    out
}

/// Appends the central directory header of `entry`.
pub fn encode(entry: &Entry, out: &mut Vec<u8>) {
    let name = archive_name(entry);
    let a = &entry.attributes;
    let mut extra = Vec::with_capacity(64);
    let sizes = [entry.uncompressed_size, entry.compressed_size, entry.header_offset];
    if sizes.iter().any(|&v| needs_zip64(v)) {
        let long: Vec<u8> = sizes.iter().filter(|&&v| needs_zip64(v)).flat_map(|v| v.to_le_bytes()).collect();
        extra_field::encode(&mut extra, ZIP64, &long);
    }
    if let Ok(seconds) = i32::try_from(a.mtime.seconds) {
        let mut payload = [1, 0, 0, 0, 0];
        payload[1..].copy_from_slice(&seconds.to_le_bytes());
        extra_field::encode(&mut extra, UNIX_TIME, &payload);
    }
    let mut owner = [1, 4, 0, 0, 0, 0, 4, 0, 0, 0, 0];
    owner[2..6].copy_from_slice(&a.uid.to_le_bytes());
    owner[7..].copy_from_slice(&a.gid.to_le_bytes());
    extra_field::encode(&mut extra, UNIX_OWNER, &owner);
    extra_field::encode(&mut extra, BURST, &encode_burst_field(entry));

    let permissions = match entry.entry_type {
        EntryType::HardLink { .. } => 0o777,
        _ => a.permissions & 0o7777,
    };
    let dos = if entry.entry_type == EntryType::Directory { DOS_DIRECTORY } else { 0 };
    let (time, date) = dos_time::from_timestamp(a.mtime);
    out.extend_from_slice(&SIGNATURE.to_le_bytes());
    for field in [
        VERSION_MADE_BY,
        version_needed(entry.method, entry.compressed_size, entry.uncompressed_size),
        flags(&name, entry.has_descriptor),
        entry.method.number(),
        time,
        date,
    ] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    for field in [entry.crc32, short(entry.compressed_size), short(entry.uncompressed_size)] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    for field in [name.len() as u16, extra.len() as u16, 0, 0, 0] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    out.extend_from_slice(&((entry.entry_type.mode_bits() | permissions) << 16 | dos).to_le_bytes());
    out.extend_from_slice(&short(entry.header_offset).to_le_bytes());
    out.extend_from_slice(&name);
    out.extend_from_slice(&extra);
}

/// Length of the header that begins with these bytes, or None if fewer than [`FIXED_LENGTH`] are there.
pub fn length(bytes: &[u8]) -> Option<usize> {
    let l = bytes.get(28..34)?;
    let field = |i: usize| usize::from(u16::from_le_bytes([l[i], l[i + 1]]));
    Some(FIXED_LENGTH + field(0) + field(2) + field(4))
}

/// Parses one header that is completely in `bytes` (see [`length`]). Everything that can be checked within the
/// header is checked: canonical fields, name, type against method and sizes.
pub fn parse(bytes: &[u8], ordinal: u64, directory_offset: u64) -> Result<Entry> {
    let mut f = Fields::new(bytes, "central directory header");
    let signature = f.u32()?;
    f.expect("signature", signature, SIGNATURE)?;
    let (made_by, needed, found_flags, method) = (f.u16()?, f.u16()?, f.u16()?, f.u16()?);
    let (time, date) = (f.u16()?, f.u16()?);
    let crc32 = f.u32()?;
    let (mut compressed_size, mut uncompressed_size) = (u64::from(f.u32()?), u64::from(f.u32()?));
    let (name_length, extra_length, comment_length) = (f.u16()?, f.u16()?, f.u16()?);
    let (disk, internal, external) = (f.u16()?, f.u16()?, f.u32()?);
    let mut header_offset = u64::from(f.u32()?);
    let name = f.bytes(name_length.into())?;
    let extra = f.bytes(extra_length.into())?;
    let mut check = || -> Result<Entry> {
        f.expect("version made by", made_by, VERSION_MADE_BY)?;
        f.expect("comment length, disk and internal attributes", comment_length | disk | internal, 0)?;
        let method = match method {
            0 => Method::Stored,
            93 => Method::Zstd,
            other => {
                return Err(Error::corrupt(format!("compression method is {other}, expected 0 (none) or 93 (zstd)")));
            }
        };
        let mut extra = Fields::new(extra, "extra field of a central directory header");
        let mut next = extra_field::next(&mut extra)?;
        if sizes_are_long([uncompressed_size, compressed_size, header_offset]) {
            let Some((ZIP64, payload)) = next else {
                return Err(Error::corrupt("the sizes point to a ZIP64 field, which is missing"));
            };
            let mut z = Fields::new(payload, "ZIP64 field of a central directory header");
            for field in [&mut uncompressed_size, &mut compressed_size, &mut header_offset] {
                if needs_zip64(*field) {
                    *field = z.u64()?;
                    if !needs_zip64(*field) {
                        return Err(Error::corrupt(format!("{field} stands in the ZIP64 field but fits 32 bits")));
                    }
                }
            }
            z.expect("surplus bytes", z.rest().len(), 0)?;
            next = extra_field::next(&mut extra)?;
        }
        let mut unix_seconds = None;
        if let Some((UNIX_TIME, payload)) = next {
            let mut t = Fields::new(payload, "extended timestamp field");
            let (flag, seconds) = (t.u8()?, t.u32()?);
            t.expect("flags", flag, 1)?;
            t.expect("surplus bytes", t.rest().len(), 0)?;
            unix_seconds = Some(seconds as i32);
            next = extra_field::next(&mut extra)?;
        }
        let Some((UNIX_OWNER, payload)) = next else {
            return Err(Error::corrupt("the owner field (0x7875) is missing or out of order"));
        };
        let mut o = Fields::new(payload, "owner field");
        let (version, uid_length, uid, gid_length, gid) = (o.u8()?, o.u8()?, o.u32()?, o.u8()?, o.u32()?);
        o.expect("version", version, 1)?;
        if [uid_length, gid_length] != [4, 4] || !o.is_empty() {
            return Err(Error::corrupt("owner field: ids are not 4 bytes each"));
        }
        check_owner("owner field", uid, gid)?;
        let Some((BURST, payload)) = extra_field::next(&mut extra)? else {
            return Err(Error::corrupt("the BURST field (0x7542) is missing or out of order"));
        };
        extra.expect("surplus bytes", extra.rest().len(), 0)?;
        if payload.len() > BURST_FIELD_MAX {
            return Err(Error::corrupt(format!(
                "BURST field of {} bytes, allowed are {BURST_FIELD_MAX}",
                payload.len()
            )));
        }
        let mut b = Fields::new(payload, "BURST field");
        if b.bytes(4)? != BURST_SIGNATURE {
            return Err(Error::corrupt("BURST field: signature is wrong"));
        }
        let mtime = parse_timestamp(&mut b)?;
        let list = AttributeList::parse(b.rest())?;
        if unix_seconds.map(i64::from) != i32::try_from(mtime.seconds).ok().map(i64::from) {
            return Err(Error::corrupt(format!(
                "field 0x5455 says {}, the BURST field {} seconds",
                unix_seconds.map_or("nothing".to_owned(), |seconds| format!("{seconds} seconds")),
                mtime.seconds
            )));
        }
        f.expect("time and date", u32::from(date) << 16 | u32::from(time), {
            let (time, date) = dos_time::from_timestamp(mtime);
            u32::from(date) << 16 | u32::from(time)
        })?;
        let has_descriptor = found_flags & FLAG_DATA_DESCRIPTOR != 0;
        f.expect("flags", found_flags, flags(name, has_descriptor))?;
        f.expect("version needed", needed, version_needed(method, compressed_size, uncompressed_size))?;
        let mode = external >> 16;
        let entry_type = entry_type(mode, &list)?;
        let dos = if entry_type == EntryType::Directory { DOS_DIRECTORY } else { 0 };
        f.expect("lower external attributes", external & 0xFFFF, dos)?;
        let path = match (entry_type, name.split_last()) {
            (EntryType::Directory, Some((b'/', path))) => path,
            (EntryType::Directory, _) => {
                return Err(Error::new(Reason::UnsafeEntry, "a directory's name does not end with \"/\""));
            }
            _ => name,
        };
        check_entry_path(path, entry_type == EntryType::Directory, ordinal)?;
        let entry = Entry {
            ordinal,
            path: path.to_vec(),
            entry_type,
            attributes: Attributes { permissions: mode & 0o7777, uid, gid, mtime, xattrs: list.xattrs },
            link_count: list.link_count,
            overflow: list.overflow,
            method,
            has_descriptor,
            crc32,
            compressed_size,
            uncompressed_size,
            header_offset,
            directory_offset,
        };
        check_sizes(&entry)?;
        Ok(entry)
    };
    check().map_err(|e| e.in_entry(name))
}

fn sizes_are_long(sizes: [u64; 3]) -> bool {
    sizes.into_iter().any(needs_zip64)
}

fn entry_type(mode: u32, list: &AttributeList) -> Result<EntryType> {
    let device = |make: fn(u32, u32) -> EntryType| match list.device {
        Some((major, minor)) => Ok(make(major, minor)),
        None => Err(Error::corrupt("a device without device numbers")),
    };
    let entry_type = match mode & S_IFMT {
        S_IFLNK => match list.hard_link {
            Some(target) if mode == S_IFLNK | 0o777 => EntryType::HardLink { target },
            Some(_) => {
                return Err(Error::corrupt(format!("a hard link with mode {mode:o} instead of 120777")));
            }
            None => EntryType::Symlink,
        },
        S_IFREG => EntryType::Regular,
        S_IFDIR => EntryType::Directory,
        S_IFIFO => EntryType::Fifo,
        S_IFCHR => device(|major, minor| EntryType::CharDevice { major, minor })?,
        S_IFBLK => device(|major, minor| EntryType::BlockDevice { major, minor })?,
        other => {
            return Err(Error::new(Reason::UnsafeEntry, format!("file type {other:o} cannot be restored")));
        }
    };
    let only_the_link = AttributeList { hard_link: list.hard_link, ..AttributeList::default() };
    if list.hard_link.is_some() && *list != only_the_link {
        return Err(Error::corrupt("a hard link with further attributes, which belong to its target"));
    }
    if let Some(count) = list.link_count.filter(|&count| count < 2) {
        return Err(Error::corrupt(format!("link count {count}, expected 2 or more or no such attribute")));
    }
    if list.overflow.is_some() && !list.xattrs.is_empty() {
        return Err(Error::corrupt("extended attributes in the BURST field and in an overflow list"));
    }
    let is_device = matches!(entry_type, EntryType::CharDevice { .. } | EntryType::BlockDevice { .. });
    if list.device.is_some() && !is_device {
        return Err(Error::corrupt("device numbers on an entry that is not a device"));
    }
    if list.hard_link.is_some() && !matches!(entry_type, EntryType::HardLink { .. }) {
        return Err(Error::corrupt("a hard-link attribute on an entry whose type is not that of a link"));
    }
    Ok(entry_type)
}

/// Type against method and sizes (spec `#method`).
fn check_sizes(entry: &Entry) -> Result<()> {
    use crate::format::limits::NAME_MAX;
    let refuse = |what: &str| Err(Error::corrupt(what.to_owned()));
    if entry.compressed_size > i64::MAX as u64 || entry.uncompressed_size > i64::MAX as u64 {
        return refuse("a size is over 2^63 - 1 bytes");
    }
    match entry.method {
        Method::Stored => {
            if entry.has_descriptor {
                return refuse("method 0 with a data descriptor");
            }
            if entry.compressed_size != entry.uncompressed_size {
                return Err(Error::corrupt(format!(
                    "method 0, but the compressed size is {} and the uncompressed size {}",
                    entry.compressed_size, entry.uncompressed_size
                )));
            }
        }
        Method::Zstd => {
            if entry.entry_type != EntryType::Regular || entry.uncompressed_size == 0 {
                return refuse("method 93 on an entry that is not a regular file with content");
            }
        }
    }
    match entry.entry_type {
        EntryType::Regular => {}
        EntryType::Symlink | EntryType::HardLink { .. } => {
            // A hard link's text may be longer than any name: up to 2,047 times "../" and a path.
            let limit = if entry.entry_type == EntryType::Symlink { NAME_MAX } else { 3 * NAME_MAX };
            if entry.uncompressed_size == 0 || entry.uncompressed_size > limit as u64 {
                return Err(Error::corrupt(format!("a link text of {} bytes", entry.uncompressed_size)));
            }
        }
        _ if entry.uncompressed_size != 0 => {
            return refuse("data on an entry of a type that has none");
        }
        _ => {}
    }
    if entry.uncompressed_size == 0 && entry.crc32 != 0 {
        return Err(Error::corrupt(format!("CRC-32 {:#010x} of no data", entry.crc32)));
    }
    Ok(())
}
