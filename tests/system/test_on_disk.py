"""What is on the disk after a restore are the archive's own frames, and the file system is sound."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from archives import Archives
from btrfs_volume import Volume, run
from burst import burst
from frames import frames, is_on_disk
from listing import assert_same, listing


@pytest.mark.parametrize("name", ["odd", "kinds", "boundaries", pytest.param("os", marks=pytest.mark.slow)])
def test_frames_are_on_disk(name: str, made: Archives, volume: Callable[..., Volume], listed: Callable):
    """At least 99 % of the frames that save a block of 4 KiB are on disk as uploaded; scrub and check are clean."""
    v = volume()
    target = v.path / "t"
    burst("restore", made.archive(name), target)
    run("sync", "-f", target)  # ENCODED_READ writes back by itself, but one file at a time
    worth = same = 0
    opened, fd = None, -1
    for frame in frames(made.archive(name)):
        if not frame.saves_a_block:
            continue
        if opened != frame.path:
            if fd >= 0:
                os.close(fd)
            opened, fd = frame.path, os.open(os.path.join(os.fsencode(target), frame.path), os.O_RDONLY)
        worth += 1
        same += is_on_disk(fd, frame)
    if fd >= 0:
        os.close(fd)
    print(f"{name}: {same} of {worth} frames that save a block are on disk as uploaded")
    assert worth > 20
    assert same >= 0.99 * worth, f"only {same} of {worth} frames are on disk as uploaded"
    v.scrub()
    v.remount()  # and now from the disk, not from the page cache
    assert_same(listed(name), listing(target))
    v.check()


def test_holes_take_no_space(made: Archives, target: Path):
    burst("restore", made.archive("odd"), target)
    run("sync", "-f", target)
    for name, limit in (("hole-of-100-gib", 16 << 10), ("only-hole", 0), ("many-holes", 64 * 4096)):
        assert (target / "sparse" / name).stat().st_blocks * 512 <= limit, name
    assert (target / "sparse/allocated-zeros").stat().st_blocks > 0
