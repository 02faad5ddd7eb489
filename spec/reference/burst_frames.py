"""CRC-32C and Zstandard frames, parsed by hand as sections 4.1 to 5.1 of spec/format.md ask."""

import struct
from dataclasses import dataclass
from functools import cache

GRID = 8 << 20
EXTENT = 131072
MAX_FRAME = 135168
FRAME, START_OF_PART, PADDING = 0xFD2FB528, 0x184D2A55, 0x184D2A5B


class Refused(Exception):
    """The archive breaks a rule; the message begins with the anchor of the rule in spec/format.md."""

    def __init__(self, anchor: str, why: str):
        super().__init__(f"spec/format.md#{anchor}: {why}")
        self.anchor = anchor


def need(ok: object, anchor: str, why: str) -> None:
    if not ok:
        raise Refused(anchor, why)


def _crc_table() -> list[int]:
    table = []
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
        table.append(n)
    return table


_TABLE = _crc_table()
_COLUMNS = [bytes(v >> shift & 255 for v in _TABLE) for shift in (0, 8, 16, 24)]
LANES = 4096


def _steps(c: int, data: bytes) -> int:
    for b in data:
        c = _TABLE[(c ^ b) & 255] ^ c >> 8
    return c


@cache
def _zeros(n: int) -> list[int]:
    """What n zero bytes make of each bit of the register: the CRC is linear."""
    return [_steps(1 << bit, bytes(n)) for bit in range(32)]


@cache
def _of_zeros(n: int) -> int:
    return _crc32c(bytes(n))


def crc32c(data: bytes) -> int:
    """The CRC-32C of data; parts of zeros, of which sparse archives are full, are computed once."""
    return _of_zeros(len(data)) if data.count(0) == len(data) else _crc32c(data)


def _crc32c(data: bytes) -> int:
    """Large data is cut into LANES equal runs that step together, as bytes of long integers: several times faster
    than byte after byte. Their registers are then put together in order."""
    n = len(data) // LANES
    if n < 64:
        return _steps(0xFFFFFFFF, data) ^ 0xFFFFFFFF
    number = int.from_bytes
    lanes = [255, 255, 255, 255]  # the four register bytes of all lanes; only the first lane begins with ones
    for i in range(n):
        index = (lanes[0] ^ number(data[i:n * LANES:n], "little")).to_bytes(LANES, "little")
        step = [number(index.translate(column), "little") for column in _COLUMNS]
        lanes = [lanes[1] ^ step[0], lanes[2] ^ step[1], lanes[3] ^ step[2], step[3]]
    c, zeros = 0, _zeros(n)
    for register in zip(*(v.to_bytes(LANES, "little") for v in lanes), strict=True):
        shifted = 0
        for bit in range(32):
            if c >> bit & 1:
                shifted ^= zeros[bit]
        c = shifted ^ number(register, "little")
    return _steps(c, data[n * LANES:]) ^ 0xFFFFFFFF


@dataclass
class Frame:
    length: int  # bytes in the archive
    size: int  # bytes of content; 0 for a skippable frame
    hole: bool = False
    magic: int = FRAME


def parse_skippable(b: memoryview) -> Frame:
    """The skippable frame at the start of b. b ends where neither grid nor entry may be crossed."""
    need(len(b) >= 8, "padding", "a skippable frame has no room for its header")
    magic, n = struct.unpack_from("<II", b)
    need(n + 8 <= len(b), "padding", "a skippable frame crosses a grid point or the end of its entry")
    return Frame(n + 8, 0, magic=magic)


def is_skippable(b: memoryview) -> bool:
    return len(b) >= 4 and struct.unpack_from("<I", b)[0] & 0xFFFFFFF0 == 0x184D2A50


def parse_frame(b: memoryview) -> Frame:
    """The Zstandard frame at the start of b (RFC 8878 section 3.1.1), with the limits of section 4.1."""
    at = 0

    def take(n: int) -> int:
        nonlocal at
        need(at + n <= len(b), "frames", "a frame is cut, or crosses a grid point or the end of its entry")
        at += n
        return int.from_bytes(b[at - n:at], "little")

    need(take(4) == FRAME, "method-93-data", "neither a frame nor a skippable frame")
    flags = take(1)
    single = flags >> 5 & 1
    need(not flags & 0x0F, "frames", "dictionary, content checksum or reserved bit is set")
    window = None if single else take(1)
    need(window is None or window <= 0x38, "frames", "Window_Descriptor above 0x38")
    width = (single, 2, 4, 8)[flags >> 6]
    need(width, "frames", "no content size")
    size = take(width) + (256 if width == 2 else 0)
    need(1 <= size <= EXTENT, "frames", f"content size {size}")
    # Windows are 1 KiB * 2^(upper bits) and as many eighths of that as the lower 3 bits say, here 128 KiB at most.
    limit = size if window is None else (8 + (window & 7)) << 7 + (window >> 3)
    plain = blocks = 0
    kind = block_size = last = 0
    while not last:
        head = take(3)
        last, kind, block_size = head & 1, head >> 1 & 3, head >> 3
        need(kind != 3, "frames", "reserved block type")
        need(block_size <= limit, "frames", f"Block_Size over {limit}")
        plain += block_size if kind < 2 else 0
        need(plain <= size, "frames", "raw and RLE blocks regenerate more than the content size")
        take(1 if kind == 1 else block_size)
        need(at <= MAX_FRAME, "frames", "frame over 132 KiB")
        blocks += 1
    hole = flags == 0xA0 and at == 13 and kind == 1 and block_size == size and b[12] == 0
    return Frame(at, size, hole)


@dataclass
class StartOfPart:
    ident: bytes
    offset: int
    ordinal: int
    content: int


def parse_start_of_part(b: memoryview) -> StartOfPart:
    need(len(b) >= 48 and b[:8] == struct.pack("<II", START_OF_PART, 40), "start-of-part",
         "no start-of-part frame of 48 bytes where one must stand")
    return StartOfPart(*struct.unpack_from("<16sQQQ", b, 8))
