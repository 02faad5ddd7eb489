#!/usr/bin/env python3
"""Makes the vectors that the library's writer cannot make, with their rows of the manifest: archives to be refused, and
valid ones of later versions or other writers. Frames have raw blocks, so that no compressor is needed.

  make_refuse.py DIRECTORY      DIRECTORY holds manifest.json of the example make_vectors
"""

import hashlib
import json
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "spec" / "reference"))

from mini_writer import EXTENT, GRID, Hooks, Item, attribute, build, frames_of, hole, raw_frame, skippable, xattrs

DIR, LINK = 0o40755, 0o120777
ROOT = Item(b"./", DIR)
TEXT = (b"text " * 1639)[:8192]
LINKS = attribute(4, struct.pack("<I", 2))
CORRUPT, UNSAFE, UNSUPPORTED = 13, 14, 17


def to(ordinal: int) -> bytes:
    return attribute(0x83, struct.pack("<Q", ordinal))


def put(at: int, form: str, *values: object) -> Callable[[bytearray], None]:
    """A hook that overwrites a field."""
    return lambda b: struct.pack_into(form, b, at, *values)


def insert(at: int, what: bytes) -> Callable[[bytearray], None]:
    def hook(b: bytearray) -> None:
        b[at:at] = what
    return hook


def raw(name: bytes, content: bytes, **more: object) -> Item:
    return Item(name, content=content, frames=frames_of(content, raw_frame), **more)


def file(**more: object) -> Item:
    return Item(b"file", content=b"content", **more)


def one_frame(frame: bytes, content: bytes = b"x", magic: bytes = b"\x28\xb5\x2f\xfd") -> bytes:
    return build([Item(b"file", content=content, frames=[(magic + frame, len(content))])])


def hooked(items: list[Item], **hooks: Callable[[bytearray], None]) -> bytes:
    named: Hooks = {k.replace("_", ":"): v for k, v in hooks.items()}
    return build(items, hooks=named)


def link(name: bytes, target: int, text: bytes, **more: object) -> Item:
    return Item(name, LINK, text, attributes=to(target), **more)


RAW_X = b"\x09\0\0x"  # a block: last, raw, 1 byte
# To the next grid point with one padding frame: archives of 8 MiB, nearly all zeros.
NEAR_GRID = {"descriptor": True, "tail_to": GRID}


@dataclass
class Refuse:
    name: str
    shows: str
    anchor: str
    make: Callable[[], bytes]
    code: int = CORRUPT
    found: str = "data"  # open, directory, data (of a part), content (only when decompressed), seekable (not in a stream)


