//! Attribute lists: tag, length, payload (spec `#burst-field`, `#xattrs`, `#attribute-region`).

use super::bytes::Fields;
use super::entry::{Attributes, Overflow, S_IFDIR, S_IFMT, Timestamp, Xattr};
use super::error::{Error, Reason, Result};
use super::limits::XATTR_VALUE_MAX;

/// A tag with this bit must be understood.
pub const CRITICAL: u8 = 0x80;
/// Extended attributes, sorted by name.
pub const TAG_XATTRS: u8 = 0x81;
/// Major and minor number of a device.
pub const TAG_DEVICE: u8 = 0x82;
/// Ordinal of the entry a hard link names.
pub const TAG_HARD_LINK: u8 = 0x83;
/// How many names the inode had.
pub const TAG_LINK_COUNT: u8 = 0x04;
/// Where the rest of the list is, in the attribute region.
pub const TAG_OVERFLOW: u8 = 0x85;

/// The attributes of one list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AttributeList {
    /// [`TAG_LINK_COUNT`]
    pub link_count: Option<u32>,
    /// [`TAG_XATTRS`]
    pub xattrs: Vec<Xattr>,
    /// [`TAG_DEVICE`]: major, minor.
    pub device: Option<(u32, u32)>,
    /// [`TAG_HARD_LINK`]: an ordinal.
    pub hard_link: Option<u64>,
    /// [`TAG_OVERFLOW`]
    pub overflow: Option<Overflow>,
}

fn put(out: &mut Vec<u8>, tag: u8, payload: &[u8]) {
    out.push(tag);
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(payload);
}

impl AttributeList {
    /// Appends the list, in the order the specification prescribes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        if let Some(count) = self.link_count {
            put(out, TAG_LINK_COUNT, &count.to_le_bytes());
        }
        if !self.xattrs.is_empty() {
            put(out, TAG_XATTRS, &encode_xattrs(&self.xattrs));
        }
        if let Some((major, minor)) = self.device {
            put(out, TAG_DEVICE, &[major.to_le_bytes(), minor.to_le_bytes()].concat());
        }
        if let Some(target) = self.hard_link {
            put(out, TAG_HARD_LINK, &target.to_le_bytes());
        }
        if let Some(o) = self.overflow {
            let mut payload = [0; 16];
            payload[..8].copy_from_slice(&o.offset.to_le_bytes());
            payload[8..12].copy_from_slice(&o.length.to_le_bytes());
            payload[12..].copy_from_slice(&o.crc32c.to_le_bytes());
            put(out, TAG_OVERFLOW, &payload);
        }
    }

    /// All of `bytes` is the list. Refuses unknown critical tags, double ones, and values out of bounds.
    pub fn parse(bytes: &[u8]) -> Result<AttributeList> {
        let mut list = AttributeList::default();
        let mut f = Fields::new(bytes, "attribute list");
        let mut previous = 0;
        while !f.is_empty() {
            let tag = f.u8()?;
            let length = f.u32()?;
            let payload = f.bytes(length as usize)?;
            if tag <= previous {
                return Err(Error::corrupt(format!("attribute {tag:#04x} follows {previous:#04x}: tags must ascend")));
            }
            previous = tag;
            let mut p = Fields::new(payload, "attribute");
            match tag {
                TAG_XATTRS => {
                    list.xattrs = parse_xattrs(payload)?;
                    continue;
                }
                TAG_DEVICE => list.device = Some((p.u32()?, p.u32()?)),
                TAG_HARD_LINK => list.hard_link = Some(p.u64()?),
                TAG_LINK_COUNT => list.link_count = Some(p.u32()?),
                TAG_OVERFLOW => list.overflow = Some(Overflow { offset: p.u64()?, length: p.u32()?, crc32c: p.u32()? }),
                unknown if unknown & CRITICAL != 0 => {
                    return Err(Error::new(
                        Reason::Unsupported,
                        format!("critical attribute {unknown:#04x} is unknown: the archive needs a newer burst"),
                    ));
                }
                _ => continue,
            }
            p.expect("surplus bytes", p.rest().len(), 0)?;
        }
        Ok(list)
    }
}

fn encode_xattrs(xattrs: &[Xattr]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in xattrs {
        out.push(name.len() as u8);
        out.extend_from_slice(&(value.len() as u32).to_le_bytes());
        out.extend_from_slice(name);
        out.extend_from_slice(value);
    }
    out
}

