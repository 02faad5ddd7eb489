"""Archives built by hand, right and wrong, against the reference reader in its three ways of reading."""

import io
import json
import os
import random
import stat
import struct
import subprocess
import sys
from pathlib import Path

import burst_reference as ref
import check_grid
import pytest
from burst_extract import Check, Extractor
from burst_frames import Refused, crc32c
from mini_writer import (
    EXTENT,
    GRID,
    Item,
    attribute,
    build,
    frames_of,
    hole,
    noise,
    raw_frame,
    skippable,
    write_sparse,
    xattrs,
    zstd_frame,
)

DIR, LINK = 0o40755, 0o120777
EMPTY = [Item(b"./", DIR)]
TEXT = b"some text, " * 40000  # four extents, the last one short
MODES = ("map", "ignore-map", "stream")
LINKS = attribute(4, struct.pack("<I", 2))


def to(ordinal: int) -> bytes:
    return attribute(0x83, struct.pack("<Q", ordinal))


def read(blob: bytes, tmp_path: Path, mode: str, sink=None):
    path = tmp_path / "archive.zip"
    path.write_bytes(blob)
    sink = sink or Check()
    if mode == "stream":
        archive = ref.read_stream(io.BytesIO(blob), sink)
    else:
        random.seed(7)
        archive = ref.read_seekable(str(path), sink, mode == "ignore-map")
    if isinstance(sink, Extractor):
        sink.finish(archive, check_crc=mode == "ignore-map")
    return archive


def grid(path: Path) -> int:
    return subprocess.run([sys.executable, check_grid.__file__, str(path)], check=False).returncode


def packed(name: bytes, content: bytes, **more) -> Item:
    return Item(name, content=content, frames=frames_of(content), **more)


BIG = noise(GRID + 700_000)
GOOD = {
    "empty": lambda: build(EMPTY),
    "root attributes": lambda: build(EMPTY, struct.pack("<IIIqI", DIR, 1, 2, -5, 9) + xattrs({b"user.a": b"b"})),
    "empty file": lambda: build([Item(b"f")]),
    "stored": lambda: build([Item(b"f", content=b"hello", pad=100)]),
    "packed": lambda: build([packed(b"f", TEXT)]),
    "descriptor": lambda: build([packed(b"f", TEXT, descriptor=True), Item(b"g", content=b"x")]),
    "full last frame": lambda: build([packed(b"f", TEXT[:EXTENT])]),
    "tree": lambda: build([Item(b"a/", DIR), Item(b"a/b/", DIR), Item(b"a/b/f", content=b"1"), Item(b"g")]),
    "symlink": lambda: build([Item(b"l", LINK, b"no\xffwhere")]),
    "hard link": lambda: build([Item(b"a/", DIR), Item(b"b/", DIR), Item(b"a/f", content=b"x", attributes=LINKS),
                                Item(b"b/g", LINK, b"../a/f", attributes=to(2)),
                                Item(b"a/h", LINK, b"f", attributes=to(2))]),
    "nodes": lambda: build([Item(b"p", 0o10600), Item(b"c", 0o20644, attributes=attribute(0x82, b"\1\0\0\0\3\0\0\0")),
                            Item(b"b", 0o60644, attributes=attribute(0x82, b"\7\0\0\0\0\0\0\0"))]),
    "xattrs": lambda: build([Item(b"f", attributes=xattrs({b"user.b": b"", b"user.a": b"\0\xff"}))]),
    "overflow": lambda: build([Item(b"f", overflow=xattrs({b"user.a": bytes(40000)})), Item(b"g"),
                               Item(b"h", overflow=xattrs({b"user.b": b"x" * 60000}))]),
    "unknown optional attribute": lambda: build([Item(b"f", attributes=attribute(5, b"new"))]),
    "holes": lambda: build([Item(b"f", content=bytes(EXTENT + 4096) + b"x", frames=[
        (hole(EXTENT), EXTENT), (hole(4096), 4096), (zstd_frame(b"x"), 1)])]),
    "hole at the end": lambda: build([Item(b"f", content=b"y" * 4096 + bytes(5), frames=[
        (zstd_frame(b"y" * 4096), 4096), (hole(5), 5)])]),
    "names": lambda: build([Item("ä".encode()), Item(b"\xff\\"), Item(b"x" * 255)]),
    "other skippable frame": lambda: build([packed(b"f", TEXT, tail=[b"\x50\x2a\x4d\x18\3\0\0\0abc"])]),
    "old and new": lambda: build([Item(b"f", mtime=-(1 << 40)), Item(b"g", mtime=1 << 40)]),
    "stored over the grid": lambda: build([Item(b"f", content=BIG, data_at=4096), packed(b"g", TEXT)]),
    "packed over the grid": lambda: build([Item(b"f", content=BIG, frames=frames_of(BIG, raw_frame)), Item(b"g")]),
    "descriptor over the grid": lambda: build([Item(b"f", content=BIG, frames=frames_of(BIG, raw_frame),
                                                    descriptor=True), Item(b"g")]),
    "descriptor on the grid": lambda: build([packed(b"f", TEXT, descriptor=True, tail_to=GRID), Item(b"g")]),
    "header on the grid": lambda: build([packed(b"f", TEXT, tail_to=GRID), Item(b"g", content=b"x")]),
    "data on the grid": lambda: build([Item(b"e"), Item(b"f", content=BIG[:GRID - 8192], data_at=4096),
                                       packed(b"g", TEXT, data_at=GRID)]),
    "ends on the grid": lambda: build([packed(b"f", TEXT, tail_to=GRID)]),
    "reserved in the trailer": lambda: build(EMPTY, hooks={"trailer": put(165, "<B", 1)}),
    "upload part size": lambda: build(EMPTY, hooks={"trailer": put(152, "<Q", 3)}),
    "later minor version": lambda: build([Item(b"f")], hooks={"trailer": put(10, "<H", 3), }),
}


