//! BTRFS_IOC_ENCODED_WRITE and BTRFS_IOC_ENCODED_READ: extents in their compressed form, in and out.
//!
//! Layout and numbers: kernel `include/uapi/linux/btrfs.h`, `struct btrfs_ioctl_encoded_io_args`.

#![allow(unsafe_code)]

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::libc;

/// The most uncompressed bytes one encoded extent can hold (kernel `BTRFS_MAX_UNCOMPRESSED`).
pub const MAX_CONTENT: u32 = 128 * 1024;

/// `BTRFS_ENCODED_IO_COMPRESSION_ZSTD`.
const ZSTD: u32 = 2;

#[repr(C)]
struct Args {
    iov: *const libc::iovec,
    iovcnt: libc::c_ulong,
    offset: i64,
    flags: u64,
    len: u64,
    unencoded_len: u64,
    unencoded_offset: u64,
    compression: u32,
    encryption: u32,
    reserved: [u8; 64],
}

// The ioctl number contains this size: with another layout every call would end in ENOTTY.
const _: () = {
    assert!(size_of::<Args>() == 128);
    assert!(std::mem::offset_of!(Args, offset) == 16);
    assert!(std::mem::offset_of!(Args, compression) == 56);
    assert!(std::mem::offset_of!(Args, reserved) == 64);
};

nix::ioctl_write_ptr!(ioctl_encoded_write, 0x94, 64, Args);
nix::ioctl_read!(ioctl_encoded_read, 0x94, 64, Args);

/// How the bytes of an extent are compressed (`BTRFS_ENCODED_IO_COMPRESSION_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// As they are.
    None,
    /// One zlib stream (RFC 1950).
    Zlib,
    /// One zstd frame (RFC 8878), perhaps padded with zeros to a sector.
    Zstd,
    /// LZO in sectors of this many bytes.
    Lzo {
        /// Bytes: 4,096 to 65,536.
        sector_size: u32,
    },
    /// A number this program does not know.
    Other(u32),
}

impl From<u32> for Compression {
    fn from(number: u32) -> Self {
        match number {
            0 => Compression::None,
            1 => Compression::Zlib,
            ZSTD => Compression::Zstd,
            3..=7 => Compression::Lzo { sector_size: 4096 << (number - 3) },
            other => Compression::Other(other),
        }
    }
}

/// What [`encoded_read`] found at an offset. All lengths are in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodedExtent {
    /// Of the bytes in the buffer.
    pub compression: Compression,
    /// How much of the buffer was filled: the stored bytes, with the zero padding up to the sector.
    pub bytes: usize,
    /// How much of the file this extent covers from the offset asked for; 0 at the end of the file.
    pub len: u64,
    /// How long the stored bytes are once decompressed.
    pub unencoded_len: u64,
    /// Where in the decompressed bytes the file's data begins; above 0 for a partly used extent.
    pub unencoded_offset: u64,
}

/// The raw arguments of an encoded write, for callers that need more than [`encoded_write`].
/// The kernel checks them all; see `spec/btrfs-encoded-io.md`.
#[derive(Debug, Clone, Copy)]
pub struct WriteRequest {
    /// Where in the file, in bytes: a multiple of the sector size.
    pub offset: u64,
    /// How many bytes of the file the extent fills.
    pub len: u64,
    /// How long the data is once decompressed.
    pub unencoded_len: u64,
    /// Where in the decompressed data the file's bytes begin.
    pub unencoded_offset: u64,
    /// `BTRFS_ENCODED_IO_COMPRESSION_*`
    pub compression: u32,
    /// `BTRFS_ENCODED_IO_ENCRYPTION_*`; kernels know none.
    pub encryption: u32,
    /// None are defined.
    pub flags: u64,
}

impl WriteRequest {
    /// A whole zstd frame that decompresses to `content_len` bytes.
    pub fn zstd(offset: u64, content_len: u32) -> Self {
        WriteRequest {
            offset,
            len: content_len.into(),
            unencoded_len: content_len.into(),
            unencoded_offset: 0,
            compression: ZSTD,
            encryption: 0,
            flags: 0,
        }
    }
}

