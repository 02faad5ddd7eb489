"""What comes near a limit of the on-disk format."""

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from archives import Archives
from btrfs_volume import Volume, run
from burst import snapshot
from burst_frames import crc32c
from listing import Listing, assert_same, listing
from made_image import MIB, TIB, Image, edit
from mini_writer import Item, attribute, build, noise, raw_frame, xattrs, zstd_frame
from trees import EXTENT, prose

NODE_DATA = 16384 - 101
XATTR_MAX = NODE_DATA - 25 - 30


def colliding(length: int, count: int) -> list[bytes]:
    """Names with one hash: CRC is linear, and the generator polynomial itself, anywhere in a name, changes nothing."""
    bits = "1" + format(0x1EDC6F41, "032b")
    pattern = bytes(int(bits[n : n + 8].ljust(8, "0")[::-1], 2) for n in range(0, 33, 8))
    names = [b"A" * length]
    at = 0
    while len(names) < count:
        for name in list(names):
            changed = bytearray(name)
            for n, bit in enumerate(pattern):
                changed[at + n] ^= bit
            names.append(bytes(changed))
        at += 5
    names = [name for name in names if not set(name) & {0, 0x2F}][:count]
    assert len(set(names)) == count and len({crc32c(name) for name in names}) == 1
    return names


def make_edges(root: Path) -> None:
    root.mkdir()
    same_hash = root / "same hash"
    same_hash.mkdir()
    for name in colliding(20, 16):
        with open(bytes(same_hash) + b"/" + name, "wb") as f:
            f.write(name)
    # References of one inode that do not fit an item: the rest become extended ones.
    links = root / "links"
    links.mkdir()
    (links / "first").write_bytes(prose(200_000))
    for n in range(1200):
        os.link(links / "first", links / f"link-{n:0{n % 40}}")
    other = root / "other links"
    other.mkdir()
    for n in range(20):
        os.link(links / "first", other / f"{n}")
    limit = root / "attributes"
    limit.mkdir()
    for n, size in enumerate((XATTR_MAX, XATTR_MAX - 1, 8000)):
        (limit / f"{n}").touch()
        os.setxattr(limit / f"{n}", "user.x", bytes(size - len("user.x")))
    inline = root / "inline"
    inline.mkdir()
    for size in (1, 2046, 2047, 2048, 2049, 2050, 4094, 4095, 4096, 4097):
        for kind, content in (("prose", prose(size)), ("noise", noise(size, size)), ("zeros", bytes(size))):
            (inline / f"{kind}-{size}").write_bytes(content)
    extents = root / "extents"
    extents.mkdir()
    for size in (EXTENT - 1, EXTENT, EXTENT + 1, 7 * EXTENT, 8 * MIB):
        for kind, content in (("prose", prose(size)), ("noise", noise(size, size))):
            (extents / f"{kind}-{size}").write_bytes(content)
    (extents / "over-several-parts").write_bytes(noise(40 * MIB + 1))
    long = root / "long names"
    long.mkdir()
    for n in range(300):
        (long / f"{n:0255}").symlink_to("x" * (n * 13 % 4000 + 1))
    deep = root
    for n in range(100):
        deep = deep / f"d{n}"
        deep.mkdir()
    os.truncate(os.open(root / "hole", os.O_CREAT | os.O_WRONLY), 200 << 30)
    with open(root / "16 TiB", "wb") as f:
        for at in (0, 5 * TIB + 12_345, 16 * TIB - 5000):
            f.seek(at)
            f.write(noise(5000))
    wide = root / "wide"
    wide.mkdir()
    for n in range(20_000):
        (wide / f"{n:x}").touch()


def test_edges(source: Volume, tmp: Path):
    make_edges(source.path / "edges")
    snapshot(source.path / "edges", tmp / "archive")
    image = Image(tmp / "image")
    image.make(tmp / "archive", "2G")
    image.check()
    with image.mounted() as root:
        assert_same(listing(source.path / "edges"), listing(root))
        # The kernel finds, adds and removes such names too.
        for name in colliding(20, 16):
            os.unlink(bytes(root) + b"/same hash/" + name)
        for n in range(1200):
            (root / "links" / f"link-{n:0{n % 40}}").unlink()
        assert (root / "links" / "first").stat().st_nlink == 21
        run("btrfs", "balance", "start", "--full-balance", root)
    image.check()


@pytest.mark.parametrize("count", [5000, 65_535])
def test_many_links(count: int, source: Volume, tmp: Path):
    """Up to 65,535 names of one inode, which is all that BTRFS allows. btrfs check takes a minute for those."""
    tree = source.path / f"links-{count}"
    tree.mkdir()
    (tree / "0").write_bytes(b"content")
    for n in range(1, count):
        os.link(tree / "0", tree / f"{n}")
    snapshot(tree, tmp / "archive")
    image = Image(tmp / "image")
    image.make(tmp / "archive", "1G")
    if count < 65_535:
        image.check()
    with image.mounted() as root:
        assert (root / "4321").stat().st_nlink == count
        assert len(os.listdir(root)) == count
        for n in range(0, count, 7):
            assert (root / f"{n}").stat().st_ino == 257
        if count == 65_535:
            with pytest.raises(OSError, match="Too many links"):
                os.link(root / "0", root / "one too many")
        for n in range(1, count, 2):
            (root / f"{n}").unlink()
        assert (root / "4320").stat().st_nlink == count // 2 + count % 2
        run("btrfs", "scrub", "start", "-B", root)