OPEN = [
    Refuse("cut", "the last byte is missing", "end-records", lambda: build([file()])[:-1]),
    Refuse("grown", "a byte follows", "end-records", lambda: build([file()]) + b"\0"),
    Refuse("prefixed", "a byte in front: all offsets are wrong by one", "end-records", lambda: b"\0" + build([file()])),
    Refuse("comment", "the end record has a comment", "end-records",
           lambda: hooked([file()], end=lambda b: b.__setitem__(slice(20, 22), b"\1\0!"))),
    Refuse("superfluous-zip64", "ZIP64 end records where nothing needs them", "end-records",
           lambda: build([file()], zip64=True)),
    Refuse("end-count", "the end record's counts differ from each other", "end-records",
           lambda: hooked([file()], end=put(8, "<H", 2))),
    Refuse("no-trailer", "an ordinary ZIP file: no trailer before the directory", "trailer", lambda: plain_zip()),
    Refuse("trailer-checksum", "a bit of the trailer is not what its CRC-32C says", "trailer",
           lambda: flip(build([file()]), b"BURSTTRL", 40)),
    Refuse("trailer-magic", "no BURSTTRL", "trailer", lambda: hooked([file()], trailer=put(0, "<B", 0))),
    Refuse("archive-length", "the trailer says another length", "refuse",
           lambda: hooked([file()], trailer=put(48, "<Q", 500))),
    Refuse("entry-count", "trailer and end record count differently", "trailer",
           lambda: hooked([file()], trailer=put(128, "<Q", 2))),
    Refuse("major-version", "major version 2", "versions", lambda: hooked([file()], trailer=put(8, "<H", 2)), UNSUPPORTED),
    Refuse("required-feature", "an unknown required feature bit", "versions",
           lambda: hooked([file()], trailer=put(16, "<Q", 1 << 63)), UNSUPPORTED),
    Refuse("data-end", "data_end beyond the part map", "layout",
           lambda: hooked([file()], trailer=put(56, "<Q", 1 << 40))),
    Refuse("part-count", "more part map records than data", "trailer",
           lambda: hooked([file()], trailer=put(88, "<Q", 2))),
    Refuse("index-checksum", "CRC-32C of part map and table", "trailer",
           lambda: hooked([file()], trailer=put(96, "<I", 0))),
    Refuse("map-kind", "a record of unknown kind", "part-map", lambda: hooked([file()], map=put(4, "<B", 4))),
    Refuse("no-entries", "an archive without entries", "entry-order", lambda: build([])),
]
DIRECTORY = [
    Refuse("directory-checksum", "CRC-32C of a MiB of the directory", "table",
           lambda: hooked([file()], table=put(0, "<I", 1))),
    Refuse("directory-count", "the trailer's number of directories", "trailer",
           lambda: hooked([Item(b"a/", DIR), file()], trailer=put(136, "<Q", 0))),
    Refuse("content-bytes", "the trailer's sum of sizes", "trailer",
           lambda: hooked([file()], trailer=put(144, "<Q", 8))),
    Refuse("critical-attribute", "an unknown critical attribute", "burst-field",
           lambda: build([file(attributes=attribute(0x86, b"new"))]), UNSUPPORTED),
    Refuse("attribute-order", "attributes whose tags do not ascend", "burst-field",
           lambda: build([file(attributes=xattrs({b"user.a": b""}) + LINKS)])),
    Refuse("attribute-twice", "the same attribute twice", "burst-field", lambda: build([file(attributes=LINKS + LINKS)])),
    Refuse("xattr-order", "extended attributes not sorted", "xattrs",
           lambda: build([file(attributes=attribute(0x81, b"\6\0\0\0\0user.b\6\0\0\0\0user.a"))])),
    Refuse("xattr-long", "an extended attribute of 65,537 bytes in an overflow list", "xattrs",
           lambda: build([file(overflow=xattrs({b"user.a": bytes(65537)}))]), found="attributes"),
    Refuse("xattr-btrfs", "an extended attribute that would change the file system", "xattrs",
           lambda: build([file(attributes=xattrs({b"btrfs.compression": b"no"}))])),
    Refuse("xattr-nul", "an extended attribute with NUL in its name", "xattrs",
           lambda: build([file(attributes=xattrs({b"user.a\0b": b""}))])),
    Refuse("xattrs-twice", "extended attributes in the entry and in an overflow list", "burst-field",
           lambda: build([file(attributes=xattrs({b"user.a": b""}), overflow=xattrs({b"user.b": b""}))])),
    Refuse("overflow-gap", "a byte between the attribute lists", "attribute-region",
           lambda: hooked([file(overflow=xattrs({b"user.a": b""}))], attributes=insert(8, b"\0"))),
    Refuse("overflow-checksum", "CRC-32C of an overflow list", "attribute-region",
           lambda: hooked([file(overflow=xattrs({b"user.a": b"b"}))], attributes=lambda b: b.__setitem__(-1, 0)),
           found="attributes"),
    Refuse("overflow-other", "an overflow list without extended attributes", "attribute-region",
           lambda: build([file(overflow=LINKS)]), found="attributes"),
    Refuse("root-attribute", "a root with a link count", "attribute-region",
           lambda: build([file()], struct.pack("<IIIqI", DIR, 0, 0, 0, 0) + LINKS), found="attributes"),
    Refuse("root-of-nobody", "a root of group 0xFFFFFFFF", "attribute-region",
           lambda: build([file()], struct.pack("<IIIqI", DIR, 0, 0xFFFF_FFFF, 0, 0)), found="attributes"),
    Refuse("root-type", "a root that is no directory", "attribute-region",
           lambda: build([file()], struct.pack("<IIIqI", 0o100755, 0, 0, 0, 0)), found="attributes"),
    Refuse("attribute-magic", "no BURSTATR", "attribute-region", lambda: hooked([file()], attributes=put(0, "<B", 0x62)),
           found="attributes"),
    Refuse("no-device", "a device without device numbers", "burst-field", lambda: build([Item(b"c", 0o20644)])),
    Refuse("device-on-file", "a file with device numbers", "burst-field",
           lambda: build([file(attributes=attribute(0x82, bytes(8)))])),
    Refuse("user-nobody", "a file of user 0xFFFFFFFF", "burst-field", lambda: build([file(uid=0xFFFF_FFFF)])),
    Refuse("group-nobody", "a file of group 0xFFFFFFFF", "burst-field", lambda: build([file(gid=0xFFFF_FFFF)])),
    Refuse("nanoseconds", "1,000,000,000 nanoseconds", "burst-field", lambda: build([file(ns=1_000_000_000)])),
    Refuse("link-count-1", "a link count below 2", "burst-field",
           lambda: build([file(attributes=attribute(4, b"\1\0\0\0"))])),
    Refuse("time-fields", "0x5455 and the BURST field disagree", "burst-field",
           lambda: hooked([file()], header_0=lambda b: put(b.index(b"UT\5\0") + 5, "<i", 7)(b))),
    Refuse("dos-time", "the DOS time is not that of the modification time", "local-file-header",
           lambda: hooked([file()], local_0=put(10, "<H", 2), header_0=put(12, "<H", 2))),
    Refuse("made-by", "made on another system than Unix", "types", lambda: hooked([file()], header_0=put(4, "<H", 63))),
    Refuse("entry-comment", "a header with a comment", "directory",
           lambda: hooked([file()], header_0=lambda b: (put(32, "<H", 1)(b), b.append(33)))),
    Refuse("socket", "a socket", "types", lambda: build([Item(b"s", 0o140755)]), UNSAFE),
    Refuse("absolute-name", "a name that begins with /", "names", lambda: build([Item(b"/file")]), UNSAFE),
    Refuse("parent-name", "a .. component", "names", lambda: build([Item(b"a/", DIR), Item(b"a/../../file")]), UNSAFE),
    Refuse("dot-name", "a . component", "names", lambda: build([Item(b"a/", DIR), Item(b"a/./file")]), UNSAFE),
    Refuse("empty-component", "two / in a row", "names", lambda: build([Item(b"a/", DIR), Item(b"a//file")]), UNSAFE),
    Refuse("empty-name", "no name", "names", lambda: build([Item(b"")]), UNSAFE),
    Refuse("nul-name", "a NUL in a name", "names", lambda: build([Item(b"a\0b")]), UNSAFE),
    Refuse("reserved-name", ".burst in the root", "names", lambda: build([Item(b".burst/", DIR)]), UNSAFE),
    Refuse("slash-of-a-file", "a file whose name ends with /", "names", lambda: build([Item(b"file/")]), UNSAFE),
    Refuse("directory-without-slash", "a directory whose name does not", "names", lambda: build([Item(b"a", DIR)]), UNSAFE),
    Refuse("long-name", "a name of 4,096 bytes", "names", lambda: build([Item(b"f" * 4096)]), UNSAFE),
    Refuse("bit-11", "bit 11 on a name that is not UTF-8", "names",
           lambda: hooked([Item(b"\xff")], local_0=put(6, "<H", 0x800), header_0=put(8, "<H", 0x800))),
    Refuse("no-bit-11", "a UTF-8 name without bit 11", "names",
           lambda: hooked([Item(b"\xc3\xa4")], local_0=put(6, "<H", 0), header_0=put(8, "<H", 0))),
    Refuse("same-name", "two entries with the same path", "names", lambda: build([file(), file()])),
    Refuse("directory-and-file", "a directory and a file with the same path", "names",
           lambda: build([Item(b"file/", DIR), file()])),
    Refuse("no-parent", "a parent that is no entry", "entry-order", lambda: build([Item(b"a/file")])),
    Refuse("through-a-link", "a parent that is a symbolic link", "entry-order",
           lambda: build([Item(b"a", LINK, b"/etc"), Item(b"a/file")])),
    Refuse("below-a-file", "a parent that is a file", "entry-order", lambda: build([Item(b"a"), Item(b"a/file")])),
    Refuse("child-first", "a directory before its parent", "entry-order",
           lambda: build([Item(b"a/b/", DIR), Item(b"a/", DIR)])),
    Refuse("directory-late", "a directory after a file", "entry-order", lambda: build([file(), Item(b"a/", DIR)])),
    Refuse("root-beside-others", "./ beside another entry", "entry-order", lambda: build([ROOT, file()])),
    Refuse("offset-order", "headers of the directory not in the order of the local headers", "entry-order",
           lambda: swapped_offsets()),
    Refuse("shared-local-header", "two headers that name the same local header", "entry-order",
           lambda: hooked([Item(b"a"), Item(b"b")], header_1=put(42, "<I", 0))),
    Refuse("gap-at-the-start", "the first local header is not at 0", "entry-order",
           lambda: hooked([Item(b"a")], header_0=put(42, "<I", 1))),
    Refuse("method-8", "method 8", "local-file-header",
           lambda: hooked([file()], local_0=put(8, "<H", 8), header_0=put(10, "<H", 8))),
    Refuse("encrypted", "general purpose bit 0", "local-file-header",
           lambda: hooked([file()], local_0=put(6, "<H", 1), header_0=put(8, "<H", 1))),
    Refuse("version-needed", "version needed 46", "local-file-header",
           lambda: hooked([file()], local_0=put(4, "<H", 46), header_0=put(6, "<H", 46))),
    Refuse("stored-sizes", "a STORE entry with two sizes", "method",
           lambda: hooked([file()], local_0=put(22, "<I", 8), header_0=put(24, "<I", 8), trailer=put(144, "<Q", 8))),
    Refuse("stored-descriptor", "a STORE entry with bit 3", "method",
           lambda: hooked([file()], header_0=put(8, "<H", 8))),
    Refuse("empty-packed", "method 93 without content", "method", lambda: build([Item(b"file", frames=[])])),
    Refuse("packed-link", "a symbolic link with method 93", "method", lambda: build([raw(b"l", b"target", mode=LINK)])),
    Refuse("directory-with-data", "a directory with data", "method", lambda: build([Item(b"a/", DIR, b"x")])),
    Refuse("link-without-target", "a symbolic link without target", "method", lambda: build([Item(b"l", LINK)])),
    Refuse("link-too-long", "a symbolic link of 4,096 bytes", "method", lambda: build([Item(b"l", LINK, b"t" * 4096)])),
    Refuse("sizes-past-the-end", "a compressed size larger than the room before the next entry", "placing",
           lambda: hooked([raw(b"a", TEXT), Item(b"b")], header_0=put(20, "<I", 9000))),
    Refuse("hard-link-forward", "a hard link to a later entry", "hard-links",
           lambda: build([link(b"a", 1, b"file"), file(attributes=LINKS)])),
    Refuse("hard-link-to-itself", "a hard link to itself", "hard-links", lambda: build([link(b"a", 0, b"a")])),
    Refuse("hard-link-to-directory", "a hard link to a directory", "hard-links",
           lambda: build([Item(b"a/", DIR, attributes=LINKS), link(b"b", 0, b"a")])),
    Refuse("hard-link-to-link", "a hard link to a hard link", "hard-links",
           lambda: build([file(attributes=LINKS), link(b"a", 0, b"file"), link(b"b", 1, b"a")])),
    Refuse("hard-link-no-count", "a hard link to an entry without link count", "hard-links",
           lambda: build([file(), link(b"a", 0, b"file")])),
    Refuse("hard-link-mode", "a hard link with mode 0120755", "types",
           lambda: build([file(attributes=LINKS), Item(b"a", 0o120755, b"file", attributes=to(0))])),
    Refuse("hard-link-owner", "a hard link with another owner than its target", "hard-links",
           lambda: build([file(attributes=LINKS), link(b"a", 0, b"file", uid=0)])),
    Refuse("hard-link-attributes", "a hard link with extended attributes", "hard-links",
           lambda: build([file(attributes=LINKS),
                          Item(b"a", LINK, b"file", attributes=xattrs({b"user.a": b""}) + to(0))])),
    Refuse("hard-link-text", "a hard link whose text leads elsewhere", "hard-links",
           lambda: build([file(attributes=LINKS), link(b"a", 0, b"/etc")])),
]
DATA = [
    Refuse("part-checksum", "CRC-32C of a part", "part-map", lambda: hooked([file()], map=put(0, "<I", 1))),
    Refuse("map-ordinal", "a part map record with another entry", "part-map",
           lambda: hooked([Item(b"a"), Item(b"b")], map=put(8, "<Q", 1))),
    Refuse("map-directory-offset", "a part map record with another directory offset", "part-map",
           lambda: hooked([Item(b"a"), Item(b"b")], map=put(24, "<Q", 1))),
    Refuse("map-value", "kind 1 with a content offset", "part-map", lambda: hooked([file()], map=put(16, "<Q", 4096)),
           found="open"),
    Refuse("local-magic", "no local header where the directory says", "local-file-header",
           lambda: hooked([Item(b"a"), Item(b"b")], local_1=put(0, "<B", 0))),
    Refuse("local-name", "another name in the local header", "local-file-header",
           lambda: hooked([file()], local_0=put(30, "<B", 0x46))),
    Refuse("local-crc", "another CRC-32 in the local header", "local-file-header",
           lambda: hooked([file()], local_0=put(14, "<I", 7))),
    Refuse("local-size", "other sizes in the local header", "local-file-header",
           lambda: hooked([raw(b"a", TEXT), Item(b"b")], local_0=put(22, "<I", 8191))),
    Refuse("local-time", "another time in the local header", "local-file-header",
           lambda: hooked([file()], local_0=put(10, "<H", 2))),
    Refuse("no-pad-field", "STORE without pad field", "local-file-header", lambda: no_pad()),
    Refuse("other-extra-field", "an extra field other than ZIP64 and pad", "local-file-header",
           lambda: hooked([file()], local_0=put(34, "<H", 0x5455))),
    Refuse("descriptor", "a descriptor with another CRC-32", "data-descriptor",
           lambda: hooked([raw(b"a", TEXT, descriptor=True)], data=lambda b: b.__setitem__(-20, b[-20] ^ 1))),
    Refuse("descriptor-signature", "a descriptor without signature", "data-descriptor",
           lambda: hooked([raw(b"a", TEXT, descriptor=True)], data=lambda b: b.__setitem__(-24, 0))),
    Refuse("not-a-frame", "data that is no frame", "method-93-data", lambda: one_frame(RAW_X, magic=b"PK\3\4")),
    Refuse("no-content-size", "a frame without content size", "frames", lambda: one_frame(b"\0\x38" + RAW_X)),
    Refuse("window-size", "a window over 128 KiB", "frames", lambda: one_frame(b"\x80\x39\1\0\0\0" + RAW_X)),
    Refuse("frame-checksum", "a frame with a checksum", "frames", lambda: one_frame(b"\x24\1" + RAW_X + bytes(4))),
    Refuse("dictionary", "a frame with a dictionary", "frames", lambda: one_frame(b"\x21\7\1" + RAW_X)),
    Refuse("reserved-bit", "a frame with the reserved bit", "frames", lambda: one_frame(b"\x28\1" + RAW_X)),
    Refuse("reserved-block", "a block of the reserved type", "frames", lambda: one_frame(b"\x20\1\x0f\0\0x")),
    Refuse("block-over-window", "a block larger than the window", "frames",
           lambda: one_frame(b"\x80\0" + struct.pack("<I", 2048) + struct.pack("<I", 2048 << 3 | 1)[:3] + TEXT[:2048],
                             TEXT[:2048])),
    Refuse("raw-over-size", "raw blocks with more than the content size", "frames",
           lambda: one_frame(b"\x20\1\x11\0\0xy")),
    Refuse("empty-frame", "a frame without content", "frames",
           lambda: build([Item(b"file", content=b"x", frames=[(b"\x28\xb5\x2f\xfd\x20\0\1\0\0", 0), (raw_frame(b"x"), 1)])])),
    Refuse("frame-over-128-kib", "a frame with 131,073 bytes of content", "frames",
           lambda: one_frame(b"\xa0" + struct.pack("<I", EXTENT + 1) + struct.pack("<I", EXTENT << 3 | 2)[:3] + b"r"
                             + struct.pack("<I", 1 << 3 | 3)[:3] + b"r", b"r" * (EXTENT + 1))),
    Refuse("long-frame", "a frame over 132 KiB", "frames",
           lambda: one_frame(b"\x20\1" + b"\0\0\0" * 45_056 + RAW_X)),
    Refuse("unaligned-extent", "an extent at 100", "frames",
           lambda: build([Item(b"file", content=TEXT[:5000], frames=[(raw_frame(TEXT[:100]), 100),
                                                                     (raw_frame(TEXT[100:5000]), 4900)])])),
    Refuse("cut-frame", "the entry ends within a frame", "frames", lambda: one_frame(b"\x20\2\x11\0\0x", b"xx")),
    Refuse("too-few-frames", "frames with less than the size", "refuse",
           lambda: build([Item(b"file", content=TEXT, frames=[(raw_frame(TEXT[:4096]), 4096)])])),
    Refuse("too-many-frames", "frames with more than the size", "refuse",
           lambda: build([Item(b"file", content=TEXT[:4096], frames=[(raw_frame(TEXT[:4096]), 4096)] * 2)])),
    Refuse("no-tail-padding", "no padding after a full last frame", "padding",
           lambda: build([Item(b"file", content=bytes(EXTENT), frames=[(hole(EXTENT), EXTENT)], tail=[b""])])),
    Refuse("padding-past-the-entry", "a skippable frame longer than the rest of the entry", "padding",
           lambda: build([raw(b"file", TEXT, tail=[skippable(8)[:4] + b"\1\0\0\0"])])),
    Refuse("cut-padding", "7 bytes left at the end of the entry", "method-93-data",
           lambda: build([raw(b"file", TEXT, tail=[bytes(7)])])),
    Refuse("start-of-part-off-the-grid", "a start-of-part frame inside a part", "start-of-part",
           lambda: build([raw(b"file", TEXT, tail=[skippable(48, 0x184D2A55)])])),
    Refuse("start-of-part-offset", "a start-of-part frame that says another offset (8 MiB of zeros)", "start-of-part",
           lambda: hooked([raw(b"file", TEXT, **NEAR_GRID)], data=put(GRID + 24, "<Q", 2 * GRID))),
    Refuse("padding-over-the-grid", "a padding frame that crosses the grid point (8 MiB of zeros)", "padding",
           lambda: build([raw(b"file", TEXT, tail_to=GRID + 100)])),
    Refuse("header-over-the-grid", "a local header that crosses the grid point (8 MiB of zeros)", "grid",
           lambda: build([raw(b"a", TEXT, tail_to=GRID - 10), Item(b"b")])),
    Refuse("stored-off-4-kib", "STORE data on the grid point at an offset that is no multiple of 4 KiB (8 MiB of zeros)",
           "grid", lambda: build([Item(b"file", content=bytes(GRID), data_at=4095)])),
    Refuse("content-crc", "content that is not what CRC-32 says", "directory",
           lambda: hooked([file()], local_0=put(14, "<I", 7), header_0=put(16, "<I", 7)), found="content"),
    Refuse("less-than-declared", "a frame that decodes to less than its content size", "frames",
           lambda: one_frame(b"\x20\2" + RAW_X, b"xx"), found="content"),
    Refuse("nul-in-link", "a symbolic link with NUL", "method", lambda: build([Item(b"l", LINK, b"a\0b")])),
]


