"""Disks that are too small, or that end in the middle: exit code 15 or 1, and never a target that looks complete."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from btrfs_volume import Volume, libc, run
from burst import Done, burst, snapshot, start, stop
from fault_server import FaultServer
from trees import MIB, noise, prose

OK, FAILURE, NO_SPACE = 0, 1, 15
EXT4_IOC_SHUTDOWN, NO_LOG_FLUSH = 0x8004587D, b"\x02\0\0\0"


@pytest.fixture(scope="module")
def archives(work: Path) -> Path:
    """noise: 40 MiB that do not compress; prose: 64 MiB of which a quarter is left; zeros: a bomb; holes: none."""
    directory = work / "disk"
    trees = directory / "trees"
    for name in ("noise", "prose", "zeros", "holes", "many"):
        (trees / name).mkdir(parents=True)
    for n in range(5):
        (trees / f"noise/{n}").write_bytes(noise(8 * MIB, n))
        (trees / f"prose/{n}").write_bytes(prose(13 * MIB, n))
    (trees / "zeros/z").write_bytes(bytes(256 * MIB))
    with open(trees / "holes/h", "wb") as f:
        f.truncate(1 << 40)
    for n in range(200):
        (trees / f"many/{n}").touch()
    for name in os.listdir(trees):
        snapshot(trees / name, directory / name)
    return directory


@pytest.fixture
def tmpfs(tmp: Path) -> Iterator[Callable[[str], Path]]:
    """A file system in memory with these limits."""
    mounted = []

    def make(options: str) -> Path:
        path = tmp / f"m{len(mounted)}"
        path.mkdir()
        run("mount", "-t", "tmpfs", "-o", options, "tmpfs", path)
        mounted.append(path)
        return path

    yield make
    for path in mounted:
        libc.umount2(os.fsencode(path), 2)


def refused(done: Done, target: Path) -> str:
    lines = done.err.splitlines()
    assert len(lines) == 1 and str(target) in lines[0], done.err
    assert not target.exists() or "user.burst.restored" not in os.listxattr(target)
    return lines[0]


def test_too_large_is_told_at_once(archives: Path, tmpfs: Callable[[str], Path]):
    target = tmpfs("size=16m") / "t"
    line = refused(burst("restore", archives / "noise", target, code=NO_SPACE), target)
    assert "16 MB free" in line and "needs at least 3" in line, line
    assert not target.exists(), "nothing is begun that cannot be done"
    burst("restore", archives / "noise", tmpfs("size=64m") / "t")


def test_too_many_files_are_told_at_once(archives: Path, tmpfs: Callable[[str], Path]):
    target = tmpfs("size=16m,nr_inodes=150") / "t"
    line = refused(burst("restore", archives / "many", target, code=NO_SPACE), target)
    assert "200 entries" in line, line
    assert not target.exists()
    burst("restore", archives / "many", tmpfs("size=16m,nr_inodes=300") / "t")


def test_holes_need_no_room(archives: Path, tmpfs: Callable[[str], Path]):
    target = tmpfs("size=64m") / "t"
    burst("restore", archives / "holes", target)
    assert (target / "h").stat().st_size == 1 << 40 and (target / "h").stat().st_blocks == 0


@pytest.mark.parametrize("name", ["prose", "zeros"])
def test_full_in_the_middle(name: str, archives: Path, tmpfs: Callable[[str], Path]):
    """What the archive's own length does not tell: 28 KB may be 256 MiB of zeros."""
    target = tmpfs("size=32m") / "t"
    line = refused(burst("restore", archives / name, target, code=NO_SPACE), target)
    assert f"{target}/" in line, line


def test_full_btrfs(archives: Path, tmp: Path):
    """Metadata and data of a real one: filled by others until 24 MiB are left."""
    volume = Volume(tmp / "v", gib=1)
    try:
        filler = volume.path / "filler"
        free = os.statvfs(volume.path)
        run("fallocate", "-l", free.f_bavail * free.f_frsize - 24 * MIB, filler)
        run("sync", "-f", volume.path)
        target = volume.path / "t"
        refused(burst("restore", archives / "noise", target, code=NO_SPACE), target)
        # From a pipe nothing can be asked in advance.
        with open(archives / "noise", "rb") as f:
            done = burst("restore", "-", volume.path / "p", stdin=f, code=NO_SPACE)
        refused(done, volume.path / "p")
    finally:
        volume.close()


def test_quota(archives: Path, tmp: Path):
    volume = Volume(tmp / "v", gib=1)
    try:
        target = volume.path / "t"
        run("btrfs", "subvolume", "create", target)
        run("btrfs", "quota", "enable", volume.path)
        run("btrfs", "qgroup", "limit", "20M", target)
        line = refused(burst("restore", archives / "noise", target, code=NO_SPACE), target)
        assert "quota" in line.lower(), line
    finally:
        volume.close()


def test_the_file_system_ends_in_the_middle(archives: Path, tmp: Path):
    """As after an error of its device. The server stops at its fourth request until that has happened."""
    volume = Volume(tmp / "v", gib=1, kind="ext4")
    server = FaultServer((archives / "noise").read_bytes())
    server.reset("stall", 3, 1)
    target = volume.path / "t"
    process = start("restore", "--in-flight", "1", "s3://bucket/key", target, env=server.environment)
    try:
        while not server.hits:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.01)
        fd = os.open(volume.path, os.O_RDONLY)
        fcntl.ioctl(fd, EXT4_IOC_SHUTDOWN, NO_LOG_FLUSH)
        os.close(fd)
        # The request that waits is cut off, and sent again.
        server.closing.set()
        _, err = process.communicate(timeout=60)
        assert process.returncode == FAILURE, err
        assert str(target).encode() in err, err
    finally:
        stop(process)
        server.close()
        volume.close()