def test_many_chunks(made: Archives, listed: Callable[[str], Listing], tmp: Path):
    """So many chunks of 1 MiB that the chunk tree has two levels; a kernel works on with its own sizes."""
    image = Image(tmp / "image")
    said = image.make(made.archive("boundaries"), "1G", "--chunk-max", "1M", "--json")
    assert json.loads(said.out)["chunks"] > 120
    assert "chunk_root_level\t1" in run("btrfs", "inspect-internal", "dump-super", image.path)
    image.check()
    with image.mounted() as root:
        assert_same(listed("boundaries"), listing(root))
        edit(root)
        run("btrfs", "balance", "start", "--full-balance", root)
    image.check()


def plain(name: bytes, content: bytes = b"x", **more: object) -> Item:
    return Item(name, content=content, frames=[(raw_frame(content), len(content))], **more)


ACL = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", tag, 6, -1) for tag in (1, 4, 0x20))
REFUSED: dict[str, tuple[int, Callable[[], list[Item]]]] = {
    "names of one hash that do not fit": (14, lambda: [plain(name) for name in colliding(255, 64)]),
    "attribute too large": (14, lambda: [plain(b"f", overflow=xattrs({b"user.x": bytes(XATTR_MAX - 5)}))]),
    "attribute without a name space": (14, lambda: [plain(b"f", attributes=xattrs({b"x": b""}))]),
    "attribute of btrfs": (13, lambda: [plain(b"f", attributes=xattrs({b"btrfs.compression": b"lzo"}))]),
    "user attribute of a fifo": (14, lambda: [Item(b"f", 0o010644, attributes=xattrs({b"user.x": b""}))]),
    "broken acl": (14, lambda: [plain(b"f", attributes=xattrs({b"system.posix_acl_access": ACL[:-1]}))]),
    "default acl of a file": (14, lambda: [plain(b"f", attributes=xattrs({b"system.posix_acl_default": ACL}))]),
    "broken capability": (14, lambda: [plain(b"f", attributes=xattrs({b"security.capability": b"x"}))]),
    "device major": (14, lambda: [Item(b"f", 0o020644, attributes=attribute(0x82, struct.pack("<II", 4096, 0)))]),
    "device minor": (14, lambda: [Item(b"f", 0o060644, attributes=attribute(0x82, struct.pack("<II", 0, 1 << 20)))]),
    "name of 256 bytes": (14, lambda: [plain(b"n" * 256)]),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(what: str, tmp: Path):
    """The kernel would have refused it; nothing is left."""
    code, items = REFUSED[what]
    (tmp / "archive").write_bytes(build(items()))
    image = Image(tmp / "image")
    done = image.make(tmp / "archive", "128M", code=code)
    assert len(done.err.splitlines()) == 1 and not image.path.exists(), done.err


def test_accepted_by_hand(tmp: Path):
    """The same builder with what is allowed, so that the refusals above are not for another reason."""
    items = [
        *[plain(name) for name in colliding(255, 50)],
        plain(b"acl", attributes=xattrs({b"system.posix_acl_access": ACL})),
        plain(b"largest", overflow=xattrs({b"user.x": bytes(XATTR_MAX - 6)})),
        Item(b"device", 0o020644, attributes=attribute(0x82, struct.pack("<II", 4095, (1 << 20) - 1))),
        Item(b"fifo", 0o010644, attributes=xattrs({b"trusted.x": b""})),
    ]
    (tmp / "archive").write_bytes(build(items))
    image = Image(tmp / "image")
    image.make(tmp / "archive", "128M")
    image.check()
    with image.mounted("ro") as root:
        assert len(os.listdir(root)) == 54
        assert len(os.getxattr(root / "largest", "user.x")) == XATTR_MAX - 6


def test_broken_frame(tmp: Path):
    """A frame that cannot be decompressed is one file that cannot be read, on a file system that is clean."""
    good = prose(EXTENT)
    frame = bytearray(zstd_frame(good))
    frame[len(frame) // 2 : len(frame) // 2 + 400] = bytes(400)
    items = [Item(b"bad", content=good, frames=[(bytes(frame), EXTENT)]), plain(b"good", b"fine" * 5000)]
    (tmp / "archive").write_bytes(build(items))
    image = Image(tmp / "image")
    image.make(tmp / "archive", "128M")
    image.check()
    with image.mounted("ro") as root:
        assert (root / "good").read_bytes() == b"fine" * 5000
        try:
            assert (root / "bad").read_bytes() != good
        except OSError as error:
            assert error.errno == 5