fn parse_xattrs(bytes: &[u8]) -> Result<Vec<Xattr>> {
    let mut xattrs: Vec<Xattr> = Vec::new();
    let mut f = Fields::new(bytes, "extended attributes");
    while !f.is_empty() {
        let name_length = f.u8()?;
        let value_length = f.u32()? as usize;
        let name = f.bytes(name_length.into())?;
        if value_length > XATTR_VALUE_MAX {
            return Err(Error::corrupt(format!(
                "extended attribute \"{}\" has {value_length} bytes, more than {XATTR_VALUE_MAX}",
                name.escape_ascii()
            )));
        }
        let value = f.bytes(value_length)?;
        check_xattr_name(name)?;
        if xattrs.last().is_some_and(|(previous, _)| previous.as_slice() >= name) {
            return Err(Error::corrupt(format!("extended attribute \"{}\" is out of order", name.escape_ascii())));
        }
        xattrs.push((name.to_vec(), value.to_vec()));
    }
    Ok(xattrs)
}

fn check_xattr_name(name: &[u8]) -> Result<()> {
    if name.is_empty() || name.contains(&0) || name.starts_with(b"btrfs.") {
        return Err(Error::corrupt(format!("extended attribute name \"{}\" is not allowed", name.escape_ascii())));
    }
    Ok(())
}

/// Root attributes, as in the attribute region.
pub fn encode_root(root: &Attributes, out: &mut Vec<u8>) {
    for field in [S_IFDIR | root.permissions, root.uid, root.gid] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    out.extend_from_slice(&root.mtime.seconds.to_le_bytes());
    out.extend_from_slice(&root.mtime.nanos.to_le_bytes());
    AttributeList { xattrs: root.xattrs.clone(), ..AttributeList::default() }.encode(out);
}

/// The inverse of [`encode_root`]; `bytes` are the whole root attributes.
pub fn parse_root(bytes: &[u8]) -> Result<Attributes> {
    let mut f = Fields::new(bytes, "root attributes");
    let mode = f.u32()?;
    f.expect("mode without permissions", mode & !0o7777, S_IFMT & S_IFDIR)?;
    let (uid, gid) = (f.u32()?, f.u32()?);
    check_owner("root attributes", uid, gid)?;
    let mtime = parse_timestamp(&mut f)?;
    let list = AttributeList::parse(f.rest())?;
    if list != (AttributeList { xattrs: list.xattrs.clone(), ..AttributeList::default() }) {
        return Err(Error::corrupt("root attributes: only extended attributes are allowed"));
    }
    Ok(Attributes { permissions: mode & 0o7777, uid, gid, mtime, xattrs: list.xattrs })
}

/// Nobody has the id -1: chown(2) takes it for "leave as it is", so that the file would silently remain its maker's.
pub fn check_owner(field: &str, uid: u32, gid: u32) -> Result<()> {
    match [uid, gid].contains(&u32::MAX) {
        true => Err(Error::corrupt(format!("{field}: user {uid}, group {gid}: nobody has the number {}", u32::MAX))),
        false => Ok(()),
    }
}

/// Signed seconds (8 bytes) and nanoseconds (4 bytes).
pub fn parse_timestamp(f: &mut Fields<'_>) -> Result<Timestamp> {
    let t = Timestamp { seconds: f.i64()?, nanos: f.u32()? };
    if t.nanos >= 1_000_000_000 {
        return Err(Error::corrupt(format!("modification time has {} nanoseconds", t.nanos)));
    }
    Ok(t)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_round_trip() {
        let list = AttributeList {
            link_count: Some(3),
            xattrs: vec![(b"security.capability".to_vec(), vec![1; 20]), (b"user.a".to_vec(), vec![])],
            device: Some((8, 1)),
            hard_link: Some(7),
            overflow: Some(Overflow { offset: 1, length: 2, crc32c: 3 }),
        };
        let mut bytes = Vec::new();
        list.encode(&mut bytes);
        assert_eq!(AttributeList::parse(&bytes), Ok(list));
        for end in 1..bytes.len() {
            // A cut list is either refused or a shorter list; it never panics.
            let _ = AttributeList::parse(&bytes[..end]);
        }
    }

    #[test]
    fn unknown_tags() {
        assert!(AttributeList::parse(&[0x05, 1, 0, 0, 0, 9]).is_ok());
        let error = AttributeList::parse(&[0x86, 1, 0, 0, 0, 9]).unwrap_err();
        assert_eq!(error.reason, Reason::Unsupported);
    }

    #[test]
    fn root_round_trips() {
        let root = Attributes {
            permissions: 0o1755,
            uid: 1,
            gid: 2,
            mtime: Timestamp { seconds: -5, nanos: 999_999_999 },
            xattrs: vec![(b"user.x".to_vec(), b"y".to_vec())],
        };
        let mut bytes = Vec::new();
        encode_root(&root, &mut bytes);
        assert_eq!(parse_root(&bytes), Ok(root));
    }
}