def plain_zip() -> bytes:
    import io
    import zipfile
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        z.writestr(zipfile.ZipInfo("file"), b"content" * 40)
    return out.getvalue()


def flip(blob: bytes, after: bytes, at: int) -> bytes:
    b = bytearray(blob)
    b[b.index(after) + at] ^= 1
    return bytes(b)


def swapped_offsets() -> bytes:
    def swap(to: int) -> Callable[[bytearray], None]:
        return put(42, "<I", to)
    items = [Item(b"a"), Item(b"b")]
    return hooked(items, header_0=swap(len(b"a") + 34), header_1=swap(0))


def no_pad() -> bytes:
    """The pad field's 4 bytes belong to the data instead."""
    def local(b: bytearray) -> None:
        put(28, "<H", 0)(b)
        put(18, "<II", 4, 4)(b)
        put(14, "<I", 0x7E13A5B3)(b)
    return hooked([Item(b"file")], local_0=local)


@dataclass
class Valid:
    name: str
    shows: str
    anchors: list[str]
    items: list[Item]
    arguments: dict = field(default_factory=dict)
    deviations: dict = field(default_factory=dict)
    grid: bool = True  # check_grid.py, which judges writers, finds nothing


def skippables() -> list[bytes]:
    """With payloads, but for the padding magic, where a writer must not make one."""
    return [skippable(8 + n, 0x184D2A50 + n)[:8] + (b"\0" if n == 11 else b"\xee") * n for n in range(16) if n != 5]


