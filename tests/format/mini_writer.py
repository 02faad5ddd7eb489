"""A tiny hand builder of archives, straight from spec/format.md, for tests only.

It lays out what it is told, right or wrong: hooks change any region before the checksums over it are computed.
"""

import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

import zstandard
from burst_frames import crc32c  # slow to do in Python; tested against a plain one

GRID = 8 << 20
IDENT = bytes(range(16))
EXTENT = 131072
Hooks = dict[str, Callable[[bytearray], None]]


def skippable(length: int, magic: int = 0x184D2A5B) -> bytes:
    """A skippable frame of `length` bytes in all (8 or more)."""
    return struct.pack("<II", magic, length - 8) + bytes(length - 8)


def hole(n: int) -> bytes:
    return b"\x28\xb5\x2f\xfd\xa0" + struct.pack("<I", n) + struct.pack("<I", (n << 3) + 3)[:3] + b"\0"


def raw_frame(content: bytes) -> bytes:
    """A frame with raw blocks (two at most): fast to make, and of a known length."""
    head = b"\x28\xb5\x2f\xfd\xa0" + struct.pack("<I", len(content))
    if len(content) < EXTENT:
        return head + struct.pack("<I", len(content) << 3 | 1)[:3] + content
    half = len(content) // 2
    first, last = content[:half], content[half:]
    return (head + struct.pack("<I", len(first) << 3)[:3] + first
            + struct.pack("<I", len(last) << 3 | 1)[:3] + last)


def zstd_frame(content: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=3).compress(content)


def frames_of(content: bytes, make: Callable[[bytes], bytes] = zstd_frame) -> list[tuple[bytes, int]]:
    cuts = [content[i:i + EXTENT] for i in range(0, len(content), EXTENT)]
    return [(make(c), len(c)) for c in cuts]


def attribute(tag: int, payload: bytes) -> bytes:
    return struct.pack("<BI", tag, len(payload)) + payload


def xattrs(pairs: dict[bytes, bytes]) -> bytes:
    rows = (struct.pack("<BI", len(n), len(v)) + n + v for n, v in sorted(pairs.items()))
    return attribute(0x81, b"".join(rows))


@dataclass
class Item:
    name: bytes
    mode: int = 0o100644
    content: bytes = b""  # what CRC-32 and the size are about (holes included)
    frames: list[tuple[bytes, int]] | None = None  # given: method 93
    descriptor: bool = False  # bit 3
    attributes: bytes = b""
    overflow: bytes = b""
    pad: int | None = None  # payload of the pad field; None: none for method 93, 0 for STORE
    data_at: int | None = None  # choose the pad so that the data begins here
    tail: list[bytes] = field(default_factory=list)  # skippable frames at the end of the data
    tail_to: int | None = None  # fill with a padding frame up to this address
    uid: int = 1000
    gid: int = 100
    mtime: int = 1_700_000_001
    ns: int = 5
    offset: int = 0
    csize: int = 0


def dos(mtime: int) -> bytes:
    import time
    t = time.gmtime(min(max(mtime, 315532800), 4354819198))
    return struct.pack("<HH", t.tm_hour << 11 | t.tm_min << 5 | t.tm_sec >> 1,
                       t.tm_year - 1980 << 9 | t.tm_mon << 5 | t.tm_mday)


def fixed(i: Item) -> bytes:
    """Version needed, flags, method, time, date: the same in both headers."""
    zip64 = max(i.csize, len(i.content)) >= 0xFFFFFFFF
    version = 63 if i.frames is not None else 45 if zip64 else 20
    try:
        utf8 = bool(i.name.decode()) and max(i.name) > 0x7F
    except UnicodeDecodeError:
        utf8 = False
    flags = (8 if i.descriptor else 0) | (0x800 if utf8 else 0)
    return struct.pack("<HHH", version, flags, 93 if i.frames is not None else 0) + dos(i.mtime)


def local_header(i: Item, pad: int | None) -> bytearray:
    crc, extra = zlib.crc32(i.content), b""
    sizes = (i.csize, len(i.content))
    if i.descriptor:
        crc, sizes, extra = 0, (0xFFFFFFFF,) * 2, struct.pack("<HHQQ", 1, 16, 0, 0)
    if pad is not None:
        extra += struct.pack("<HH", 0x7562, pad) + bytes(pad)
    return bytearray(b"PK\3\4" + fixed(i) + struct.pack("<IIIHH", crc, *sizes, len(i.name), len(extra))
                     + i.name + extra)


