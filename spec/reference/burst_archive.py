"""Everything of an archive but its data: end records, trailer, part map, checksum table, directory, attributes.

Written from the text of spec/format.md alone; every refusal names the anchor of the rule.
"""

import os
import stat
import struct
import time
import zlib
from dataclasses import dataclass, field

from burst_frames import GRID, Refused, crc32c, need

MIB = 1 << 20
LIST_LIMIT = 16 * MIB
ROOT = b"./"  # the one entry of an empty directory
ONES16, ONES32 = 0xFFFF, 0xFFFFFFFF


@dataclass
class Entry:
    """One entry; what a local header cannot say keeps its default until the directory is known."""
    ordinal: int
    name: bytes
    version: int
    flags: int
    method: int
    time_date: bytes
    crc32: int
    csize: int
    usize: int
    offset: int  # of the local file header
    data: int = 0  # where the data begins
    end: int = 0  # where the data ends
    descriptor: bool = False
    mode: int = 0
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    ns: int = 0
    xattrs: dict[bytes, bytes] = field(default_factory=dict)
    device: tuple[int, int] | None = None
    target: int | None = None  # ordinal a hard link names
    links: int | None = None
    overflow: tuple[int, int, int] | None = None
    in_directory: int = 0  # offset of the header, from directory_offset
    holes: list[tuple[int, int]] = field(default_factory=list)

    @property
    def path(self) -> bytes:
        return self.name.removesuffix(b"/")

    @property
    def kind(self) -> str:
        if self.target is not None:
            return "hardlink"
        return {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "symlink", stat.S_IFIFO: "fifo",
                stat.S_IFCHR: "char", stat.S_IFBLK: "block"}[stat.S_IFMT(self.mode)]


def check_name(name: bytes, flags: int) -> None:
    path = name.removesuffix(b"/")
    need(1 <= len(path) <= 4095, "names", f"name of {len(path)} bytes")
    parts = path.split(b"/")
    for p in parts:
        need(name == ROOT or p not in (b"", b".", b"..") and b"\0" not in p, "names", f"component {p!r} in {name!r}")
    need(parts[0] != b".burst", "names", f"reserved first component in {name!r}")
    try:
        name.decode()
        utf8 = any(b > 0x7F for b in name)
    except UnicodeDecodeError:
        utf8 = False
    need(bool(flags & 0x800) == utf8, "names", f"bit 11 is wrong for {name!r}")


def extra_fields(b: bytes, anchor: str) -> list[tuple[int, bytes]]:
    out, at = [], 0
    while at < len(b):
        need(at + 4 <= len(b), anchor, "extra field cut")
        tag, n = struct.unpack_from("<HH", b, at)
        need(at + 4 + n <= len(b), anchor, "extra field cut")
        out.append((tag, b[at + 4:at + 4 + n]))
        at += 4 + n
    return out


def parse_local(b: memoryview, offset: int) -> tuple[Entry, int]:
    """The local file header at the start of b (which ends at the next grid point), and its length."""
    a = "local-file-header"
    need(b[:4] == b"PK\3\4", a, f"no local file header at {offset}")
    need(len(b) >= 30, "grid", f"the local file header at {offset} crosses a grid point")
    version, flags, method, td, crc, csize, usize, n, m = struct.unpack_from("<HHH4sIIIHH", b, 4)
    length = 30 + n + m
    need(len(b) >= length, "grid", f"the local file header at {offset} crosses a grid point")
    name, fields = bytes(b[30:30 + n]), extra_fields(bytes(b[30 + n:length]), a)
    check_name(name, flags)
    need(not flags & ~0x808, a, "flags other than bits 3 and 11")
    need(method in (0, 93), "method", f"method {method}")
    bit3 = bool(flags & 8)
    need(not (bit3 and method == 0), "method", "bit 3 with method 0")
    tags = [t for t, _ in fields]
    need(tags in ([], [1], [0x7562], [1, 0x7562]), a, f"extra fields {[hex(t) for t in tags]}")
    payload = dict(fields)
    need(method == 93 or 0x7562 in payload, a, "method 0 without pad field")
    pad = payload.get(0x7562, b"")
    need(len(pad) <= 65000, a, "pad field too long")
    need((1 in payload) == (bit3 or ONES32 in (csize, usize)), a, "ZIP64 field missing or superfluous")
    need(version == (63 if method == 93 else 45 if 1 in payload else 20), a, f"version needed {version}")
    if 1 in payload:
        need(len(payload[1]) == 16 and csize == usize == ONES32, a, "ZIP64 field or 32-bit sizes")
        usize, csize = struct.unpack("<QQ", payload[1])
        need((crc, usize, csize) == (0, 0, 0) if bit3 else max(usize, csize) >= ONES32, a, "sizes in ZIP64 field")
    return Entry(-1, name, version, flags, method, td, crc, csize, usize, offset, descriptor=bit3), length


