//! What is mounted where (`/proc/self/mountinfo`, proc(5)), and a mount that nobody else sees (fsopen(2), fsmount(2)).

#![allow(unsafe_code)]

use std::ffi::{CStr, CString, OsString};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc;

/// One line of mountinfo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    pub id: u64,
    /// Where it is, as this process sees it.
    pub point: PathBuf,
    /// Whether the file system itself is read-only, not only this view of it.
    pub is_read_only: bool,
}

/// Everything that is mounted in the namespace of this process.
pub fn mounts() -> io::Result<Vec<Mount>> {
    Ok(std::fs::read("/proc/self/mountinfo")?.split(|&byte| byte == b'\n').filter_map(parse).collect())
}

/// The identifier of the mount that an open file was found through.
pub fn mount_of(file: impl AsRawFd) -> io::Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd()))?;
    let found = text.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok());
    found.ok_or_else(|| io::Error::other("/proc/self/fdinfo names no mount"))
}

/// "36 35 98:0 /root /mnt rw,noatime master:1 - ext3 /dev/root rw,errors=continue"
fn parse(line: &[u8]) -> Option<Mount> {
    let mut words = line.split(|&byte| byte == b' ');
    let id = std::str::from_utf8(words.next()?).ok()?.parse().ok()?;
    let point = PathBuf::from(OsString::from_vec(unescape(words.nth(3)?)));
    let options = words.skip_while(|word| *word != b"-").nth(3)?;
    Some(Mount { id, point, is_read_only: options.split(|&byte| byte == b',').any(|option| option == b"ro") })
}

/// Spaces and the like are written as octal numbers: "\040".
pub fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let number = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match number.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(number) if byte == b'\\' => {
                out.push(number);
                rest = after.get(3..).unwrap_or_default();
            }
            _ => {
                out.push(byte);
                rest = after;
            }
        }
    }
    out
}

/// Numbers of `include/uapi/linux/mount.h`.
const FSOPEN_CLOEXEC: libc::c_uint = 1;
const FSCONFIG_SET_STRING: libc::c_uint = 1;
const FSCONFIG_CMD_CREATE: libc::c_uint = 6;
const FSMOUNT_CLOEXEC: libc::c_uint = 1;
const MOUNT_ATTR_NOSUID: libc::c_uint = 0x2;
const MOUNT_ATTR_NODEV: libc::c_uint = 0x4;
const MOUNT_ATTR_NOEXEC: libc::c_uint = 0x8;
const MOUNT_ATTR_NOATIME: libc::c_uint = 0x10;

/// Mounts `device` at no place: its root is reached through the descriptor only (openat, or /proc/self/fd), no other
/// process sees it, and it ends with the descriptor, however this process ends.
///
/// Errors: EPERM without CAP_SYS_ADMIN, ENOSYS before Linux 5.2, those of mount(2).
pub fn mount_detached(kind: &CStr, device: &Path, options: &[(&CStr, &str)]) -> io::Result<OwnedFd> {
    let source = device.to_str().ok_or(io::ErrorKind::InvalidInput)?;
    // SAFETY: fsopen reads one NUL-terminated string, which `kind` is.
    let context = descriptor(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), FSOPEN_CLOEXEC) })?;
    for (name, value) in std::iter::once((c"source", source)).chain(options.iter().copied()) {
        let value = CString::new(value)?;
        // SAFETY: FSCONFIG_SET_STRING reads two NUL-terminated strings, which live until the call ends.
        check(unsafe {
            libc::syscall(
                libc::SYS_fsconfig,
                context.as_raw_fd(),
                FSCONFIG_SET_STRING,
                name.as_ptr(),
                value.as_ptr(),
                0,
            )
        })?;
    }
    let null = std::ptr::null::<libc::c_char>();
    // SAFETY: FSCONFIG_CMD_CREATE takes neither name nor value: both must be null, the last 0.
    check(unsafe { libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), FSCONFIG_CMD_CREATE, null, null, 0) })?;
    let attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOATIME;
    // SAFETY: fsmount takes numbers only.
    descriptor(unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), FSMOUNT_CLOEXEC, attributes) })
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    Ok(Errno::result(result)?)
}

fn descriptor(result: libc::c_long) -> io::Result<OwnedFd> {
    let number = RawFd::try_from(check(result)?).map_err(io::Error::other)?;
    // SAFETY: the call that gave this number succeeded: it is an open descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_mountinfo() {
        let line = br"36 35 98:0 /r /mnt/a\040b\134c rw,noatime master:1 shared:2 - ext3 /dev/root ro,errors=continue";
        let expected = Mount { id: 36, point: PathBuf::from(r"/mnt/a b\c"), is_read_only: true };
        assert_eq!(parse(line), Some(expected));
        let line = b"1 1 0:1 / / ro - tmpfs none rw";
        assert_eq!(parse(line), Some(Mount { id: 1, point: "/".into(), is_read_only: false }));
        for bad in [&b""[..], b"1 2 3", b"x 1 0:1 / / rw - tmpfs none rw", br"1 1 0:1 / \04"] {
            assert_eq!(parse(bad), None);
        }
    }

    #[test]
    fn this_process_has_mounts() {
        let found = mounts().unwrap();
        let here = mount_of(std::fs::File::open("/proc").unwrap()).unwrap();
        assert_eq!(found.iter().find(|mount| mount.id == here).unwrap().point, Path::new("/proc"));
    }
}