def data_93(i: Item, ordinal: int, pos: int) -> bytes:
    """Frames from `pos` on, with padding and start-of-part frames where the grid asks for them."""
    start, out, content = pos, bytearray(), 0

    def put(b: bytes) -> None:
        out.extend(b)

    def sop() -> None:
        at = start + len(out)
        put(struct.pack("<II", 0x184D2A55, 40) + IDENT + struct.pack("<QQQ", at, ordinal, content))

    def room() -> int:
        return GRID - (start + len(out)) % GRID

    def make_room(n: int) -> None:
        left = room()
        if left == GRID and (start + len(out)):
            sop()
        elif left != n and left < n + 8:
            put(skippable(left))
            sop()

    for frame, n in i.frames or []:
        make_room(len(frame))
        put(frame)
        content += n
    tail = list(i.tail)
    if i.frames and i.frames[-1][1] == EXTENT and not tail:
        tail = [skippable(8)]
    for t in tail:
        make_room(len(t))
        put(t)
    if i.tail_to is not None:
        put(skippable(i.tail_to - start - len(out)))
    if i.descriptor and (room() < 24 or room() == GRID):
        if room() < GRID:
            put(skippable(room()))
        sop()
    return bytes(out)


def build(items: list[Item], root: bytes = b"", hooks: Hooks | None = None, zip64: bool = False,
          trailer_length: int = 192, record_length: int = 32) -> bytes:
    """The archive. Hooks by name: local:N, data (region), attributes, map, table, trailer, header:N, end."""
    hooks = hooks or {}

    def hook(name: str, region: bytes) -> bytes:
        b = bytearray(region)
        hooks.get(name, lambda _: None)(b)
        return bytes(b)

    data = bytearray()
    for n, i in enumerate(items):
        i.offset = len(data)
        pad = 0 if i.frames is None and i.pad is None else i.pad
        if i.data_at is not None:
            pad = i.data_at - i.offset - len(local_header(i, 0))
        body = i.content if i.frames is None else data_93(i, n, i.offset + len(local_header(i, pad)))
        i.csize = len(body)
        data += hook(f"local:{n}", bytes(local_header(i, pad))) + body
        if i.descriptor:
            data += b"PK\7\x08" + struct.pack("<IQQ", zlib.crc32(i.content), i.csize, len(i.content))
    data = hook("data", bytes(data))
    attributes = b"BURSTATR" + root
    directory, header_at = b"", []
    for n, i in enumerate(items):
        attrs = i.attributes
        if i.overflow:
            where = len(attributes)
            attrs += attribute(0x85, struct.pack("<QII", where, len(i.overflow), crc32c(i.overflow)))
            attributes += i.overflow
        burst = b"BRST" + struct.pack("<qI", i.mtime, i.ns) + attrs
        extra = struct.pack("<HHBi", 0x5455, 5, 1, i.mtime) if -1 << 31 <= i.mtime < 1 << 31 else b""
        extra += struct.pack("<HHBBIBI", 0x7875, 11, 1, 4, i.uid, 4, i.gid)
        extra += struct.pack("<HH", 0x7542, len(burst)) + burst
        external = i.mode << 16 | (16 if i.mode >> 12 == 4 else 0)
        header_at.append(len(directory))
        directory += hook(f"header:{n}", b"PK\1\2" + struct.pack("<H", 0x033F) + fixed(i) + struct.pack(
            "<IIIHHHHHII", zlib.crc32(i.content), i.csize, len(i.content), len(i.name), len(extra), 0, 0, 0,
            external, i.offset) + i.name + extra)
    attributes = hook("attributes", attributes)
    part_map = b""
    for p in range(0, len(data), GRID):
        n = max(k for k, i in enumerate(items) if i.offset <= p)
        i, kind, value = items[n], 1, 0
        if p > i.offset and i.frames is not None:
            kind, value = 2, struct.unpack_from("<Q", data, p + 40)[0]
        elif p > i.offset:
            end = items[n + 1].offset if n + 1 < len(items) else len(data)
            kind, value = 3, max(0, p - (end - i.csize))  # a header over the grid has no right value
        part_map += struct.pack("<IB3xQQQ", crc32c(data[p:p + GRID]), kind, n, value, header_at[n]) + b"\xee" * (record_length - 32)
    part_map = hook("map", part_map)
    table = hook("table", b"".join(struct.pack("<I", crc32c(directory[k:k + (1 << 20)]))
                                   for k in range(0, len(directory), 1 << 20)))
    map_at = len(data) + len(attributes)
    table_at = map_at + len(part_map)
    dir_at = table_at + len(table) + trailer_length
    end, dirs = b"", sum(i.mode >> 12 == 4 for i in items)
    total = len(items)
    if zip64 or total >= 65535 or max(dir_at, len(directory)) >= 0xFFFFFFFF:
        end = b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 0x033F, 45, 0, 0, total, total, len(directory), dir_at)
        end += b"PK\6\7" + struct.pack("<IQI", 0, dir_at + len(directory), 1)
    c = min(total, 65535)
    end += b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, c, c, min(len(directory), 0xFFFFFFFF),
                                   min(dir_at, 0xFFFFFFFF), 0)
    end = hook("end", end)
    trailer = struct.pack(
        "<8sHHIQQ16sQQQIIQQIIQQQQQQQ16x", b"BURSTTRL", 1, 0, trailer_length, 0, 0, IDENT, dir_at + len(directory) + len(end),
        len(data), len(root), crc32c(root), record_length, map_at, len(part_map) // record_length, crc32c(part_map + table), 0, table_at,
        dir_at, len(directory), total, dirs, sum(len(i.content) for i in items), GRID)
    trailer = hook("trailer", trailer)
    trailer += b"\xee" * (trailer_length - 192) + struct.pack("<I", trailer_length)
    trailer += struct.pack("<I8s", crc32c(trailer), b"BURSTEND")
    return data + attributes + part_map + table + trailer + directory + end


