#!/usr/bin/env python3
"""Checks the layout of a BURST archive: sections 2 to 5 and 9 to 12 of spec/format.md, and nothing else.

Shares no code with the reference reader, decompresses nothing, and parses forward from every grid point, each part by
itself. The archive is mapped, not loaded; 16 bytes of memory per entry. Reports every part's first problem.

  check_grid.py [-v] [--no-crc] ARCHIVE      -v: a line per part; --no-crc: do not read the parts for their CRC-32C
"""

import argparse
import mmap
import struct
import sys
from array import array
from bisect import bisect_right
from collections import Counter, namedtuple

STEP = 8 * 1024 * 1024
CRC = []
for byte in range(256):
    for _ in range(8):
        byte = (byte >> 1) ^ (0x82F63B78 * (byte & 1))
    CRC.append(byte)
ZEROS: dict[int, int] = {}

Head = namedtuple("Head", "fixed crc csize usize name offset at")  # fixed: version, flags, method, time, date


class Bad(Exception):
    pass


def must(ok: object, why: str) -> None:
    if not ok:
        raise Bad(why)


def crc32c(data: bytes) -> int:
    zero = data.count(0) == len(data)
    if zero and len(data) in ZEROS:  # sparse archives have many such parts
        return ZEROS[len(data)]
    c = 0xFFFFFFFF
    for b in data:
        c = CRC[(c & 255) ^ b] ^ (c >> 8)
    if zero:
        ZEROS[len(data)] = c ^ 0xFFFFFFFF
    return c ^ 0xFFFFFFFF


