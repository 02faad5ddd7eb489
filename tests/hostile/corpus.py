#!/usr/bin/env python3
"""The hostile archives: each with the exit codes that are right for it. Made anew for every run, never kept.

  corpus.py DIRECTORY      writes them there, with manifest.json

They go beyond spec/vectors/refuse, whose archives each break one sentence of the specification: here are the attacks
(names, links, bombs), every number of every structure at its extremes behind right checksums, frames that BTRFS would
turn into silent zeros, and truncations at every border. Code 0 means: a whole tree, and nothing outside of it.
"""

import json
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "format"), str(TESTS.parent / "spec" / "reference")]

from make_refuse import LINKS, flip, hooked, link, put, raw, to  # noqa: E402, F401
from mini_writer import (  # noqa: E402
    EXTENT,
    Item,
    attribute,
    build,
    hole,
    noise,
    skippable,
    xattrs,
    zstd_frame,
)

OK, CORRUPT, UNSAFE, NO_SPACE, UNSUPPORTED = 0, 13, 14, 15, 17
DIR, LINK, FIFO = 0o40755, 0o120777, 0o010644
REFUSED = (CORRUPT, UNSAFE, UNSUPPORTED)


@dataclass
class Hostile:
    name: str
    shows: str
    content: bytes
    codes: tuple[int, ...] = (CORRUPT,)
    # A pipe learns the directory and the checksums last: what it may say instead.
    pipe: tuple[int, ...] | None = None
    # What `burst image` ends with, where that is narrower: no kernel and no other file system has a say in it.
    image: tuple[int, ...] | None = None
    # What its file `file` holds, if it can be restored and `burst verify --content` has nothing against it.
    holds: bytes | None = None


def file(name: bytes = b"file", content: bytes = b"content", **more: object) -> Item:
    return Item(name, content=content, **more)


def directory(name: bytes) -> Item:
    return Item(name, DIR)


def shown(name: bytes) -> str:
    return name[:24].decode("latin-1").encode("unicode_escape").decode().replace("/", "|")


def names() -> Iterator[Hostile]:
    """Every way to name what is not beneath the target, and what only looks like one."""
    bad = [
        b"/canary", b"//canary", b"../canary", b"..", b"../../../../../../canary", b"a/../../canary", b"a/..", b".",
        b"./a", b"a/./b", b"a//b", b"a/", b"/", b"", b"\0", b"a\0b", b"..\0/canary", b"a/../canary", b"../t/../canary",
        b".burst", b".burst/lock", b".burst/x", b"/proc/self/root/canary", b"/proc/self/cwd/canary",
        b"x" * 4096, b"../" * 1300 + b"canary", b"/dev/shm/canary", b"....//../canary", b"..//canary", b"a/..//canary",
    ]  # fmt: skip
    for name in bad:
        yield Hostile(f"name-{shown(name)}", "a name that leaves the target", build([file(name)]), (CORRUPT, UNSAFE))
        if name.endswith((b"canary", b"..", b"lock", b"x")) and len(name) < 100:
            yield Hostile(
                f"directory-{shown(name)}", "a directory that leaves it", build([directory(name + b"/")]),
                (CORRUPT, UNSAFE),
            )  # fmt: skip
            yield Hostile(
                f"symlink-{shown(name)}", "a link that leaves it", build([Item(name, LINK, b"/etc")]), (CORRUPT, UNSAFE)
            )
    legal = [
        b"..\\canary", b"\\canary", b"C:\\canary", b"C:", b"\\\\server\\share", b"...", b"..a", b"a..", b" ", b"~",
        b"$HOME", b"%2e%2e%2fcanary", b"\xc0\xae\xc0\xae\xc0\xafcanary", b"\xe2\x88\x95canary", b"-rf", b"*", b"\n",
        b"\x1b[2J", b"\xff\xfe", b"CON", b"a\r", b"\xe2\x80\xaetxt.exe", b"x" * 255, b".burst ", b".BURST",
    ]  # fmt: skip
    for name in legal:
        yield Hostile(f"legal-{shown(name)}", "odd, but a name like any other on Linux", build([file(name)]), (OK,))
    yield Hostile("both-cases", "names that are one on other systems", build([file(b"A"), file(b"a")]), (OK,))
    yield Hostile("name-256", "a component Linux does not take", build([file(b"x" * 256)]), (UNSAFE,))
    deep = [directory(b"d/" * n) for n in range(1, 2048)]
    yield Hostile("deep", "2,047 directories in each other", build(deep), (OK,))
    deep_names = [b"/".join([b"d" * 250] * n) for n in range(1, 17)]
    yield Hostile("deep-long", "4,015 bytes of path", build([directory(n + b"/") for n in deep_names]), (OK,))