/// Makes `frame` the extent `offset .. offset + content_len` of `file`, without decompressing it.
///
/// The kernel does not look into `frame`. It must be exactly one zstd frame without a dictionary, with a
/// window of at most 128 KiB, that decompresses to `content_len` bytes; anything else may read back as
/// zeros, without any error. `file` must be open for writing, without O_APPEND (the offset would be ignored).
///
/// Errors: EPERM without CAP_SYS_ADMIN, ENOTTY where there is no such call, EINVAL for a rule of
/// [`encoded_write_pays`](super::encoded_write_pays) or a NOCOW file, ENOSPC (also when free space is only fragmented), EDQUOT.
pub fn encoded_write(file: BorrowedFd<'_>, offset: u64, content_len: u32, frame: &[u8]) -> io::Result<()> {
    // The kernel answers both with "0 bytes, done".
    if frame.is_empty() || content_len == 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "an encoded write needs a frame and content"));
    }
    let written = encoded_write_pieces(file, &[IoSlice::new(frame)], &WriteRequest::zstd(offset, content_len))?;
    if written != frame.len() {
        return Err(io::Error::new(
            io::ErrorKind::WriteZero,
            format!("encoded write took {written} of {} bytes at offset {offset}", frame.len()),
        ));
    }
    Ok(())
}

/// The call itself: the compressed bytes are all `pieces` one after the other. Returns how many it took.
pub fn encoded_write_pieces(file: BorrowedFd<'_>, pieces: &[IoSlice<'_>], request: &WriteRequest) -> io::Result<usize> {
    let args = Args {
        iov: pieces.as_ptr().cast(),
        iovcnt: pieces.len() as libc::c_ulong,
        offset: file_offset(request.offset)?,
        flags: request.flags,
        len: request.len,
        unencoded_len: request.unencoded_len,
        unencoded_offset: request.unencoded_offset,
        compression: request.compression,
        encryption: request.encryption,
        reserved: [0; 64],
    };
    retry(|| {
        // SAFETY: the argument must be a readable struct of the size in the ioctl number, and its iovecs must
        // describe readable memory. `args` is that struct; IoSlice has the layout of iovec on Unix (documented
        // by std) and its borrow outlives the call. The kernel only reads.
        unsafe { ioctl_encoded_write(file.as_raw_fd(), &args) }
    })
}

/// Reads the extent at `offset` as it is stored. A buffer of [`MAX_CONTENT`] bytes is always enough;
/// a smaller one may give ENOBUFS. Holes and preallocated ranges look like uncompressed zeros.
///
/// Errors: EPERM without CAP_SYS_ADMIN, ENOTTY where there is no such call, EBADF if not open for reading.
pub fn encoded_read(file: BorrowedFd<'_>, offset: u64, buf: &mut [u8]) -> io::Result<EncodedExtent> {
    let iov = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
    let mut args = Args {
        iov: &iov,
        iovcnt: 1,
        offset: file_offset(offset)?,
        flags: 0,
        len: 0,
        unencoded_len: 0,
        unencoded_offset: 0,
        compression: 0,
        encryption: 0,
        reserved: [0; 64],
    };
    let bytes = retry(|| {
        // SAFETY: the argument must be a writable struct of the size in the ioctl number, and its iovecs must
        // describe writable memory. `args` is that struct, `iov` and `buf` are alive and exclusively ours
        // during the call, and the kernel writes at most `iov_len` bytes.
        unsafe { ioctl_encoded_read(file.as_raw_fd(), &mut args) }
    })?;
    // Something of a newer kernel that we could only misread (the header asks readers to look).
    if args.encryption != 0 || args.reserved.iter().any(|&byte| byte != 0) {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "the extent is encoded in a way not known here"));
    }
    Ok(EncodedExtent {
        compression: args.compression.into(),
        bytes,
        len: args.len,
        unencoded_len: args.unencoded_len,
        unencoded_offset: args.unencoded_offset,
    })
}

fn file_offset(offset: u64) -> io::Result<i64> {
    i64::try_from(offset).map_err(|_| Errno::EFBIG.into())
}

fn retry(mut call: impl FnMut() -> nix::Result<libc::c_int>) -> io::Result<usize> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
            Ok(count) => return usize::try_from(count).map_err(io::Error::other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn empty_frame_and_empty_content_are_refused_before_the_kernel() {
        let file = tempfile::tempfile().unwrap();
        for (content_len, frame) in [(4096, &b""[..]), (0, &b"x"[..])] {
            let error = encoded_write(file.as_fd(), 0, content_len, frame).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn offsets_beyond_i64_are_refused() {
        let file = tempfile::tempfile().unwrap();
        let error = encoded_write(file.as_fd(), u64::MAX, 4096, b"x").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EFBIG));
        let error = encoded_read(file.as_fd(), 1 << 63, &mut [0; 16]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EFBIG));
    }

    #[test]
    fn compression_numbers() {
        assert_eq!(Compression::from(0), Compression::None);
        assert_eq!(Compression::from(2), Compression::Zstd);
        assert_eq!(Compression::from(7), Compression::Lzo { sector_size: 65536 });
        assert_eq!(Compression::from(8), Compression::Other(8));
    }
}
