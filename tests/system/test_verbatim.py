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
from frames import frames, is_on_disk
from listing import assert_same, listing
from trees import MIB, noise, prose

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
