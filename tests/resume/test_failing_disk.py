"""A disk that fails while a restore writes to it: exit code 1, a message that names the disk, no target that looks complete
and no checkpoint that counts; and once the disk is well again, the same command makes the exact tree."""

import os
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import FULL, SEED
from disk import Disk
from scene import COMPLETE, NOTHING, UNFINISHED, Scene

FAILURE = 1
TRIES = 24 if FULL else 3
# Where mkfs.btrfs puts the first data of a file system, in bytes of the disk.
FIRST_DATA = range(13 << 20, 21 << 20)


@pytest.fixture
def disk(tmp: Path) -> Iterator[Disk]:
    with Disk(tmp / "disk") as disk:
        disk.format()
        yield disk


def restored_exactly(scene: Scene, disk: Disk, target: Path) -> None:
    """After a new mount, so that nothing comes from memory."""
    disk.unmount()
    disk.mount()
    scene.check(target, "big")


def named(target: Path, err: str) -> None:
    lines = err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("burst: ") and str(target) in lines[0], err


def failed_honestly(scene: Scene, target: Path, err: str) -> None:
    named(target, err)
    assert "user.burst.restored" not in os.listxattr(target)
    code, status = scene.status(target)
    assert code == UNFINISHED and status["state"] == "unfinished", (code, status)


def test_one_write_fails(scene: Scene, disk: Disk):
    """Any one of them: of a frame, of other data, of metadata that has a second copy. A target that is said to be complete
    is; one that is not is continued to the exact tree, although the kernel said of most such writes nothing at all."""
    rng = random.Random(f"{SEED} one write")
    scene.server.serves(scene.archives["big"])
    disk.mount()
    before = disk.counts()["write"]
    scene.restore(disk.path / "t0")
    writes = disk.counts()["write"] - before
    ends: Counter[str] = Counter()
    for n in range(1, TRIES + 1):
        target = disk.path / f"t{n}"
        disk.fail("write", after=rng.randrange(writes * 3 // 4), times=1)
        done, _ = scene.restore(target, code=None)
        struck = disk.counts()["failed"] == n
        disk.heal()
        ends[f"exit code {done.code}"] += 1
        if done.code != COMPLETE:
            assert done.code == FAILURE and struck, (done.code, done.err)
            named(target, done.err)
            # After an error of metadata, a file system takes nothing more until it is mounted anew, and may not even tell
            # what it holds; possibly nothing of this target ever reached the disk.
            disk.unmount()
            disk.mount()
            assert scene.status(target)[0] in (UNFINISHED, NOTHING)
            assert not target.exists() or "user.burst.restored" not in os.listxattr(target)
            ends["parts not fetched again"] += scene.restore(target)[1]["parts_there"]
        restored_exactly(scene, disk, target)
        scene.remove(target)
    print(f"{writes} writes; {dict(ends)}")
    assert ends["exit code 1"], ends


def test_frames_fail(scene: Scene, disk: Disk):
    """Nothing but encoded writes fails, of which the kernel tells nobody: the message says which disk, what, and how to go on."""
    scene.server.serves(scene.archives["big"])
    disk.mount()
    device, target = disk.device(), disk.path / "t"
    names = [f"{n}/b-packed" for n in range(7)]
    paths = [each for name in names for each in ("--path", name)]
    disk.fail("write", start=FIRST_DATA.start, end=FIRST_DATA.stop)
    done, _ = scene.restore(target, *paths, code=FAILURE)
    assert disk.counts()["failed"] > 0
    disk.heal()
    failed_honestly(scene, target, done.err)
    for part in (device, "failed writes", "not complete", "the same command again"):
        assert part in done.err, done.err
    disk.unmount()
    disk.mount()
    scene.restore(target, *paths)
    for name in names:
        assert (target / name).read_bytes() == (scene.path / "tree-big" / name).read_bytes(), name


@pytest.mark.parametrize("after", [0, 100, 400])
def test_every_write_fails(after: int, scene: Scene, disk: Disk):
    """The file system becomes read-only in the middle; to look at it, it must be mounted anew."""
    scene.server.serves(scene.archives["big"])
    disk.mount()
    target = disk.path / "t"
    target.mkdir()
    disk.fail("write", after=after)
    done, _ = scene.restore(target, code=FAILURE)
    assert str(target) in done.err, done.err
    disk.heal()
    disk.unmount()
    disk.mount()
    # Possibly nothing of it ever reached the disk.
    assert scene.status(target)[0] in (UNFINISHED, NOTHING)
    scene.restore(target)
    restored_exactly(scene, disk, target)


def test_flush_fails(scene: Scene, disk: Disk):
    """The disk does not say whether what it took is safe."""
    scene.server.serves(scene.archives["big"])
    disk.mount()
    target = disk.path / "t"
    disk.fail("flush", after=2, times=1)
    done, _ = scene.restore(target, code=FAILURE)
    failed_honestly(scene, target, done.err)
    disk.unmount()
    disk.mount()
    scene.restore(target)
    restored_exactly(scene, disk, target)