def same_names() -> Iterator[Hostile]:
    a, below = directory(b"a/"), file(b"a/b")
    for kind, first in (("file", file(b"a")), ("link", Item(b"a", LINK, b"../outside")), ("fifo", Item(b"a", FIFO))):
        yield Hostile(f"below-{kind}", f"an entry below a {kind}", build([first, below]), REFUSED)
        yield Hostile(f"directory-over-{kind}", "one name twice", build([a, first]), REFUSED)
        yield Hostile(f"{kind}-then-directory", "one name twice", build([first, a, below]), REFUSED)
        yield Hostile(f"{kind}-twice", "one name twice", build([first, replace(first)]), REFUSED)
    outside = Item(b"a", LINK, b"../outside", attributes=LINKS)
    items = [outside, link(b"b", 0, b"a"), file(b"b/canary")]
    yield Hostile("below-linked-link", "an entry below the second name of a link", build(items), REFUSED)
    items = [directory(b"a/"), file(b"a/f", attributes=LINKS), link(b"l", 1, b"a/f"), file(b"l/x")]
    yield Hostile("below-hard-link", "an entry below a hard link", build(items), REFUSED)


def links() -> Iterator[Hostile]:
    for n, text in enumerate(
        (
            b"/etc",
            b"../outside",
            b"../outside/canary",
            b"../../../..",
            b".",
            b"..",
            b"l",
            b"/proc/self/exe",
            b"x" * 4095,
        )
    ):
        yield Hostile(f"link-{n}", f"a link to {shown(text)}", build([Item(b"l", LINK, text)]), (OK,))
    target = file(b"file", attributes=LINKS)
    for n, text in enumerate((b"/etc/passwd", b"../outside/canary", b"../file", b"./file", b"file/", b"", b"x" * 5000)):
        yield Hostile(f"hard-text-{n}", f"a hard link with the text {shown(text)}", build([target, link(b"h", 0, text)]),
                      REFUSED)  # fmt: skip
    for n, ordinal in enumerate((1, 2, 1000, (1 << 32) - 1, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)):
        yield Hostile(f"hard-ordinal-{n}", f"a hard link to entry {ordinal}", build([target, link(b"h", ordinal, b"file")]),
                      REFUSED)  # fmt: skip
    to_link = [Item(b"l", LINK, b"../outside/canary", attributes=LINKS), link(b"h", 0, b"l")]
    yield Hostile("hard-to-outside-link", "a hard link to a link that leads out: links the link", build(to_link), (OK,))
    many = [target, *(link(b"h%d" % n, 0, b"file") for n in range(3000))]
    yield Hostile("many-links", "more names than were counted", build(many), (OK, *REFUSED), image=(OK,))
    yield Hostile("link-mode", "a link with set-user-ID", build([Item(b"l", 0o124777, b"x")]), (OK, *REFUSED),
                  image=(OK,))  # fmt: skip
    device = attribute(0x82, struct.pack("<II", 1, 3))
    huge = attribute(0x82, struct.pack("<II", (1 << 32) - 1, (1 << 32) - 1))
    yield Hostile("device", "a device of root's", build([Item(b"null", 0o020666, attributes=device)]), (OK,))
    yield Hostile(
        "device-numbers", "numbers no device has", build([Item(b"null", 0o060666, attributes=huge)]), (OK, UNSAFE, 1),
        image=(UNSAFE,),
    )  # fmt: skip
    for bits in (0o140644, 0o000644, 0o170644, 0o110644):
        yield Hostile(f"type-{bits:o}", "a type there is not", build([Item(b"x", bits)]), REFUSED)
    setuid = file(b"setuid", uid=0, gid=0, mode=0o104755)
    yield Hostile("setuid", "set-user-ID of root: kept, when root restores", build([setuid]), (OK,))
    odd = xattrs({b"system.posix_acl_access": b"nonsense"})
    yield Hostile("bad-acl", "an ACL the kernel refuses", build([file(attributes=odd)]), (1, 17, *REFUSED),
                  image=(UNSAFE,))  # fmt: skip
    odd = xattrs({b"security.capability": b"\1"})
    yield Hostile("bad-capability", "a capability the kernel refuses", build([file(attributes=odd)]), (1, *REFUSED),
                  image=(UNSAFE,))  # fmt: skip
    odd = xattrs({b"nonsense": b"\1"})
    yield Hostile("no-namespace", "an attribute without namespace", build([file(attributes=odd)]), (1, 17, *REFUSED),
                  image=(UNSAFE,))  # fmt: skip
    odd = xattrs({b"user.burst.restored": b"{}"})
    yield Hostile(
        "own-marker",
        "an entry that carries the mark of a complete target",
        build([file(attributes=odd)]),
        (OK, *REFUSED),
        image=(OK,),
    )
    root = struct.pack("<IIIqI", 0o40755, 0, 0, 1, 0) + xattrs({b"user.burst.restored": b"{}"})
    yield Hostile("root-marker", "a root that carries it, and a damaged part",
                  hooked_root([file()], root, map=put(0, "<I", 1)), (CORRUPT,))  # fmt: skip
    owner = file(b"x", uid=(1 << 32) - 1)
    yield Hostile("no-owner", "the user id that means: leave it", build([owner]), (1, *REFUSED), image=(CORRUPT,))
    for n, when in enumerate((-(1 << 63), (1 << 63) - 1, 1 << 40, -(1 << 40))):
        yield Hostile(f"time-{n}", f"modified {when} s after 1970", build([file(mtime=when)]), (OK, 1, *REFUSED),
                      image=(OK,))  # fmt: skip