def put(at: int, form: str, *values):
    """A hook that overwrites a field."""
    return lambda b: struct.pack_into(form, b, at, *values)


def frame_file(frame: bytes, content: bytes) -> list[Item]:
    return [Item(b"f", content=content, frames=[(frame, len(content))])]


def shaped(d: int, rest: bytes) -> bytes:
    return b"\x28\xb5\x2f\xfd" + bytes([d]) + rest


ONE_BLOCK = b"\x09\0\0x"  # last, raw, 1 byte
SECOND = frames_of(TEXT[:EXTENT]) + frames_of(TEXT[EXTENT:EXTENT + 5000])
BAD = {
    # what, anchor of the first refusal, blob
    "cut": ("end-records", lambda: build([Item(b"f")])[:-1]),
    "grown": ("end-records", lambda: build([Item(b"f")]) + b"\0"),
    "prefixed": ("end-records", lambda: b"\0" + build([Item(b"f")])),
    "superfluous ZIP64 records": ("end-records", lambda: build([Item(b"f")], zip64=True)),
    "count in the end record": ("end-records", lambda: build([Item(b"f")], hooks={"end": put(8, "<H", 2)})),
    "archive length": ("refuse", lambda: build(EMPTY, hooks={"trailer": put(48, "<Q", 5)})),
    "major version": ("versions", lambda: build(EMPTY, hooks={"trailer": put(8, "<H", 2)})),
    "required feature": ("versions", lambda: build(EMPTY, hooks={"trailer": put(16, "<Q", 4)})),
    "directories": ("trailer", lambda: build([Item(b"f")], hooks={"trailer": put(136, "<Q", 1)})),
    "content bytes": ("trailer", lambda: build([Item(b"f")], hooks={"trailer": put(144, "<Q", 1)})),
    "gap before the map": ("attribute-region", lambda: build(EMPTY, hooks={"attributes": lambda b: b.append(0)})),
    "attribute magic": ("attribute-region", lambda: build(EMPTY, hooks={"attributes": put(0, "<B", 1)})),
    "root attribute": ("attribute-region", lambda: build(EMPTY, struct.pack("<IIIqI", DIR, 0, 0, 0, 0) + LINKS)),
    "map kind": ("part-map", lambda: build([Item(b"f")], hooks={"map": put(4, "<B", 3)})),
    "map ordinal": ("part-map", lambda: build([Item(b"f"), Item(b"g")], hooks={"map": put(8, "<Q", 1)})),
    "part checksum": ("part-map", lambda: build([Item(b"f")], hooks={"map": put(0, "<I", 1)})),
    "directory checksum": ("table", lambda: build([Item(b"f")], hooks={"table": put(0, "<I", 1)})),
    "unknown critical attribute": ("burst-field", lambda: build([Item(b"f", attributes=attribute(0x86, b""))])),
    "attributes descend": ("burst-field", lambda: build([Item(b"f", attributes=xattrs({b"user.a": b""}) + LINKS)])),
    "xattrs twice": ("burst-field", lambda: build([Item(b"f", attributes=xattrs({}), overflow=xattrs({}))])),
    "device on a file": ("burst-field", lambda: build([Item(b"f", attributes=attribute(0x82, bytes(8)))])),
    "no device": ("burst-field", lambda: build([Item(b"c", 0o20644)])),
    "user": ("burst-field", lambda: build([Item(b"f", uid=0xFFFF_FFFF)])),
    "group": ("burst-field", lambda: build([Item(b"f", gid=0xFFFF_FFFF)])),
    "nanoseconds": ("burst-field", lambda: build([Item(b"f", ns=1_000_000_000)])),
    "link count 1": ("burst-field", lambda: build([Item(b"f", attributes=attribute(4, struct.pack("<I", 1)))])),
    "overflow without xattrs": ("attribute-region", lambda: build([Item(b"f", overflow=LINKS)])),
    "socket": ("types", lambda: build([Item(b"s", 0o140755)])),
    "absolute": ("names", lambda: build([Item(b"/f")])),
    "up": ("names", lambda: build([Item(b"a/", DIR), Item(b"a/../f")])),
    "dot": ("names", lambda: build([Item(b"a/", DIR), Item(b"a/./f")])),
    "dot with another": ("entry-order", lambda: build([*EMPTY, Item(b"f")])),
    "no entry": ("entry-order", lambda: build([])),
    "hard link with attributes": ("hard-links", lambda: build([
        Item(b"f", attributes=LINKS), Item(b"g", LINK, b"f", attributes=xattrs({b"user.a": b""}) + to(0))])),
    "empty component": ("names", lambda: build([Item(b"a/", DIR), Item(b"a//f")])),
    "reserved": ("names", lambda: build([Item(b".burst/", DIR)])),
    "slash of a file": ("names", lambda: build([Item(b"f/")])),
    "twice": ("names", lambda: build([Item(b"f"), Item(b"f")])),
    "directory and file": ("names", lambda: build([Item(b"f/", DIR), Item(b"f")])),
    "long name": ("names", lambda: build([Item(b"f" * 4096)])),
    "no parent": ("entry-order", lambda: build([Item(b"a/f")])),
    "parent is a link": ("entry-order", lambda: build([Item(b"a", LINK, b"/etc"), Item(b"a/f")])),
    "directory after file": ("entry-order", lambda: build([Item(b"f"), Item(b"a/", DIR)])),
    "child before parent": ("entry-order", lambda: build([Item(b"a/b/", DIR), Item(b"a/", DIR)])),
    "hard link forward": ("hard-links", lambda: build([Item(b"g", LINK, b"f", attributes=to(1)),
                                                       Item(b"f", attributes=LINKS)])),
    "hard link without count": ("hard-links", lambda: build([Item(b"f"), Item(b"g", LINK, b"f", attributes=to(0))])),
    "hard link with other data": ("hard-links", lambda: build([
        Item(b"f", attributes=LINKS), Item(b"g", LINK, b"ff", attributes=to(0))])),
    "hard link with other time": ("hard-links", lambda: build([
        Item(b"f", attributes=LINKS), Item(b"g", LINK, b"f", attributes=to(0), mtime=7)])),
    "local name": ("local-file-header", lambda: build([Item(b"f")], hooks={"local:0": put(30, "<B", 0x67)})),
    "local crc": ("local-file-header", lambda: build([Item(b"f")], hooks={"local:0": put(14, "<I", 7)})),
    "no pad field": ("local-file-header", lambda: build([Item(b"f")], hooks={"local:0": put(31, "<H", 1)})),
    "encrypted": ("local-file-header", lambda: build([Item(b"f")], hooks={
        "local:0": put(6, "<H", 1), "header:0": put(8, "<H", 1)})),
    "method 8": ("local-file-header", lambda: build([Item(b"f")], hooks={
        "local:0": put(8, "<H", 8), "header:0": put(10, "<H", 8)})),
    "content crc": ("directory", lambda: build([Item(b"f", content=b"a")], hooks={
        "local:0": put(14, "<I", 7), "header:0": put(16, "<I", 7)})),
    "descriptor": ("data-descriptor", lambda: build([packed(b"f", TEXT, descriptor=True)], hooks={
        "data": lambda b: b.__setitem__(-20, b[-20] ^ 1)})),
    "empty packed": ("method", lambda: build([Item(b"f", frames=[])])),
    "no content size": ("frames", lambda: build(frame_file(shaped(0, b"\x38" + ONE_BLOCK), b"x"))),
    "window": ("frames", lambda: build(frame_file(shaped(0x40, b"\x39\0\0" + ONE_BLOCK), b"x"))),
    "frame checksum": ("frames", lambda: build(frame_file(shaped(0x24, b"\1" + ONE_BLOCK + bytes(4)), b"x"))),
    "dictionary": ("frames", lambda: build(frame_file(shaped(0x21, b"\7\1" + ONE_BLOCK), b"x"))),
    "block over the window": ("frames", lambda: build(frame_file(
        shaped(0x40, b"\0" + struct.pack("<H", 1025 - 256) + struct.pack("<I", 1025 << 3 | 1)[:3] + bytes(1025)), bytes(1025)))),
    "reserved bit": ("frames", lambda: build(frame_file(shaped(0x28, b"\1" + ONE_BLOCK), b"x"))),
    "reserved block": ("frames", lambda: build(frame_file(shaped(0x20, b"\1\x0f\0\0x"), b"x"))),
    "raw over size": ("frames", lambda: build(frame_file(shaped(0x20, b"\1\x11\0\0xy"), b"x"))),
    "less than declared": ("frames", lambda: build(frame_file(shaped(0x20, b"\2" + ONE_BLOCK), b"xx"))),
    "two extents in a frame": ("frames", lambda: build(frame_file(zstd_frame(TEXT[:EXTENT + 1]), TEXT[:EXTENT + 1]))),
    "unaligned extent": ("frames", lambda: build([Item(b"f", content=TEXT[:5000], frames=[
        (zstd_frame(TEXT[:100]), 100), (zstd_frame(TEXT[100:5000]), 4900)])])),
    "not a frame": ("method-93-data", lambda: build(frame_file(b"PK\3\4" + bytes(9), b"x"))),
    "frames short of the size": ("refuse", lambda: build([Item(b"f", content=TEXT[:EXTENT + 5000], frames=SECOND[:1])])),
    "frames beyond the size": ("refuse", lambda: build([Item(b"f", content=TEXT[:EXTENT], frames=SECOND)])),
    "no padding at the end": ("padding", lambda: build([packed(b"f", TEXT[:EXTENT], tail=[b""])])),
    "padding beyond the entry": ("padding", lambda: build([packed(b"f", TEXT, tail=[skippable(8)[:4] + b"\1\0\0\0"])])),
    "start-of-part off the grid": ("start-of-part", lambda: build([packed(b"f", TEXT, tail=[
        skippable(48, 0x184D2A55)])])),
    "start-of-part offset": ("start-of-part", lambda: build([packed(b"f", TEXT, descriptor=True, tail_to=GRID)], hooks={
        "data": put(GRID + 24, "<Q", 5)})),
    "start-of-part identifier": ("start-of-part", lambda: build([
        packed(b"f", TEXT, descriptor=True, tail_to=GRID)], hooks={"data": put(GRID + 8, "<Q", 5)})),
    "start-of-part content": ("start-of-part", lambda: build([
        packed(b"f", TEXT, descriptor=True, tail_to=GRID)], hooks={"data": put(GRID + 40, "<Q", 4096)})),
    "padding over the grid": ("padding", lambda: build([packed(b"f", TEXT, tail_to=GRID + 100)])),
    "stored off the 4 KiB": ("grid", lambda: build([Item(b"f", content=BIG, data_at=4095)])),
    "header over the grid": ("grid", lambda: build([packed(b"f", TEXT, tail_to=GRID - 10), Item(b"g")])),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", GOOD)
def test_accepts(case: str, mode: str, tmp_path: Path) -> None:
    blob = GOOD[case]()
    read(blob, tmp_path, mode)
    if mode == "map":
        assert grid(tmp_path / "archive.zip") == 0


@pytest.mark.parametrize("case", BAD)
def test_refuses(case: str, tmp_path: Path) -> None:
    anchor, make = BAD[case]
    blob = make()
    with pytest.raises(Refused) as first:
        read(blob, tmp_path, "map")
    assert first.value.anchor == anchor, first.value
    assert str(first.value).startswith(f"spec/format.md#{anchor}: ")
    for mode in ("ignore-map", "stream"):
        if mode == "ignore-map" and case.startswith("map "):
            continue  # that reader uses only the checksums of the map
        with pytest.raises((Refused, struct.error)):
            read(blob, tmp_path, mode)


# Writers must not make these, readers must not look.
IGNORED = {
    "pad field": lambda: build([Item(b"f", pad=4)], hooks={"local:0": put(35, "<B", 7)}),
    "padding frame": lambda: build([packed(b"f", TEXT, tail=[skippable(8)[:4] + b"\1\0\0\0x"])]),
}


@pytest.mark.parametrize("case", IGNORED)
def test_readers_ignore_the_payload_of_padding(case: str, tmp_path: Path) -> None:
    for mode in MODES:
        read(IGNORED[case](), tmp_path, mode)
    assert grid(tmp_path / "archive.zip") == 1


LAYOUT = ("grid", "start-of-part", "padding", "frames", "method-93-data", "part-map", "data-descriptor")


@pytest.mark.parametrize("case", [
    c for c, (anchor, _) in BAD.items()
    if anchor in LAYOUT and c != "less than declared"  # that one shows only when the frame is decompressed
])
def test_grid_checker_finds_it_too(case: str, tmp_path: Path) -> None:
    path = tmp_path / "archive.zip"
    path.write_bytes(BAD[case][1]())
    assert grid(path) == 1


def snapshot(root: Path) -> dict:
    out = {}
    for path in sorted(root.rglob("*")):
        s = path.lstat()
        what = path.read_bytes() if stat.S_ISREG(s.st_mode) else os.readlink(path) if path.is_symlink() else s.st_rdev
        out[str(path.relative_to(root))] = (oct(s.st_mode), s.st_nlink, s.st_mtime_ns, what)
    return out


@pytest.mark.parametrize("mode", MODES)
def test_extracts(mode: str, tmp_path: Path) -> None:
    f = bytes(1 << 20) + noise(300_000)
    items = [
        Item(b"d/", 0o40750), Item(b"d/e/", 0o41777), Item(b"big", content=BIG, data_at=8192),
        Item(b"d/f", 0o104755, content=f, descriptor=True, attributes=LINKS,
             frames=[(hole(EXTENT), EXTENT)] * 8 + frames_of(f[1 << 20:])),
        Item(b"d/e/h", LINK, b"../f", attributes=to(3)), Item(b"s", LINK, b"d/f"), Item(b"p", 0o10600),
        Item(b"raw", content=BIG, frames=frames_of(BIG, raw_frame), ns=999_999_999),
    ]
    out = tmp_path / "out"
    read(build(items), tmp_path, mode, Extractor(os.fsencode(out)))
    tree = snapshot(out)
    assert tree["d/f"] == (oct(0o104755), 2, 1_700_000_001_000_000_005, f)
    assert tree["d/e/h"] == tree["d/f"]
    assert (out / "d/f").stat().st_blocks * 512 < 400_000
    assert tree["big"][3] == tree["raw"][3] == BIG
    assert tree["raw"][2] % 10**9 == 999_999_999
    assert tree["s"][3] == "d/f" and tree["d"][0] == oct(0o40750) and tree["d/e"][2] == 1_700_000_001_000_000_005
    assert stat.S_ISFIFO((out / "p").lstat().st_mode)


def test_refuses_long_component_when_extracting(tmp_path: Path) -> None:
    blob = build([Item(b"x" * 256)])
    read(blob, tmp_path, "map")
    with pytest.raises(Refused, match="#names"):
        read(blob, tmp_path, "map", Extractor(os.fsencode(tmp_path / "out")))
    assert not list((tmp_path / "out").iterdir())


def test_many_entries_need_zip64_records(tmp_path: Path) -> None:
    blob = build([Item(b"%d" % n) for n in range(65_535)])
    assert b"PK\6\6" in blob[-98:]
    for mode in MODES:
        assert len(read(blob, tmp_path, mode).entries) == 65_535
    assert grid(tmp_path / "archive.zip") == 0


def test_five_gigabytes_use_zip64_fields(tmp_path: Path) -> None:
    path = tmp_path / "archive.zip"
    write_sparse(str(path), (5 << 30) + 12345)
    archive = ref.read_seekable(str(path), None, True)
    assert archive.trailer.parts == 641 and archive.entries[0].usize == (5 << 30) + 12345
    assert grid(path) == 0
    listing = subprocess.run(["7zz", "l", str(path)], capture_output=True, text=True, check=True).stdout
    assert str((5 << 30) + 12345) in listing and "Warning" not in listing


def test_list(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(build([
        Item(b"f\xff\\", content=bytes(4096) + b"x", attributes=LINKS + xattrs({b"user.a": b"\1"}), frames=[(hole(4096), 4096), (zstd_frame(b"x"), 1)]),
        Item(b"h", LINK, b"f\xff\\", attributes=to(0)),
    ]))
    run = subprocess.run([sys.executable, ref.__file__, "list", "--json", str(path)], check=True, capture_output=True)
    f, h = json.loads(run.stdout)
    assert (f["path"], f["holes"], f["xattrs"], f["links"]) == (r"f\xff\x5c", [[0, 4096]], {"user.a": "01"}, 2)
    assert (h["type"], h["hard_link"], h["link"]) == ("hardlink", f["path"], f["path"])


def plain_crc32c(data: bytes) -> int:
    c = 0xFFFFFFFF
    for b in data:
        c ^= b
        for _ in range(8):
            c = c >> 1 ^ (0x82F63B78 if c & 1 else 0)
    return c ^ 0xFFFFFFFF


def test_checksum() -> None:
    assert crc32c(b"123456789") == plain_crc32c(b"123456789") == 0xE3069283
    for n in (0, 262_143, 262_144, 300_001):
        assert crc32c(noise(n)) == plain_crc32c(noise(n)) == check_grid.crc32c(noise(n))


@pytest.mark.parametrize("case", GOOD)
def test_seven_zip_agrees(case: str, tmp_path: Path) -> None:
    path = tmp_path / "archive.zip"
    path.write_bytes(GOOD[case]())
    run = subprocess.run(["7zz", "t", str(path)], capture_output=True, text=True, check=False)
    assert run.returncode == 0 and "Warning" not in run.stdout, run.stdout + run.stderr
