"""A snapshot of a compressed BTRFS takes the frames that are on its disk, and nothing else changes."""

import fcntl
import os
import re
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from btrfs_volume import Volume, run
from burst import Done, burst, snapshot
from extents import ENCODED, INLINE, Extent, compsize, stored
from frames import encoded_read, frames, is_on_disk
from listing import assert_same, listing
from trees import MIB, noise, os_tree, prose

EXTENT = 128 << 10
FICLONERANGE = 0x4020940D

# Of these every byte can be taken as it is.
WHOLE = {"one": EXTENT, "odd": 3 * EXTENT + 12_345, "large": 20 * MIB + 4321, "page": 4097, "restored": 5 * EXTENT}


@pytest.fixture(scope="module")
def compressed(work: Path):
    """Files in every state BTRFS knows, on a disk that is compressed with zstd."""
    volume = Volume(work / "compressed", options="compress-force=zstd:3")
    tree = volume.path / "tree"
    tree.mkdir()
    for seed, (name, size) in enumerate(WHOLE.items()):
        (tree / name).write_bytes(prose(size, seed))
    for size in (1, 100, 1500, 2048, 3000, 4095, 4096):
        (tree / f"inline-{size}").write_bytes(prose(size, size))
    (tree / "noise").write_bytes(noise(MIB, 1))
    (tree / "zeros").write_bytes(bytes(MIB + 5000))
    (tree / "both").write_bytes(b"".join(prose(EXTENT, n) + noise(EXTENT, n) for n in range(8)))
    for kind in ("zlib", "lzo"):
        (tree / kind).touch()
        run("btrfs", "property", "set", tree / kind, "compression", kind)
        (tree / kind).write_bytes(prose(5 * EXTENT, 7))
    (tree / "nocow").touch()
    run("chattr", "+C", tree / "nocow")
    (tree / "nocow").write_bytes(prose(2 * EXTENT, 8))
    with open(tree / "holes", "wb") as f:
        for n in range(20):
            f.seek(n * 3 * EXTENT + n * 4096)
            f.write(prose(EXTENT, n))
        f.truncate(100 * EXTENT)
    with open(tree / "drops", "wb", buffering=0) as f:
        for n in range(40):
            f.write(prose(5000, n))
            os.fsync(f.fileno())
    run("sync", "-f", tree)
    # Parts of extents: written over in the middle, and cloned from the middle.
    (tree / "patched").write_bytes((tree / "large").read_bytes()[: 8 * EXTENT])
    run("sync", "-f", tree)
    with open(tree / "patched", "r+b") as f:
        for n in range(4):
            f.seek(2 * n * EXTENT + 40_000)
            f.write(b"patch" * 500)
    with open(tree / "large", "rb") as old, open(tree / "cloned", "wb") as new:
        for n in range(6):
            new.write(prose(4096, n))
            new.flush()
            piece = struct.pack("qQQQ", old.fileno(), n * EXTENT + 8192, 65536, new.tell())
            fcntl.ioctl(new, FICLONERANGE, piece)
            new.seek(0, os.SEEK_END)
    run("cp", "--reflink=always", tree / "odd", tree / "twin")
    run("sync", "-f", tree)
    # Not on the disk yet.
    (tree / "fresh").write_bytes(prose(3 * EXTENT, 99))
    yield tree
    volume.close()


@pytest.fixture(scope="module")
def archives(compressed: Path, work: Path) -> dict[str, tuple[Path, Done]]:
    made = {}
    for name, flags in (("verbatim", ()), ("recompressed", ("--recompress",))):
        made[name] = work / f"{name}.zip", snapshot(compressed, work / f"{name}.zip", *flags)
    return made


def share(done: Done) -> int:
    """Percent of the content that the summary says was taken as stored."""
    found = re.search(r"(\d+) % of the content was taken", done.err)
    return int(found[1]) if found else 0


def test_the_frames_of_the_disk_are_taken(compressed: Path, archives: dict):
    path, done = archives["verbatim"]
    assert share(done) > 50, done.err
    assert share(archives["recompressed"][1]) == 0
    taken: dict[str, int] = {}
    for frame in frames(path):
        name = os.fsdecode(frame.path)
        with open(compressed / name, "rb") as f:
            if is_on_disk(f.fileno(), frame):
                taken[name] = taken.get(name, 0) + frame.size
    for name, size in WHOLE.items():
        assert taken.get(name) == size, name
    for name in ("noise", "zlib", "lzo", "nocow"):
        assert name not in taken, name
    for name in ("both", "holes", "patched", "twin"):
        assert taken[name] > EXTENT, name