def same_header(local: Entry, e: Entry) -> None:
    for what in ("name", "version", "flags", "method", "time_date"):
        need(getattr(local, what) == getattr(e, what), "local-file-header",
             f"{what} differs between local header and directory of {e.name!r}")
    if not e.descriptor:
        need((local.crc32, local.csize, local.usize) == (e.crc32, e.csize, e.usize), "local-file-header",
             f"CRC-32 or sizes differ between local header and directory of {e.name!r}")


def parse_attributes(b: bytes, anchor: str = "burst-field") -> dict[int, bytes]:
    out, at, before = {}, 0, -1
    while at < len(b):
        need(at + 5 <= len(b), anchor, "attribute cut")
        tag, n = struct.unpack_from("<BI", b, at)
        need(at + 5 + n <= len(b), anchor, "attribute cut")
        need(tag > before, anchor, "attribute tags do not ascend")
        need(tag < 0x80 or 0x81 <= tag <= 0x83 or tag == 0x85, anchor, f"unknown critical attribute {tag:#x}")
        out[tag], before = b[at + 5:at + 5 + n], tag
        at += 5 + n
    return out


def parse_xattrs(b: bytes) -> dict[bytes, bytes]:
    out, at, before = {}, 0, b""
    while at < len(b):
        need(at + 5 <= len(b), "xattrs", "record cut")
        n, v = struct.unpack_from("<BI", b, at)
        need(n and v <= 65536 and at + 5 + n + v <= len(b), "xattrs", "length of a name or value")
        name = b[at + 5:at + 5 + n]
        need(name > before, "xattrs", "names do not ascend")
        need(b"\0" not in name and not name.startswith(b"btrfs."), "xattrs", f"name {name!r}")
        out[name], before = b[at + 5 + n:at + 5 + n + v], name
        at += 5 + n + v
    return out


def dos_time(mtime: int) -> bytes:
    t = time.gmtime(min(max(mtime, 315532800), 4354819198))
    return struct.pack("<HH", t.tm_hour << 11 | t.tm_min << 5 | t.tm_sec >> 1,
                       t.tm_year - 1980 << 9 | t.tm_mon << 5 | t.tm_mday)


def parse_header(b: bytes, at: int, ordinal: int) -> tuple[Entry, int]:
    """The central directory header at `at`, and where the next begins."""
    a = "directory"
    need(b[at:at + 4] == b"PK\1\2" and at + 46 <= len(b), a, f"no header at {at} of the directory")
    (made, version, flags, method, td, crc, csize, usize, n, m, comment, disk, internal, external,
     offset) = struct.unpack_from("<HHHH4sIIIHHHHHII", b, at + 4)
    after = at + 46 + n + m
    need(after <= len(b), a, "header cut")
    need(made == 0x033F, "types", f"version made by {made:#x}")
    need(not (disk or internal or comment), a, "disk, internal attributes or comment")
    name = b[at + 46:at + 46 + n]
    fields = extra_fields(b[at + 46 + n:after], "burst-field")
    f, tags = dict(fields), [t for t, _ in fields]
    need(tags == [t for t in (1, 0x5455, 0x7875, 0x7542) if t in f] and 0x7875 in f and 0x7542 in f,
         "burst-field", f"extra fields {[hex(t) for t in tags]} of {name!r}")
    wide = [v == ONES32 for v in (usize, csize, offset)]
    need((1 in f) == any(wide) and len(f.get(1, b"")) == 8 * sum(wide), "burst-field", "ZIP64 field")
    values = iter(struct.unpack(f"<{sum(wide)}Q", f.get(1, b"")))
    usize, csize, offset = (next(values) if w else v for w, v in zip(wide, (usize, csize, offset), strict=True))
    need(all(v >= ONES32 for w, v in zip(wide, (usize, csize, offset), strict=True) if w), "burst-field",
         "a value in the ZIP64 field would fit")
    need(max(usize, csize, offset) < 1 << 63, "limits", "size or offset over 2^63 - 1")
    e = Entry(ordinal, name, version, flags, method, td, crc, csize, usize, offset, in_directory=at,
              descriptor=bool(flags & 8), mode=external >> 16)
    burst = f[0x7542]
    need(16 <= len(burst) <= 32768 and burst[:4] == b"BRST", "burst-field", "length or magic")
    e.mtime, e.ns = struct.unpack_from("<qI", burst, 4)
    need(e.ns < 1_000_000_000, "burst-field", "nanoseconds")
    small = -1 << 31 <= e.mtime < 1 << 31
    need(f.get(0x5455) == (struct.pack("<Bi", 1, e.mtime) if small else None), "burst-field", "field 0x5455")
    need(td == dos_time(e.mtime), "local-file-header", f"time and date of {name!r}")
    need(len(f[0x7875]) == 11, "burst-field", "field 0x7875")
    v1, n1, e.uid, n2, e.gid = struct.unpack("<BBIBI", f[0x7875])
    need((v1, n1, n2) == (1, 4, 4), "burst-field", "field 0x7875")
    need(ONES32 not in (e.uid, e.gid), "burst-field", "user or group 0xFFFFFFFF")
    set_attributes(e, parse_attributes(burst[16:]))
    check_entry(e, external)
    return e, after


