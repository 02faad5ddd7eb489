"""How files are stored: their extents by FIEMAP, and what compsize says of a tree."""

import fcntl
import os
import struct
from pathlib import Path
from typing import NamedTuple

from btrfs_volume import run

FIEMAP = 0xC020660B  # _IOWR('f', 11, struct fiemap)
HEADER, ROW = struct.Struct("=QQIIII"), struct.Struct("=QQQQQIIII")
BATCH = 128
MAX_ENCODED = 128 << 10
SYNC = 0x1
LAST, ENCODED, INLINE, UNWRITTEN = 0x1, 0x8, 0x200, 0x800


class Extent(NamedTuple):
    at: int
    length: int
    flags: int
    """ENCODED and INLINE."""


def extents(path: Path | str) -> list[Extent]:
    """In order. Those that hold the content as it is count as one if they meet: how many there are says nothing of what
    is stored."""
    found: list[Extent] = []
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        start = 0
        while True:
            buffer = bytearray(HEADER.pack(start, (1 << 63) - start, SYNC, 0, BATCH, 0) + bytes(BATCH * ROW.size))
            fcntl.ioctl(fd, FIEMAP, buffer)
            count = HEADER.unpack_from(buffer)[3]
            for n in range(count):
                at, _, length, _, _, flags, *_ = ROW.unpack_from(buffer, HEADER.size + n * ROW.size)
                start = at + length
                e = Extent(at, length, flags & (ENCODED | INLINE))
                if flags & UNWRITTEN:
                    continue
                if found and e.flags == found[-1].flags == 0 and found[-1].at + found[-1].length == at:
                    found[-1] = Extent(found[-1].at, found[-1].length + length, 0)
                else:
                    found.extend(pieces(e))
            if count == 0 or flags & LAST:
                return found
    finally:
        os.close(fd)


def pieces(e: Extent) -> list[Extent]:
    """FIEMAP shows two compressed extents as one if they happen to lie as far apart on the disk as in the file (fiemap.c,
    emit_fiemap_extent). Each has at most 128 KiB of content."""
    if e.flags != ENCODED:
        return [e]
    starts = range(e.at, e.at + e.length, MAX_ENCODED)
    return [Extent(at, min(MAX_ENCODED, e.at + e.length - at), ENCODED) for at in starts]


def stored(tree: Path) -> dict[str, list[Extent]]:
    """Of all regular files, by their path."""
    found = {}
    for directory, _, names in os.walk(tree):
        for name in names:
            path = os.path.join(directory, name)
            if os.path.isfile(path) and not os.path.islink(path):
                found[os.path.relpath(path, tree)] = extents(path)
    return found


def compsize(tree: Path) -> dict[str, list[int]]:
    """By kind (TOTAL, none, zstd): bytes on disk, of content, and of content that files refer to."""
    lines = run("compsize", "-b", tree).splitlines()
    rows = [line.split() for line in lines if line[:1].isalpha() and "%" in line]
    return {kind: list(map(int, numbers)) for kind, _, *numbers in rows}