VALID = [
    Valid("later-minor-version", "what a later 1.x may add: optional attribute and feature, longer trailer and records",
          ["versions", "trailer", "part-map", "burst-field"],
          [file(attributes=attribute(5, b"new") + attribute(0x7F, b""))],
          {"trailer_length": 208, "record_length": 40, "hooks": {
              "trailer": lambda b: (put(10, "<H", 1)(b), put(24, "<Q", 1 << 40)(b), put(165, "<B", 1)(b))}}),
    Valid("other-skippable-frames", "skippable frames of every magic but start-of-part are skipped, whatever they hold",
          ["padding"], [raw(b"file", TEXT, tail=skippables())]),
    Valid("ignored-payloads", "readers ignore the payloads of the pad field and of padding frames", ["local-file-header",
          "padding", "refuse"], [file(pad=9), raw(b"packed", TEXT, tail=[skippable(8)[:4] + b"\3\0\0\0pad"])],
          {"hooks": {"local:0": lambda b: b.__setitem__(slice(-9, None), b"not zeros")}}, grid=False),
    Valid("descriptor-on-the-grid", "a part of start-of-part frame and descriptor alone, then the next entry (8 MiB of zeros)",
          ["grid", "start-of-part", "data-descriptor"], [raw(b"file", TEXT, **NEAR_GRID), Item(b"next", content=b"n")],
          deviations={"bsdtar": "libarchive takes a frame that ends with its read buffer (at every 8 MiB) for the end of the entry and reports an error"}),
    Valid("data-on-the-grid", "method-93 data that begins on the grid point, with a start-of-part frame (8 MiB of zeros)",
          ["grid", "start-of-part"], [raw(b"first", TEXT, tail_to=GRID - 1000), raw(b"second", TEXT, data_at=GRID)]),
]