def set_attributes(e: Entry, attrs: dict[int, bytes]) -> None:
    for tag, anchor, size in ((0x82, "burst-field", 8), (0x83, "hard-links", 8), (4, "burst-field", 4),
                              (0x85, "burst-field", 16)):
        need(len(attrs.get(tag, bytes(size))) == size, anchor, f"length of attribute {tag:#x}")
    if 0x81 in attrs:
        need(0x85 not in attrs, "burst-field", "extended attributes both here and in an overflow list")
        e.xattrs = parse_xattrs(attrs[0x81])
    e.device = struct.unpack("<II", attrs[0x82]) if 0x82 in attrs else None
    e.target = struct.unpack("<Q", attrs[0x83])[0] if 0x83 in attrs else None
    e.links = struct.unpack("<I", attrs[4])[0] if 4 in attrs else None
    e.overflow = struct.unpack("<QII", attrs[0x85]) if 0x85 in attrs else None
    need(e.links is None or e.links >= 2, "burst-field", "link count below 2")


def check_entry(e: Entry, external: int) -> None:
    """What one directory header must say, whatever the others say."""
    check_name(e.name, e.flags)
    fmt = stat.S_IFMT(e.mode)
    need(fmt in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK), "types",
         f"mode {e.mode:o}")
    is_dir = fmt == stat.S_IFDIR
    need(external & ONES16 == (16 if is_dir else 0), "types", "lower half of the external attributes")
    need(e.name.endswith(b"/") == is_dir, "names", f"final / of {e.name!r}")
    need((e.device is not None) == (fmt in (stat.S_IFCHR, stat.S_IFBLK)), "burst-field", "device attribute")
    need(e.target is None or e.mode == 0o120777, "types", "mode of a hard link")
    need(not e.flags & ~0x808 and e.method in (0, 93), "local-file-header", "flags or method")
    big = max(e.csize, e.usize) >= ONES32
    need(e.version == (63 if e.method == 93 else 45 if big else 20), "local-file-header", "version needed")
    if e.method == 93:
        need(fmt == stat.S_IFREG and e.usize, "method", f"method 93 for {e.name!r}")
        return
    need(not e.descriptor, "method", "bit 3 with method 0")
    need(e.csize == e.usize, "method", f"sizes of the STORE entry {e.name!r} differ")
    if fmt == stat.S_IFLNK:
        need(1 <= e.usize <= (4095 if e.target is None else 12285), "method", "length of a link target")
    elif fmt != stat.S_IFREG:
        need(e.usize == 0, "method", f"{e.name!r} has data")


def hard_link_path(link: bytes, target: bytes) -> bytes:
    here, there = link.split(b"/")[:-1], target.split(b"/")
    n = 0
    while n < min(len(here), len(there) - 1) and here[n] == there[n]:
        n += 1
    return b"/".join([b".."] * (len(here) - n) + there[n:])


@dataclass
class Trailer:
    minor: int
    length: int
    ident: bytes
    archive_length: int
    data_end: int
    root_length: int
    root_crc: int
    record_size: int
    map_offset: int
    parts: int
    map_crc: int
    table_offset: int
    directory_offset: int
    directory_length: int
    entries: int
    directories: int
    content: int


@dataclass
class MapRecord:
    crc: int
    kind: int
    ordinal: int
    value: int
    in_directory: int


