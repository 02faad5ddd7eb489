//! NVMe Identify: what a controller and a namespace say about themselves. Reading it changes nothing on the device.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// `struct nvme_passthru_cmd` of `include/uapi/linux/nvme_ioctl.h`.
#[repr(C)]
#[derive(Default)]
struct AdminCommand {
    opcode: u8,
    flags: u8,
    rsvd1: u16,
    nsid: u32,
    cdw2: u32,
    cdw3: u32,
    metadata: u64,
    addr: u64,
    metadata_len: u32,
    data_len: u32,
    cdw10: u32,
    cdw11: u32,
    cdw12: u32,
    cdw13: u32,
    cdw14: u32,
    cdw15: u32,
    timeout_ms: u32,
    result: u32,
}
const _: () = assert!(size_of::<AdminCommand>() == 72);

nix::ioctl_readwrite!(ioctl_admin_command, b'N', 0x41, AdminCommand);

/// Bytes of an Identify data structure (NVM Express Base Specification, "Identify command").
pub const IDENTIFY_LENGTH: usize = 4096;

const IDENTIFY: u8 = 0x06;

/// What to identify; the number is the specification's CNS.
#[derive(Debug, Clone, Copy)]
pub enum Identify {
    Namespace(u32),
    Controller,
}

/// Asks an NVMe device, which must be open, about itself. Needs root before Linux 6.2. ENOTTY: it is no NVMe device.
pub fn identify(device: &File, what: Identify) -> io::Result<Box<[u8; IDENTIFY_LENGTH]>> {
    let mut answer = Box::new([0u8; IDENTIFY_LENGTH]);
    let (nsid, cns) = match what {
        Identify::Namespace(nsid) => (nsid, 0),
        Identify::Controller => (0, 1),
    };
    let mut command = AdminCommand {
        opcode: IDENTIFY,
        nsid,
        addr: answer.as_mut_ptr() as u64,
        data_len: IDENTIFY_LENGTH as u32,
        cdw10: cns,
        ..AdminCommand::default()
    };
    // SAFETY: the kernel reads the command and writes at most `data_len` bytes at `addr`, and `result`, before the
    // call returns: `command` is a valid, exclusively borrowed structure of the kernel's layout, and `answer` is
    // alive, writable and IDENTIFY_LENGTH bytes long. Another kind of file answers ENOTTY and touches neither.
    let status = unsafe { ioctl_admin_command(device.as_raw_fd(), &mut command) }?;
    // Positive: the device refused the command.
    if status != 0 {
        return Err(io::Error::other(format!("NVMe status {status:#x}")));
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_files_are_no_nvme_devices() {
        let file = tempfile::tempfile().unwrap();
        for what in [Identify::Controller, Identify::Namespace(1)] {
            assert_eq!(identify(&file, what).unwrap_err().raw_os_error(), Some(nix::libc::ENOTTY));
        }
    }

    #[test]
    fn the_number_of_the_call() {
        assert_eq!(nix::request_code_readwrite!(b'N', 0x41, size_of::<AdminCommand>()), 0xC048_4E41);
    }
}
