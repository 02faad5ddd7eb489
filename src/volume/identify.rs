//! What EC2 calls an NVMe disk: the name of the block device mapping and the volume id, from the vendor-specific
//! bytes of the Identify data structures (published by AWS as code: amazon-ec2-utils, `ebsnvme-id`).

use crate::linux::nvme::IDENTIFY_LENGTH;

/// Vendor-specific bytes of Identify Controller: 32 of device name.
const CONTROLLER_NAME: std::ops::Range<usize> = 3072..3104;
/// Vendor-specific bytes of Identify Namespace: the same, and 65 of volume id. All zeros on older hosts.
const NAMESPACE_NAME: std::ops::Range<usize> = 384..416;
const NAMESPACE_VOLUME: std::ops::Range<usize> = 416..481;

/// What was found in Identify data; nothing is required to be there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identified {
    /// Without "/dev/", for example "sdf" or "xvdba".
    pub ec2_name: Option<String>,
    /// "ephemeral0": of instance store volumes.
    pub virtual_name: Option<String>,
    /// "vol-" and hexadecimal digits.
    pub volume_id: Option<String>,
}

/// Reads both structures; the namespace wins, because one controller may serve several volumes.
pub fn parse(controller: &[u8; IDENTIFY_LENGTH], namespace: Option<&[u8; IDENTIFY_LENGTH]>) -> Identified {
    let field = |bytes: &[u8; IDENTIFY_LENGTH], range| text(bytes.get(range).unwrap_or_default());
    let name = namespace
        .map(|n| field(n, NAMESPACE_NAME))
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| field(controller, CONTROLLER_NAME));
    // Instance store: "ephemeral0:sdb", or "ephemeral0:none" where the mapping names no device.
    let (virtual_name, device) = match name.split_once(':') {
        Some((virtual_name, device)) => (virtual_name, device),
        None if name.starts_with("ephemeral") => (name.as_str(), ""),
        None => ("", name.as_str()),
    };
    let device = device.strip_prefix("/dev/").unwrap_or(device);
    Identified {
        ec2_name: (is_name(device) && device != "none").then(|| device.to_owned()),
        virtual_name: is_name(virtual_name).then(|| virtual_name.to_owned()),
        volume_id: namespace.and_then(|n| volume_id(&field(n, NAMESPACE_VOLUME))),
    }
}

/// The id of an EBS volume with its dash, from a serial number (which has none) or as people write it.
pub fn volume_id(text: &str) -> Option<String> {
    let digits = text.strip_prefix("vol")?;
    let digits = digits.strip_prefix('-').unwrap_or(digits);
    let hexadecimal = digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    (matches!(digits.len(), 8 | 17) && hexadecimal).then(|| format!("vol-{digits}"))
}

/// Up to the first NUL, without the spaces around it.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).trim().to_owned()
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(fields: &[(usize, &[u8])]) -> [u8; IDENTIFY_LENGTH] {
        let mut bytes = [0; IDENTIFY_LENGTH];
        for (at, field) in fields {
            bytes[*at..at + field.len()].copy_from_slice(field);
        }
        bytes
    }

    fn names(field: &[u8]) -> (Option<String>, Option<String>) {
        let found = parse(&data(&[(3072, field), (3104, b"behind the field")]), None);
        (found.ec2_name, found.virtual_name)
    }

    #[test]
    fn names_of_block_device_mappings() {
        let spaces = |name: &str| format!("{name:<32}").into_bytes();
        for (field, expected) in [
            (spaces("/dev/sdf"), Some("sdf")),
            (spaces("sdf"), Some("sdf")),
            (b"/dev/xvdba".to_vec(), Some("xvdba")),
            (b"sda1\0garbage".to_vec(), Some("sda1")),
            (b"/dev/sdf\0                       ".to_vec(), Some("sdf")),
            (spaces(""), None),
            (Vec::new(), None),
            (b"/dev/../etc".to_vec(), None),
            (vec![0xff; 32], None),
        ] {
            assert_eq!(names(&field), (expected.map(Into::into), None), "{field:?}");
        }
    }

    #[test]
    fn names_of_instance_store() {
        for (field, device, virtual_name) in [
            (&b"ephemeral0:sdb"[..], Some("sdb"), Some("ephemeral0")),
            (b"ephemeral1:/dev/sdc             ", Some("sdc"), Some("ephemeral1")),
            (b"ephemeral12:none", None, Some("ephemeral12")),
            (b"ephemeral3", None, Some("ephemeral3")),
        ] {
            assert_eq!(names(field), (device.map(Into::into), virtual_name.map(Into::into)));
        }
    }

    #[test]
    fn the_namespace_wins() {
        let controller = data(&[(3072, b"/dev/sdf")]);
        let namespace = data(&[(384, b"/dev/sdg"), (416, b"vol-0123456789abcdef0")]);
        let found = parse(&controller, Some(&namespace));
        assert_eq!(found.ec2_name.as_deref(), Some("sdg"));
        assert_eq!(found.volume_id.as_deref(), Some("vol-0123456789abcdef0"));
        // Zeros on older hosts.
        let found = parse(&controller, Some(&data(&[])));
        assert_eq!((found.ec2_name.as_deref(), found.volume_id), (Some("sdf"), None));
    }

    #[test]
    fn volume_ids() {
        let id = Some("vol-0123456789abcdef0".to_owned());
        assert_eq!(volume_id("vol0123456789abcdef0"), id);
        assert_eq!(volume_id("vol-0123456789abcdef0"), id);
        assert_eq!(volume_id("vol1234abcd").as_deref(), Some("vol-1234abcd"));
        for bad in
            ["", "vol", "vol-", "0123456789abcdef0", "vol0123456789ABCDEF0", "vol-0123456789abcdef01", "vol--1234abcd"]
        {
            assert_eq!(volume_id(bad), None, "{bad}");
        }
    }
}
