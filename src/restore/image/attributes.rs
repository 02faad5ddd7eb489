//! What system calls would check of extended attributes, since none is made: an archive must not bring what the kernel
//! would have refused to set (fs/xattr.c, fs/posix_acl.c, security/commoncap.c).

use crate::format::entry::EntryType;

const ACCESS_ACL: &[u8] = b"system.posix_acl_access";
const DEFAULT_ACL: &[u8] = b"system.posix_acl_default";
const CAPABILITY: &[u8] = b"security.capability";

/// Whether the kernel lets this attribute be set on an entry of this type; if not, why.
pub fn check(entry_type: EntryType, name: &[u8], value: &[u8]) -> Result<(), &'static str> {
    let has_content = matches!(entry_type, EntryType::Regular | EntryType::Directory);
    let in_space = |space: &[u8]| name.strip_prefix(space).is_some_and(|rest| !rest.is_empty());
    match name {
        ACCESS_ACL | DEFAULT_ACL if entry_type == EntryType::Symlink => Err("symbolic links have no ACL"),
        DEFAULT_ACL if entry_type != EntryType::Directory => Err("only directories have a default ACL"),
        ACCESS_ACL | DEFAULT_ACL if !is_acl(value) => Err("it is no valid ACL"),
        CAPABILITY if !is_capability(value) => Err("it is no valid file capability"),
        ACCESS_ACL | DEFAULT_ACL => Ok(()),
        _ if in_space(b"user.") && !has_content => Err("user attributes are for files and directories"),
        _ if in_space(b"user.") || in_space(b"trusted.") || in_space(b"security.") => Ok(()),
        _ => Err("no such name space"),
    }
}

/// `posix_acl_from_xattr` and `posix_acl_valid` (fs/posix_acl.c): entries in order, each of the three basic ones once,
/// a mask if anybody is named.
fn is_acl(value: &[u8]) -> bool {
    let Some((version, entries)) = value.split_first_chunk::<4>() else { return false };
    if *version != 2u32.to_le_bytes() || entries.is_empty() || !entries.len().is_multiple_of(8) {
        return false;
    }
    // Which tags may follow each other: USER_OBJ, USER*, GROUP_OBJ, GROUP*, MASK?, OTHER.
    let (mut last, mut named) = (0, false);
    for entry in entries.as_chunks::<8>().0 {
        let [t0, t1, p0, p1, ..] = *entry;
        let (tag, permissions) = (u16::from_le_bytes([t0, t1]), u16::from_le_bytes([p0, p1]));
        let follows = match tag {
            0x01 => last == 0,
            0x02 => last == 0x01 || last == 0x02,
            0x04 => last == 0x01 || last == 0x02,
            0x08 => last == 0x04 || last == 0x08,
            0x10 => last == 0x04 || last == 0x08,
            0x20 => last == 0x10 || (!named && last == 0x04),
            _ => false,
        };
        if !follows || permissions > 7 {
            return false;
        }
        named |= tag == 0x02 || tag == 0x08;
        last = tag;
    }
    last == 0x20
}

/// `validheader` (security/commoncap.c): revision 2 of 20 bytes or revision 3 of 24, no flag but "effective".
fn is_capability(value: &[u8]) -> bool {
    let Some(magic) = value.first_chunk::<4>() else { return false };
    matches!((u32::from_le_bytes(*magic) & !1, value.len()), (0x0200_0000, 20) | (0x0300_0000, 24))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(entries: &[(u16, u16)]) -> Vec<u8> {
        let mut value = 2u32.to_le_bytes().to_vec();
        for (tag, permissions) in entries {
            value.extend_from_slice(&tag.to_le_bytes());
            value.extend_from_slice(&permissions.to_le_bytes());
            value.extend_from_slice(&[0xFF; 4]);
        }
        value
    }

    #[test]
    fn acls() {
        for good in [
            &[(1, 6), (4, 4), (0x20, 0)][..],
            &[(1, 7), (2, 6), (2, 1), (4, 4), (8, 4), (0x10, 7), (0x20, 0)],
            &[(1, 7), (4, 4), (0x10, 7), (0x20, 0)],
        ] {
            assert!(is_acl(&acl(good)), "{good:?}");
        }
        for bad in [
            &[][..],
            &[(1, 6), (4, 4)],
            &[(4, 4), (1, 6), (0x20, 0)],
            &[(1, 8), (4, 4), (0x20, 0)],
            &[(1, 7), (2, 6), (4, 4), (0x20, 0)],
            &[(1, 7), (4, 4), (0x20, 0), (0x20, 0)],
            &[(1, 7), (3, 4), (0x20, 0)],
        ] {
            assert!(!is_acl(&acl(bad)), "{bad:?}");
        }
        assert!(!is_acl(&acl(&[(1, 6), (4, 4), (0x20, 0)])[1..]));
    }

    #[test]
    fn names() {
        use EntryType::{Directory, Fifo, Regular, Symlink};
        let good = acl(&[(1, 6), (4, 4), (0x20, 0)]);
        assert!(check(Regular, b"user.x", b"").is_ok());
        assert!(check(Symlink, b"trusted.x", b"").is_ok());
        assert!(check(Symlink, b"user.x", b"").is_err());
        assert!(check(Fifo, b"user.x", b"").is_err());
        assert!(check(Regular, b"user.", b"").is_err());
        assert!(check(Regular, b"btrfs.compression", b"zstd").is_err());
        assert!(check(Regular, b"plain", b"").is_err());
        assert!(check(Regular, ACCESS_ACL, &good).is_ok());
        assert!(check(Fifo, ACCESS_ACL, &good).is_ok());
        assert!(check(Regular, DEFAULT_ACL, &good).is_err());
        assert!(check(Directory, DEFAULT_ACL, &good).is_ok());
        assert!(check(Symlink, ACCESS_ACL, &good).is_err());
        assert!(check(Regular, CAPABILITY, &[1, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).is_ok());
        assert!(check(Regular, CAPABILITY, b"x").is_err());
    }
}