def noise(n: int, seed: int = 1) -> bytes:
    """Incompressible bytes, the same at every run."""
    return random.Random(seed).randbytes(n)


def write_sparse(path: str, size: int) -> None:
    """An archive with one stored file of `size` zeros (4 GiB or more: all ZIP64 fields), itself a sparse file."""
    crc, chunk = 0, bytes(1 << 24)
    for at in range(0, size, len(chunk)):
        crc = zlib.crc32(chunk[:size - at], crc)
    name = b"zeros"
    same = struct.pack("<HHH", 45, 0, 0) + dos(0)
    local = b"PK\3\4" + same + struct.pack("<IIIHHHHQQ", crc, 0xFFFFFFFF, 0xFFFFFFFF, len(name), 0, 1, 16, size, size)
    pad = 4096 - len(local) - len(name) - 4
    local = local[:30] + name + local[30:] + struct.pack("<HH", 0x7562, pad) + bytes(pad)
    local = local[:28] + struct.pack("<H", 4096 - 30 - len(name)) + local[30:]
    data_end = 4096 + size
    extra = struct.pack("<HHQQ", 1, 16, size, size) + struct.pack("<HHBi", 0x5455, 5, 1, 0)
    extra += struct.pack("<HHBBIBI", 0x7875, 11, 1, 4, 0, 4, 0) + struct.pack("<HH4sqI", 0x7542, 16, b"BRST", 0, 0)
    directory = b"PK\1\2" + struct.pack("<H", 0x033F) + same + struct.pack(
        "<IIIHHHHHII", crc, 0xFFFFFFFF, 0xFFFFFFFF, len(name), len(extra), 0, 0, 0, 0o100644 << 16, 0) + name + extra
    zero, first = crc32c(bytes(GRID)), crc32c(local + bytes(GRID - 4096))
    part_map = b""
    for p in range(0, data_end, GRID):
        crc = first if p == 0 else zero if p + GRID <= data_end else crc32c(bytes(data_end - p))
        part_map += struct.pack("<IB3xQQQ", crc, 3 if p else 1, 0, p - 4096 if p else 0, 0)
    table = struct.pack("<I", crc32c(directory))
    map_at = data_end + 8
    dir_at = map_at + len(part_map) + len(table) + 192
    end = b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 0x033F, 45, 0, 0, 1, 1, len(directory), dir_at)
    end += b"PK\6\7" + struct.pack("<IQI", 0, dir_at + len(directory), 1)
    end += b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(directory), 0xFFFFFFFF, 0)
    trailer = struct.pack(
        "<8sHHIQQ16sQQQIIQQIIQQQQQQQ16xI", b"BURSTTRL", 1, 0, 192, 0, 0, IDENT, dir_at + len(directory) + len(end),
        data_end, 0, 0, 32, map_at, len(part_map) // 32, crc32c(part_map + table), 0, map_at + len(part_map),
        dir_at, len(directory), 1, 0, size, GRID, 192)
    trailer += struct.pack("<I8s", crc32c(trailer), b"BURSTEND")
    with open(path, "wb") as f:
        f.write(local)
        f.seek(data_end)
        f.write(b"BURSTATR" + part_map + table + trailer + directory + end)