class Archive:
    """The metadata of an archive in an open, seekable file."""

    def __init__(self, fd: int, base: int = 0):
        """base: address of the first byte of the file, for a reader of a pipe who kept only the archive's tail."""
        self.fd, self.base = fd, base
        self.length = base + os.fstat(fd).st_size
        self._end_records()
        self._trailer()
        self._map_and_table()
        self._directory()
        self._tree()
        self._attribute_region()

    def read(self, at: int, n: int) -> bytes:
        b = os.pread(self.fd, n, at - self.base) if at >= self.base else b""
        while len(b) < n:
            more = os.pread(self.fd, n - len(b), at - self.base + len(b)) if b else b""
            need(more, "layout", f"cannot read {n} bytes at {at}")
            b += more
        return b

    def _end_records(self) -> None:
        a = "end-records"
        need(self.length - self.base >= 22, a, "too short")
        at = self.length - 22
        end = struct.unpack("<IHHHHIIH", self.read(at, 22))
        need(end[0] == 0x06054B50 and end[7] == 0, a, "no end of central directory record with an empty comment")
        need(end[1] == end[2] == 0 and end[3] == end[4], a, "disk numbers or counts")
        count, length, offset = end[4:7]
        if ONES16 == count or ONES32 in (length, offset):
            at -= 76
            need(at >= self.base, a, "no ZIP64 end record")
            b = self.read(at, 76)
            sig, size, made, version, d1, d2, n1, n2, wide_length, wide_offset = struct.unpack_from("<IQHHIIQQQQ", b)
            need((sig, size, made, version, d1, d2) == (0x06064B50, 44, 0x033F, 45, 0, 0) and n1 == n2, a,
                 "ZIP64 end record")
            need(struct.unpack_from("<IIQI", b, 56) == (0x07064B50, 0, at, 1), a, "ZIP64 locator")
            need((count, length, offset) == (min(n1, ONES16), min(wide_length, ONES32), min(wide_offset, ONES32)), a,
                 "the two end records disagree")
            count, length, offset = n1, wide_length, wide_offset
        need(count < 1 << 32, "limits", "number of entries")
        need(self.base <= offset <= at and offset + length == at, a,
             "the directory does not end where the end records begin")
        self.count, self.dir_length, self.dir_offset = count, length, offset

    def _trailer(self) -> None:
        a = "trailer"
        need(self.dir_offset - self.base >= 192, a, "no room for the trailer")
        length, crc, magic = struct.unpack("<II8s", self.read(self.dir_offset - 16, 16))
        need(magic == b"BURSTEND", a, "no BURSTEND before the directory")
        need(192 <= length <= min(4096, self.dir_offset - self.base), a, f"length {length}")
        b = self.read(self.dir_offset - length, length)
        need(b[:8] == b"BURSTTRL", a, "no BURSTTRL")
        need(crc32c(b[:-12]) == crc, a, "CRC-32C of the trailer")
        major, minor, length_again = struct.unpack_from("<HHI", b, 8)
        need(major == 1, "versions", f"major version {major}")
        required, = struct.unpack_from("<Q", b, 16)
        need(required == 0, "versions", f"required feature bits {required:#x}")
        need(length_again == length, a, "the two lengths differ")
        v = struct.unpack_from("<16sQQQIIQQIIQQQQQQQ", b, 32)
        self.trailer = t = Trailer(minor, length, *v[:9], *v[10:16])
        need(t.archive_length == self.length, "refuse", f"the trailer says {t.archive_length} bytes, the archive has "
             f"{self.length}")
        need((t.directory_offset, t.directory_length, t.entries) == (self.dir_offset, self.dir_length, self.count), a,
             "end records and trailer disagree")

    def _map_and_table(self) -> None:
        t, a = self.trailer, "layout"
        table_end = t.directory_offset - t.length
        need(t.data_end + 8 + t.root_length <= t.map_offset <= t.table_offset <= table_end, a, "regions overlap")
        need(t.parts == -(-t.data_end // GRID), "trailer", "number of part map records")
        need(32 <= t.record_size <= 4096 and t.map_offset + t.parts * t.record_size == t.table_offset, a, "part map length")
        pieces = -(-t.directory_length // MIB)
        need(t.table_offset + 4 * pieces == table_end, a, "checksum table length")
        b = self.read(t.map_offset, table_end - t.map_offset)
        need(crc32c(b) == t.map_crc, "trailer", "CRC-32C of map and table")
        self.map = []
        for i in range(t.parts):
            crc, kind, *rest = struct.unpack_from("<IB3xQQQ", b, i * t.record_size)
            need(kind in (1, 2, 3), "part-map", f"record {i}")
            self.map.append(MapRecord(crc, kind, *rest))
        self.table = struct.unpack_from(f"<{pieces}I", b, t.table_offset - t.map_offset)

    def _directory(self) -> None:
        t = self.trailer
        need(t.entries * 46 <= t.directory_length, "directory", "more entries than fit")
        b = self.read(t.directory_offset, t.directory_length)
        for i, crc in enumerate(self.table):
            need(crc32c(b[i * MIB:(i + 1) * MIB]) == crc, "table", f"CRC-32C of MiB {i} of the directory")
        self.entries, at = [], 0
        for i in range(t.entries):
            e, at = parse_header(b, at, i)
            self.entries.append(e)
        need(at == t.directory_length, "directory", "bytes after the last header")

    def _tree(self) -> None:
        """Order, parents, places and sums: what only all entries together show."""
        t, es = self.trailer, self.entries
        need(not es or es[0].offset == 0, "entry-order", "the first entry is not at 0")
        need(es, "entry-order", "no entry")
        dirs, paths, rest = {b""}, set(), False
        for e in es:
            after = es[e.ordinal + 1].offset if e.ordinal + 1 < len(es) else t.data_end
            e.end = after - (24 if e.descriptor else 0)
            e.data = e.end - e.csize
            need(after > e.offset, "entry-order", f"{e.name!r} does not come before the next entry")
            need(e.data >= e.offset + 30 + len(e.name), "placing", f"{e.name!r} does not fit before {after}")
            need(e.name != ROOT or len(es) == 1, "entry-order", "./ does not stand alone")
            need(e.path not in paths, "names", f"{e.path!r} twice")
            paths.add(e.path)
            need(not (rest and e.kind == "dir"), "entry-order", f"directory {e.name!r} after other entries")
            need(e.path.rpartition(b"/")[0] in dirs, "entry-order", f"parent of {e.name!r}")
            if e.kind == "dir":
                dirs.add(e.path)
            else:
                rest = True
            if e.kind == "hardlink":
                self._hard_link(e)
        need(len(dirs) - 1 == t.directories, "trailer", "number of directories")
        need(sum(e.usize for e in es) == t.content, "trailer", "content bytes")

    def _hard_link(self, e: Entry) -> None:
        need(e.target < e.ordinal, "hard-links", f"{e.name!r} names a later entry")
        to = self.entries[e.target]
        need(to.kind not in ("dir", "hardlink") and to.links, "hard-links", f"target of {e.name!r}")
        need((e.uid, e.gid, e.mtime, e.ns) == (to.uid, to.gid, to.mtime, to.ns), "hard-links",
             f"owner or time of {e.name!r} and its target differ")
        need(not (e.xattrs or e.overflow or e.links), "hard-links", f"{e.name!r} has more than one attribute")
        text = hard_link_path(e.path, to.path)
        need((e.usize, e.crc32) == (len(text), zlib.crc32(text)), "hard-links", f"data of {e.name!r}")

    def _attribute_region(self) -> None:
        t, a = self.trailer, "attribute-region"
        need(self.read(t.data_end, 8) == b"BURSTATR", a, "no BURSTATR")
        need(t.root_length == 0 or 24 <= t.root_length <= LIST_LIMIT, a, "length of the root attributes")
        root = self.read(t.data_end + 8, t.root_length)
        need(crc32c(root) == t.root_crc, a, "CRC-32C of the root attributes")
        self.root = None
        if root:
            mode, uid, gid, mtime, ns = struct.unpack_from("<IIIqI", root)
            need(stat.S_ISDIR(mode) and mode <= ONES16 and ns < 1_000_000_000, a, "root attributes")
            need(ONES32 not in (uid, gid), a, "user or group 0xFFFFFFFF")
            attrs = parse_attributes(root[24:], a)
            need(not attrs.keys() & {4, 0x82, 0x83, 0x85}, a, "attribute that the root cannot have")
            self.root = Entry(-1, b"", 0, 0, 0, b"", 0, 0, 0, 0, mode=mode, uid=uid, gid=gid, mtime=mtime, ns=ns,
                              xattrs=parse_xattrs(attrs.get(0x81, b"")))
        at = t.data_end + 8 + t.root_length
        for e in self.entries:
            if e.overflow:
                where, n, crc = e.overflow
                where += t.data_end
                need(where == at and n <= LIST_LIMIT and at + n <= t.map_offset, a, f"overflow list of {e.name!r}")
                b = self.read(where, n)
                need(crc32c(b) == crc, a, f"CRC-32C of the overflow list of {e.name!r}")
                attrs = parse_attributes(b, a)
                need([k for k in attrs if k > 0x7F or k == 4] == [0x81], a, "an overflow list without only 0x81")
                e.xattrs = parse_xattrs(attrs[0x81])
                at += n
        need(at == t.map_offset, a, "bytes between the attribute lists and the part map")


__all__ = ["Archive", "Entry", "MapRecord", "Refused", "hard_link_path", "parse_local", "same_header"]