class Checker:
    def __init__(self, m: mmap.mmap):
        self.m = m
        self.find_regions()
        self.read_directory()
        self.sums: Counter[str] = Counter()
        self.content = 0  # content offset reached in the entry that goes on in the next part; -1: unknown
        self.tail: tuple[int, bool] = (0, False)  # its last frame's content, and whether padding followed

    def find_regions(self) -> None:
        m = self.m
        must(len(m) >= 22 and m[-22:-18] == b"PK\5\6" and m[-2:] == b"\0\0", "end of central directory record (12)")
        count, length, where = struct.unpack("<HII", m[-12:-2])
        end = len(m) - 22
        if count == 0xFFFF or 0xFFFFFFFF in (length, where):
            end -= 76
            must(end >= 0 and m[end:end + 4] == b"PK\6\6" and m[end + 56:end + 60] == b"PK\6\7", "ZIP64 records (12)")
            must(struct.unpack_from("<Q", m, end + 64)[0] == end, "the locator's offset (12)")
            count, length, where = struct.unpack_from("<QQQ", m, end + 32)
            must(count >= 0xFFFF or max(length, where) >= 0xFFFFFFFF, "superfluous ZIP64 records (12)")
        must(where + length == end, "a gap between directory and end records (2)")
        must(where >= 192 and m[where - 8:where] == b"BURSTEND", "no trailer (11)")
        size, crc = struct.unpack_from("<II", m, where - 16)
        must(192 <= size <= where and m[where - size:where - size + 8] == b"BURSTTRL", "trailer length (11)")
        t = m[where - size:where]
        must(crc32c(t[:-12]) == crc, "CRC-32C of the trailer (11)")
        (major, _, self.required) = struct.unpack_from("<HHxxxxQ", t, 8)
        must(major == 1 and not self.required, "major version or required features (11)")
        self.ident = t[32:48]
        total, self.data_end, root = struct.unpack_from("<QQQ", t, 48)
        self.record, self.map, self.parts, crc, _, table, d_at, d_length, entries = struct.unpack_from("<IQQIIQQQQ", t, 76)
        must(total == len(m), f"the trailer says {total} bytes, the file has {len(m)} (11)")
        must((d_at, d_length, entries) == (where, length, count), "trailer and end records disagree (11)")
        must(self.parts == (self.data_end + STEP - 1) // STEP, "number of map records (11)")
        must(m[self.data_end:self.data_end + 8] == b"BURSTATR", "no attribute region at data_end (8)")
        must(self.data_end + 8 + root <= self.map, "root attributes beyond the part map (2)")
        must(self.record >= 32 and self.map + self.record * self.parts == table, "part map and table: gap (2)")
        must(table + 4 * ((length + (1 << 20) - 1) >> 20) == where - size, "table and trailer: gap (2)")
        must(crc32c(m[self.map:where - size]) == crc, "CRC-32C of map and table (11)")
        for k in range(0, length, 1 << 20):
            piece = m[where + k:where + min(k + (1 << 20), length)]
            must(struct.unpack_from("<I", m, table + (k >> 18))[0] == crc32c(piece), f"directory MiB {k >> 20} (10)")
        self.directory, self.count = range(where, where + length), count

    def read_directory(self) -> None:
        self.at, self.offsets = array("Q"), array("Q")
        at = self.directory.start
        for _ in range(self.count):
            must(at + 46 <= self.directory.stop and self.m[at:at + 4] == b"PK\1\2", f"directory header at {at}")
            head, n = self.header(at)
            must(head.offset > self.offsets[-1] if self.offsets else head.offset == 0, f"{head.name!r}: order (3.1)")
            self.at.append(at)
            self.offsets.append(head.offset)
            at += n
        must(at == self.directory.stop, "length of the directory")
        must(self.count, "no entry (3.1)")
        self.offsets.append(self.data_end)

    def header(self, at: int) -> tuple[Head, int]:
        fixed, crc, csize, usize, n, x, c, offset = struct.unpack_from("<10sIIIHHH8xI", self.m, at + 6)
        name, extra = self.m[at + 46:at + 46 + n], self.m[at + 46 + n:at + 46 + n + x]
        if 0xFFFFFFFF in (usize, csize, offset):
            must(extra[:2] == b"\1\0", f"{name!r}: no ZIP64 field")
            wide = iter(struct.unpack_from(f"<{int.from_bytes(extra[2:4], 'little') // 8}Q", extra, 4))
            usize, csize, offset = (next(wide) if v == 0xFFFFFFFF else v for v in (usize, csize, offset))
        return Head(fixed, crc, csize, usize, name, offset, at), 46 + n + x + c

    def local(self, h: Head, data: int, limit: int) -> None:
        """Section 3.3: the local header says what the directory says, and ends where the data begins."""
        m, at = self.m, h.offset
        must(at + 30 <= limit and m[at:at + 4] == b"PK\3\4", "no whole local header (3.3, 5)")
        fixed, crc, csize, usize, n, x = struct.unpack_from("<10sIIIHH", m, at + 4)
        must(at + 30 + n + x <= limit, "the local header crosses a grid point (5)")
        must(at + 30 + n + x == data, "the local header does not end where the data begins (5.2)")
        must(m[at + 30:at + 30 + n] == h.name and fixed == h.fixed, "local header and directory differ (3.3)")
        _, flags, method = struct.unpack_from("<HHH", fixed)
        extra, wide, pad = m[at + 30 + n:data], None, None
        if extra[:4] == b"\1\0\x10\0":
            wide, extra = struct.unpack_from("<QQ", extra, 4), extra[20:]
        if extra:
            must(extra[:2] == b"bu" and len(extra) == 4 + int.from_bytes(extra[2:4], "little"), "extra field (3.3)")
            pad = len(extra) - 4
            must(pad <= 65000 and not any(extra[4:]), "the pad field's payload (3.3)")
            self.part["padding"] += pad
        must(method == 93 or pad is not None, "method 0 without a pad field (3.3)")
        if flags & 8:
            must(method == 93 and wide == (0, 0) and (crc, csize, usize) == (0, 0xFFFFFFFF, 0xFFFFFFFF), "bit 3 (3.3)")
        else:
            must((wide is not None) == (max(h.csize, h.usize) >= 0xFFFFFFFF), "ZIP64 field (3.3)")
            must(wide is None or csize == usize == 0xFFFFFFFF, "32-bit sizes (3.3)")
            must((crc, *(wide or (usize, csize))) == (h.crc, h.usize, h.csize), "CRC-32 or sizes (3.3)")
        self.part["headers"] += data - at - (pad or 0)

    def frame(self, at: int, limit: int) -> tuple[int, int, bool]:
        """Section 4.1, from RFC 8878: where the frame ends, its content size, whether it is a hole frame."""
        m = self.m
        must(at + 6 <= limit, "a frame crosses a grid point or the end of its entry (5)")
        d = m[at + 4]
        must(d & 0x0F == 0, "frame: dictionary, checksum or reserved bit (4.1)")
        p, window = at + 5, 131072
        if not d & 0x20:
            must(m[p] <= 0x38, "frame: window (4.1)")
            window = (8 + (m[p] & 7)) << 7 + (m[p] >> 3)
            p += 1
        must(d & 0xE0, "frame: no content size (4.1)")
        width = 1 << (d >> 6)
        size = int.from_bytes(m[p:p + width], "little") + (256 if width == 2 else 0)
        must(1 <= size <= 131072, f"frame: content size {size} (4.1)")
        p, plain, window = p + width, 0, size if d & 0x20 else window
        while True:
            must(p + 3 <= limit, "a frame crosses a grid point or the end of its entry (5)")
            block = int.from_bytes(m[p:p + 3], "little")
            kind, n = block >> 1 & 3, block >> 3
            must(kind < 3 and n <= window, "frame: block type or size (4.1)")
            plain += 0 if kind == 2 else n
            p += 3 + (1 if kind == 1 else n)
            if block & 1:
                break
        must(p <= limit, "a frame crosses a grid point or the end of its entry (5)")
        must(p - at <= 135168 and plain <= size, "frame: length or raw content (4.1)")
        hole = b"\x28\xb5\x2f\xfd\xa0" + struct.pack("<II", size, size << 3 | 3)[:7] + b"\0"
        return p, size, m[at:p] == hole

    def data93(self, h: Head, ordinal: int, pos: int, limit: int, fresh: bool) -> int:
        """Frames from pos to the end of the part or the data. fresh: the part begins here, inside the entry."""
        while pos < limit:
            magic = int.from_bytes(self.m[pos:pos + 4], "little")
            if pos % STEP == 0:
                must(pos + 48 <= limit and self.m[pos:pos + 8] == bytes.fromhex("552a4d1828000000"),
                     "no start-of-part frame (5)")
                ident, offset, n, content = struct.unpack_from("<16sQQQ", self.m, pos + 8)
                must((ident, offset, n) == (self.ident, pos, ordinal), "start-of-part frame (5.1)")
                must(content % 4096 == 0 or content == h.usize, "start-of-part frame: content offset (5.1)")
                must(self.content in (content, -1) or not fresh, "start-of-part frame does not go on where the last part ended (5.1)")
                must(fresh or content == 0, "start-of-part frame: content offset of a new entry (5.1)")
                self.content, pos = content, pos + 48
                self.part["start-of-part"] += 1
            elif magic & 0xFFFFFFF0 == 0x184D2A50:
                must(magic != 0x184D2A55, "start-of-part frame off the grid (5.1)")
                must(pos + 8 <= limit, "a skippable frame crosses a grid point or the end of its entry (4.3)")
                n = 8 + int.from_bytes(self.m[pos + 4:pos + 8], "little")
                must(pos + n <= limit, "a skippable frame crosses a grid point or the end of its entry (4.3)")
                if magic == 0x184D2A5B:
                    must(not any(self.m[pos + 8:pos + n]), "a padding frame's payload is not zero (4.3)")
                    self.tail = (self.tail[0], True)
                self.part["padding"] += n
                pos += n
            else:
                must(magic == 0xFD2FB528, f"neither frame nor skippable frame at {pos} (4)")
                must(self.content % 4096 == 0, f"extent starts at {self.content} (4.1)")
                pos, n, hole = self.frame(pos, limit)
                self.content += n
                self.tail = (n, False)
                self.part["frames"] += 1
                self.part["holes"] += hole
        return pos

    def check_part(self, i: int, crc: bool) -> str:
        m, start = self.m, i * STEP
        end, self.part = min(start + STEP, self.data_end), Counter()
        n = bisect_right(self.offsets, start, hi=self.count) - 1
        begin, kind, value, fresh, pos = n, 1, 0, True, start
        while pos < end:
            h, _ = self.header(self.at[n])
            _, flags, method = struct.unpack_from("<HHH", h.fixed)
            after = self.offsets[n + 1]
            d = 24 if flags & 8 else 0
            data_end = after - d
            data = data_end - h.csize
            must(data >= h.offset + 30 + len(h.name), f"{h.name!r}: no room for it before {after} (5.2)")
            if pos == h.offset:
                self.local(h, data, end)
                pos, fresh = data, False
                self.content, self.tail = 0, (0, False)
            elif pos == start:
                must(start >= data, "a local header crosses the grid point (5)")
                kind = 2 if method else 3
            limit = min(end, data_end)
            if method == 93:
                pos = self.data93(h, n, pos, limit, fresh)
                value = struct.unpack_from("<Q", m, start + 40)[0] if kind == 2 and n == begin else value
            else:
                must(method == 0 and h.csize == h.usize, f"{h.name!r}: method or sizes (3.4)")
                if pos % STEP == 0 and pos < limit:
                    must((pos - data) % 4096 == 0, f"{h.name!r}: unaligned on the grid (5)")
                value = start - data if kind == 3 and n == begin else value
                self.part["stored"] += limit - pos
                pos = max(pos, limit)
            if pos == data_end and d and pos < end:
                must(pos % STEP, f"{h.name!r}: a data descriptor begins on the grid (5)")
                must(pos + d <= end, f"{h.name!r}: the data descriptor crosses the grid (5)")
                must(m[pos:pos + d] == struct.pack("<IIQQ", 0x08074B50, h.crc, h.csize, h.usize), "descriptor (3.5)")
                self.part["headers"] += d
                pos += d
            if pos == after:
                if method == 93:
                    must(self.content == h.usize, f"{h.name!r} holds {self.content} bytes, not {h.usize} (4)")
                    must(self.tail != (131072, False), f"{h.name!r}: no padding after the full last frame (4.3)")
                n += 1
            else:
                must(pos == end and pos < after, f"{h.name!r}: gap at {pos} (2)")
            fresh = True
        must(end < self.data_end or n == self.count, "the last entry does not end at data_end (2)")
        at = self.map + i * self.record
        sum_, *record = struct.unpack_from("<II3Q", m, at)
        must(record == [kind, begin, value, self.at[begin] - self.directory.start], f"map record: {record} (9)")
        must(not crc or crc32c(m[start:end]) == sum_, "CRC-32C of the part (9)")
        self.part["entries"] = n - begin
        self.sums.update(self.part)
        p = self.part
        return (f"part {i}: kind {kind}, entry {begin} at {value}, {p['frames']} frames ({p['holes']} holes), "
                f"{p['stored']} stored, {p['padding']} padding, {p['headers']} header bytes")


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("archive")
    p.add_argument("-v", action="store_true")
    p.add_argument("--no-crc", action="store_true")
    a = p.parse_args()
    problems = 0
    with open(a.archive, "rb") as f, mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) as m:
        try:
            c = Checker(m)
        except (Bad, struct.error) as why:
            print(f"bad: {why}")
            return 1
        for i in range(c.parts):
            try:
                line = c.check_part(i, not a.no_crc)
                if a.v:
                    print(line)
            except (Bad, struct.error) as why:
                problems += 1
                c.content, c.tail = -1, (0, False)  # unknown: the next part is judged by itself
                print(f"part {i} at {i * STEP}: bad: {why}")
        s = c.sums
        filler = s["padding"] + 48 * s["start-of-part"]
        print(f"{c.parts} parts, {c.count} entries, {s['frames']} frames, {s['holes']} hole frames, "
              f"{s['stored']} stored bytes, {s['headers']} header bytes, {filler} padding bytes "
              f"({100 * filler / max(1, c.data_end):.3f} %), {problems} bad parts")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