def hooked_root(items: list[Item], root: bytes, **hooks: object) -> bytes:
    return build(items, root=root, hooks={k.replace("_", ":"): v for k, v in hooks.items()})


def frames() -> Iterator[Hostile]:
    """What the kernel takes without a look, and reads back as zeros or EIO (spec/btrfs-encoded-io.md)."""
    text = (b"text " * 40000)[: 2 * 65536]
    good = zstd_frame(text)

    def packed(name: str, shows: str, frame: bytes, size: int = EXTENT, codes: tuple[int, ...] = (CORRUPT,), **more):
        tail = more.pop("tail", None) or ([skippable(8)] if size == EXTENT else [])
        image = more.pop("image", None)
        item = Item(b"file", content=text[:size], frames=[(frame, size)], tail=tail, **more)
        return Hostile(f"frame-{name}", shows, build([item, file(b"next")]), codes, image=image, holds=text[:size])

    for n in (1, 4, 5, 6, 9, 10, len(good) // 2, len(good) - 3, len(good) - 1):
        yield packed(f"cut-{n}", f"{n} of {len(good)} bytes of a frame", good[:n])
    yield packed("half", "half of a frame, then the rest as another", good[: len(good) // 2] + b"\0" * 8)
    yield packed(
        "skippable-inside", "a skippable frame where the frame must be, twice", skippable(16) + good, codes=(OK,)
    )
    yield packed(
        "two-in-one", "two frames for one extent", zstd_frame(text[:65536]) + zstd_frame(text[65536:]), codes=(OK,)
    )
    yield packed("twice", "the frame twice", good + good)
    yield packed("then-zeros", "bytes after the frame", good + b"\0" * 12)
    yield packed("then-garbage", "garbage after the frame", good + b"\xaa" * 12)
    yield packed("small-size", "more content than extent", zstd_frame(text[: EXTENT - 4096]) + b"", EXTENT)
    yield packed("large-size", "less extent than content", good, EXTENT - 4096)
    import zstandard

    long_window = zstandard.ZstdCompressionParameters(window_log=20, compression_level=3, enable_ldm=True)
    big = zstandard.ZstdCompressor(compression_params=long_window)
    stream = big.compressobj()
    no_size = stream.compress(text) + stream.flush()
    yield packed("streamed", "a frame without content size and with a large window", no_size)
    with_sum = zstandard.ZstdCompressor(level=3, write_checksum=True).compress(text)
    yield packed("checksum", "a frame with a checksum, which the kernel cannot check", with_sum)
    wrong = bytearray(with_sum)
    wrong[-1] ^= 1
    yield packed("bad-checksum", "a frame with a wrong checksum", bytes(wrong))
    dictionary = zstandard.ZstdCompressionDict(text[:4096], dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    raw_dict = zstandard.ZstdCompressor(level=3, dict_data=dictionary).compress(text)
    yield packed("raw-dictionary", "needs a dictionary and does not say so", raw_dict, codes=(OK, CORRUPT),
                 image=(OK,))  # fmt: skip
    for descriptor in range(256):
        # Bits 7-6 content size, 5 single segment, 3 reserved, 2 checksum, 1-0 dictionary.
        if descriptor in (0xA0, 0x20, 0x60, 0x80):
            continue
        if descriptor % 16 in (0, 1, 4, 8) or descriptor in (0x63, 0xE2):
            frame = b"\x28\xb5\x2f\xfd" + bytes([descriptor]) + struct.pack("<Q", 4096) + b"\x01\0\0" + text[:4096]
            yield packed(f"descriptor-{descriptor:02x}", "a frame header of another kind", frame, 4096)
    for window in (0x39, 0x40, 0x50, 0x70, 0xF8, 0xFF):
        head = b"\x28\xb5\x2f\xfd\x80" + bytes([window]) + struct.pack("<I", 4096)
        frame = head + struct.pack("<I", 4096 << 3 | 1)[:3] + text[:4096]
        yield packed(f"window-{window:02x}", "a window over 128 KiB", frame, 4096)
    for size in (0, 1, 4095, 4097, EXTENT + 1, 1 << 31, (1 << 32) - 1):
        frame = b"\x28\xb5\x2f\xfd\xa0" + struct.pack("<I", size) + struct.pack("<I", 4096 << 3 | 1)[:3] + text[:4096]
        yield packed(f"size-{size}", f"a frame that says {size} for 4,096", frame, 4096)
    yield packed("magicless", "no magic", good[4:])
    yield packed("legacy", "the magic of zstd 0.7", b"\x27" + good[1:])
    block = struct.pack("<I", 4096 << 3 | 3)[:3]
    for n, blocks in enumerate((b"", b"\0\0\0" * 100, block[:2], block, b"\x07\0\0" + text[:100])):
        yield packed(f"blocks-{n}", "broken blocks", b"\x28\xb5\x2f\xfd\xa0" + struct.pack("<I", 4096) + blocks, 4096)
    yield packed("reserved-bits", "reserved block type", b"\x28\xb5\x2f\xfd\xa0\0\x10\0\0\x07\x80\0", 4096)


def extremes() -> Iterator[Hostile]:
    """Every number of every structure at its extremes, with all checksums right: lies of structure and of size."""
    items = [directory(b"d/"), file(b"d/stored", content=b"s" * 5000), raw(b"packed", b"p" * 8192, descriptor=True)]
    items += [file(b"linked", attributes=LINKS), link(b"hard", 3, b"linked"), Item(b"link", LINK, b"d")]
    truth = build(items)
    fields = {
        "trailer": [(8, "H", "major"), (10, "H", "minor"), (16, "Q", "required"), (48, "Q", "length"),
                    (56, "Q", "data end"), (64, "Q", "root length"), (72, "I", "root crc"), (76, "I", "record size"),
                    (80, "Q", "map offset"), (88, "Q", "records"), (96, "I", "map crc"), (104, "Q", "table offset"),
                    (112, "Q", "directory offset"), (120, "Q", "directory length"), (128, "Q", "entries"),
                    (136, "Q", "directories"), (144, "Q", "content"), (152, "Q", "part size")],
        "end": [(4, "H", "disk"), (6, "H", "directory disk"), (8, "H", "entries here"), (10, "H", "entries"),
                (12, "I", "length"), (16, "I", "offset"), (20, "H", "comment")],
        "map": [(4, "B", "kind"), (8, "Q", "ordinal"), (16, "Q", "value"), (24, "Q", "directory offset")],
        "header:2": [(6, "H", "version"), (8, "H", "flags"), (10, "H", "method"), (12, "H", "time"), (16, "I", "crc"),
                     (20, "I", "packed"), (24, "I", "size"), (28, "H", "name length"), (30, "H", "extra length"),
                     (32, "H", "comment length"), (34, "H", "disk"), (36, "H", "internal"), (38, "I", "external"),
                     (42, "I", "offset")],
        "header:1": [(20, "I", "packed"), (24, "I", "size"), (42, "I", "offset")],
        "local:1": [(4, "H", "version"), (6, "H", "flags"), (8, "H", "method"), (14, "I", "crc"), (18, "I", "packed"),
                    (22, "I", "size"), (26, "H", "name length"), (28, "H", "extra length")],
        "local:2": [(6, "H", "flags"), (14, "I", "crc"), (18, "I", "packed"), (22, "I", "size"),
                    (26, "H", "name length"), (28, "H", "extra length"), (38, "H", "extra id"), (40, "H", "zip64")],
    }  # fmt: skip
    for where, rows in fields.items():
        for at, form, what in rows:
            top = (1 << 8 * struct.calcsize(form)) - 1
            for n, value in enumerate((0, 1, top >> 1, top)):
                blob = build(items, hooks={where: put(at, "<" + form, value)})
                if blob == truth:
                    continue
                image = HARMLESS.get((where, what))
                may = (OK, *REFUSED) if image else REFUSED
                yield Hostile(f"{where.replace(':', '-')}-{what.replace(' ', '-')}-{n}", f"{what} of {where} is {value}",
                              blob, may, pipe=(OK, *REFUSED) if image else None, image=image)  # fmt: skip


# A hint, the minor version, and what only the content tells (its checksum is for other tools). With what an image of it
# ends: a checksum of the root that is wrong is seen, and a file of no type refused.
HARMLESS = {
    ("trailer", "part size"): (OK,),
    ("trailer", "minor"): (OK,),
    ("header:2", "external"): (UNSAFE,),
    ("trailer", "root crc"): (CORRUPT,),
}


def bombs() -> Iterator[Hostile]:
    frame = b"\x28\xb5\x2f\xfd\x80\x38" + struct.pack("<I", EXTENT) + struct.pack("<I", EXTENT << 3 | 3)[:3] + b"\0"
    zeros = bytes(EXTENT)
    count = 2000
    item = Item(b"zeros", content=zeros * count, frames=[(frame, EXTENT)] * count, tail=[skippable(8)])
    yield Hostile("bomb-zeros", "250 MiB of allocated zeros in 28 KB: as large as it says", build([item]), (OK,))
    item = Item(b"hole", content=zeros * count, frames=[(hole(EXTENT), EXTENT)] * count, tail=[skippable(8)])
    yield Hostile("bomb-hole", "250 MiB of hole: takes no room", build([item]), (OK,))
    quine = [file(b"a", content=build([file(b"b", content=build([file()]))]))]
    yield Hostile("archive-inside", "archives in an archive: content like any other", build(quine), (OK,))
    inside = build([file(b"x")])
    stored = [file(b"a", content=inside), file(b"b", content=b"PK\5\6" + bytes(18))]
    yield Hostile("end-record-inside", "end records in the content", build(stored), (OK,))
    # Overlap: two headers for one local header and its data, as zip bombs do.
    items = [raw(b"a", b"p" * 8192), raw(b"b", b"q" * 8192), raw(b"c", b"r" * 8192)]
    for n, value in enumerate((0, 1, 40, 8192)):
        yield Hostile(f"overlap-{n}", "entries that share data", hooked(items, header_1=put(42, "<I", value)), REFUSED)
        yield Hostile(
            f"overlap-last-{n}", "entries that share data", hooked(items, header_2=put(42, "<I", value)), REFUSED
        )
    for n, value in enumerate((8193, 20000, (1 << 31) - 1, (1 << 32) - 2)):
        yield Hostile(f"size-lie-{n}", "a size that its frames do not have", hooked(items, header_1=put(24, "<I", value)),
                      REFUSED)  # fmt: skip
    many = [directory(b"d/"), *(file(b"d/%d" % n, content=b"") for n in range(20000))]
    yield Hostile("many-empty", "20,000 empty files", build(many), (OK,))
    wide = xattrs({b"user.%03d" % n: noise(250, n) for n in range(100)})
    yield Hostile("many-attributes", "more attributes than a header takes", build([Item(b"f", overflow=wide)]), (OK,))
    large = xattrs({b"user.a": bytes(65536)})
    yield Hostile("large-attribute", "64 KiB in one attribute: more than BTRFS takes", build([Item(b"f", overflow=large)]),
                  (OK, 1, NO_SPACE, *REFUSED), image=(UNSAFE,))  # fmt: skip


def truncations() -> Iterator[Hostile]:
    """At every border between two records, and a byte to either side of it."""
    items = [directory(b"d/"), file(b"d/stored", content=b"s" * 5000), raw(b"packed", b"p" * 200000, descriptor=True)]
    items += [Item(b"link", LINK, b"d"), raw(b"last", b"q" * 9000)]
    blob = build(items, root=struct.pack("<IIIqI", 0o40755, 0, 0, 1, 0))
    borders = {len(blob)}
    for mark in (b"PK\3\4", b"PK\7\x08", b"PK\1\2", b"PK\5\6", b"\x28\xb5\x2f\xfd", b"BURSTATR", b"BURSTTRL", b"BURSTEND",
                 b"BRST"):  # fmt: skip
        at = blob.find(mark)
        while at >= 0:
            borders |= {at, at + len(mark)}
            at = blob.find(mark, at + 1)
    for at in sorted({b + d for b in borders for d in (-1, 0, 1)}):
        if 0 <= at < len(blob):
            yield Hostile(f"cut-at-{at}", f"cut at {at} of {len(blob)}", blob[:at], (CORRUPT,))
    for n, tail in enumerate((b"\0", bytes(22), b"PK\5\6" + bytes(18), blob[-22:], blob)):
        yield Hostile(f"appended-{n}", "something follows", blob + tail, (CORRUPT,))
    for n, front in enumerate((b"\0", bytes(4096), b"#!/bin/sh\n", b"MZ" + bytes(510))):
        yield Hostile(f"prefixed-{n}", "something in front", front + blob, (CORRUPT,))


GROUPS = (names, same_names, links, frames, extremes, bombs, truncations)


def everything() -> Iterator[Hostile]:
    seen = set()
    for group in GROUPS:
        for each in group():
            each.name = f"{group.__name__}/{each.name}"
            assert each.name not in seen, each.name
            seen.add(each.name)
            yield each


def main() -> None:
    where = Path(sys.argv[1])
    manifest = []
    for n, each in enumerate(everything()):
        name = f"{n:04}.zip"
        (where / name).write_bytes(each.content)
        codes = {"exit_codes": each.codes, "exit_codes_image": each.image or each.codes}
        manifest.append({"file": name, "name": each.name, "shows": each.shows, **codes})
    (where / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    print(len(manifest), "archives")


if __name__ == "__main__":
    main()