def escape(name: bytes) -> str:
    return "".join(chr(b) if 0x20 <= b < 0x7F and b != 0x5C else f"\\x{b:02x}" for b in name)


def row(i: Item) -> dict:
    return {"path": escape(i.name), "type": "file", "mode": f"{i.mode & 0o7777:04o}", "uid": i.uid, "gid": i.gid,
            "mtime": i.mtime, "mtime_ns": i.ns, "size": len(i.content), "sha256": hashlib.sha256(i.content).hexdigest()}


def main() -> None:
    where = Path(sys.argv[1])
    path = where / "manifest.json"
    manifest = json.loads(path.read_text())
    (where / "refuse").mkdir(exist_ok=True)
    refuse, by_hand = [], []
    for found, rows in (("open", OPEN), ("directory", DIRECTORY), ("data", DATA)):
        for r in rows:
            blob = r.make()
            (where / "refuse" / f"{r.name}.zip").write_bytes(blob)
            refuse.append({"file": f"refuse/{r.name}.zip", "length": len(blob), "sha256": hashlib.sha256(blob).hexdigest(),
                           "shows": r.shows, "anchor": r.anchor, "exit_code": r.code,
                           "found": r.found if r.found != "data" else found})
    for v in VALID:
        blob = build(v.items, **v.arguments)
        (where / f"{v.name}.zip").write_bytes(blob)
        by_hand.append({"file": f"{v.name}.zip", "length": len(blob), "sha256": hashlib.sha256(blob).hexdigest(),
                        "shows": v.shows, "anchors": v.anchors, "root": None, "entries": [row(i) for i in v.items],
                        "check_grid": v.grid,
                        "tools": dict.fromkeys(("burst", "reference", "7zz", "zip crate", "bsdtar"), "ok") | v.deviations})
    manifest |= {"refuse": refuse, "valid_by_hand": by_hand}
    path.write_text(json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
    print(len(refuse), "to refuse,", len(by_hand), "valid")


if __name__ == "__main__":
    main()
