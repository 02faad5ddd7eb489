"""Where each frame of an archive lies, and what BTRFS has on disk at the same place of the restored file."""

import ctypes
import fcntl
import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from burst_archive import Archive
from burst_frames import EXTENT, GRID, is_skippable, parse_frame, parse_skippable

BLOCK = 4096
ZSTD = 2
FULL_HOLE = bytes.fromhex("28b52ffda0 00000200 030010 00")


@dataclass
class Frame:
    path: bytes
    offset: int  # in the file
    size: int  # of the content
    data: bytes

    @property
    def saves_a_block(self) -> bool:
        return -(-len(self.data) // BLOCK) < -(-self.size // BLOCK)


def frames(path: Path) -> Iterator[Frame]:
    """All frames but those of holes, by the directory and the frames' own headers."""
    archive = Archive(os.open(path, os.O_RDONLY))
    with open(path, "rb") as f, mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) as m:
        for e in archive.entries:
            at, content = e.data, 0
            while at < e.end and e.method == 93:
                if m[at:at + 13] == FULL_HOLE:  # a large file may have a million
                    at, content = at + 13, content + EXTENT
                    continue
                # A frame never crosses a grid point.
                b = memoryview(m[at:min(e.end, (at // GRID + 1) * GRID, at + 135_168)])
                if is_skippable(b):
                    at += parse_skippable(b).length
                else:
                    f = parse_frame(b)
                    if not f.hole:
                        yield Frame(e.path, content, f.size, bytes(b[:f.length]))
                    at, content = at + f.length, content + f.size


class Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]


class EncodedIo(ctypes.Structure):
    """struct btrfs_ioctl_encoded_io_args of linux/btrfs.h."""
    _fields_ = [("iov", ctypes.POINTER(Iovec)), ("iovcnt", ctypes.c_ulong), ("offset", ctypes.c_int64),
                ("flags", ctypes.c_uint64), ("len", ctypes.c_uint64), ("unencoded_len", ctypes.c_uint64),
                ("unencoded_offset", ctypes.c_uint64), ("compression", ctypes.c_uint32),
                ("encryption", ctypes.c_uint32), ("reserved", ctypes.c_uint8 * 64)]


ENCODED_READ = 2 << 30 | ctypes.sizeof(EncodedIo) << 16 | 0x94 << 8 | 64  # _IOR(BTRFS_IOCTL_MAGIC, 64, ...)


def encoded_read(fd: int, offset: int) -> tuple[int, int, int, bytes]:
    """Compression, length and offset of the piece within what the extent holds, and the bytes on disk."""
    buffer = ctypes.create_string_buffer(256 * 1024)
    iov = Iovec(ctypes.addressof(buffer), len(buffer))
    args = EncodedIo(iov=ctypes.pointer(iov), iovcnt=1, offset=offset)
    n = fcntl.ioctl(fd, ENCODED_READ, args)
    return args.compression, args.len, args.unencoded_offset, buffer.raw[:n]


def is_on_disk(fd: int, frame: Frame) -> bool:
    """The extent begins with exactly these bytes; BTRFS fills its last sector with zeros."""
    compression, length, offset, data = encoded_read(fd, frame.offset)
    n = len(frame.data)
    return ((compression, offset) == (ZSTD, 0) and length == frame.size and data[:n] == frame.data
            and not any(data[n:]))