@pytest.mark.parametrize("kind", ["verbatim", "recompressed"])
def test_round_trip(kind: str, compressed: Path, archives: dict, volume: Callable[..., Volume]):
    path = archives[kind][0]
    run("7zz", "t", path)
    burst("verify", "--content", path)
    v = volume()
    burst("restore", path, v.path / "t")
    assert_same(listing(compressed), listing(v.path / "t"))
    v.scrub()
    if kind == "verbatim":
        # What was restored is compressed as its source was, and can be taken again.
        again = v.path / "again.zip"
        done = snapshot(v.path / "t", again)
        assert share(done) >= share(archives[kind][1]), done.err
        burst("restore", again, v.path / "u")
        assert_same(listing(v.path / "t"), listing(v.path / "u"))


def test_without_the_right_to_read_frames(compressed: Path, archives: dict, tmp: Path):
    """Users get the same archive as with --recompress."""
    tmp.chmod(0o777)
    done = snapshot(compressed, tmp / "user.zip", user=1000)
    assert share(done) == 0
    assert (tmp / "user.zip").read_bytes() == archives["recompressed"][0].read_bytes()


def test_workers_do_not_change_the_bytes(compressed: Path, archives: dict, tmp: Path):
    snapshot(compressed, tmp / "one.zip", "--workers", 1)
    snapshot(compressed, tmp / "five.zip", "--workers", 5)
    assert (tmp / "one.zip").read_bytes() == (tmp / "five.zip").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("options", ["", "compress-force=zstd:3"], ids=["plain", "compressed"])
def test_a_restore_has_the_same_extents(options: str, volume: Callable[..., Volume], tmp: Path):
    """Of a piece of /usr, whatever the target's own compression is: where they begin, their lengths, their bytes."""
    source, target = volume(options="compress-force=zstd:3").path / "os", volume(options=options).path / "os"
    os_tree(source)
    done = snapshot(source, tmp / "a.zip")
    assert share(done) > 50, done.err
    burst("restore", tmp / "a.zip", target)
    for tree in (source, target):
        run("sync", "-f", tree)
    before, after = stored(source), stored(target)
    assert before.keys() == after.keys()
    # A few files hold something as it was, or were cut elsewhere because memory was short while they were written.
    whole = [path for path in before if is_whole(before[path])]
    alike = sum(on_disk(before[path]) == on_disk(after[path]) for path in whole)
    encoded = [(path, e) for path in whole for e in before[path] if e.flags == ENCODED]
    kept = [(path, e) for path, e in encoded if e in after[path] and same_bytes(source / path, target / path, e.at)]
    print(
        f"{share(done)} % taken; {len(before)} files, {len(whole)} of whole frames, {alike} of them have the same extents;"
    )
    print(
        f"with the same bytes: {len(kept)} of {len(encoded)} compressed ones, of {sum(e.length for _, e in encoded) / MIB:.0f} MiB"
    )
    ours, theirs = compsize(source), compsize(target)
    print(f"compsize, bytes on disk, of content, referred to: source {ours}, restored {theirs}")
    assert len(encoded) > 1000
    assert len(kept) == len(encoded)
    assert len(whole) >= 0.9 * len(before)
    assert alike == len(whole)
    for one, other in zip(ours["zstd"], theirs["zstd"], strict=True):
        # Some of what the source holds as it was, the archive has compressed. And without compression of its own, a target
        # holds files of up to 2 KiB among its metadata as they are.
        assert abs(one - other) <= one * (0.01 if options else 0.05), "the disk holds something else"

    # Were they written in the ordinary way, this test would see it.
    if not options:
        burst("restore", "--no-encoded-writes", tmp / "a.zip", target.parent / "plain")
        ordinary = stored(target.parent / "plain")
        assert not any(e in ordinary[path] for path, e in encoded)


def is_whole(extents: list[Extent]) -> bool:
    """Compressed all through, in the pieces in which the archive holds content."""
    *most, last = extents or [Extent(0, 0, INLINE)]
    at_multiples = all(e.flags & INLINE or (e.flags == ENCODED and e.at % EXTENT == 0) for e in extents)
    return at_multiples and all(e.length == EXTENT for e in most) and last.length <= EXTENT


def on_disk(extents: list[Extent]) -> list[tuple]:
    """What lies among the metadata instead is compressed or not as each file system likes it."""
    return [e[:2] if e.flags & INLINE else e for e in extents]


def same_bytes(one: Path, other: Path, at: int) -> bool:
    with open(one, "rb") as a, open(other, "rb") as b:
        return encoded_read(a.fileno(), at) == encoded_read(b.fileno(), at)
