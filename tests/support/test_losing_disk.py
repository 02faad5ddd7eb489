"""The disk that loses and fails writes does so, no more and no less, and never outlives the tests."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from btrfs_volume import run
from disk import Disk

ATOM = 4096
PATIENCE = 60
HERE = Path(__file__).resolve().parent
MODULES = [str(HERE), str(HERE.parent / "system")]


@pytest.fixture
def disk(tmp: Path) -> Iterator[Disk]:
    with Disk(tmp / "disk", mib=4) as disk:
        yield disk


@pytest.fixture
def large(tmp: Path) -> Iterator[Disk]:
    with Disk(tmp / "large", mib=256) as disk:
        yield disk


@pytest.fixture
def raw(disk: Disk) -> Iterator[int]:
    """The disk without a file system."""
    fd = os.open(disk.image, os.O_RDWR)
    yield fd
    os.close(fd)


def test_what_was_flushed_survives(disk: Disk, raw: int, tmp: Path):
    """Of what was not, every atom is the old or the new one; and all three fates happen."""
    atoms, writes = 8, 20
    old, new = (b"o" * ATOM, b"n" * ATOM)
    for n in range(writes):
        os.pwrite(raw, old * atoms, n * atoms * ATOM)
    os.fsync(raw)
    assert disk.counts()["unflushed"] == 0
    for n in range(writes):
        os.pwrite(raw, new * atoms, n * atoms * ATOM)
    assert disk.counts()["unflushed"] == writes
    fates = dict.fromkeys(("kept", "lost", "torn"), 0)
    for seed in range(5):
        told = disk.cut(tmp / "image", seed)
        assert sum(told.values()) == writes and all(told.values()), told
        found = dict.fromkeys(fates, 0)
        content = (tmp / "image").read_bytes()
        assert len(content) == disk.size and not content[writes * atoms * ATOM :].strip(b"\0")
        for n in range(writes):
            seen = {content[(n * atoms + a) * ATOM :][:ATOM] for a in range(atoms)}
            assert seen <= {old, new}, n
            found["torn" if len(seen) == 2 else "kept" if new in seen else "lost"] += 1
        assert found == told, seed
        fates = {k: v + found[k] for k, v in fates.items()}
    print(fates)
    # The disk itself has lost nothing.
    assert os.pread(raw, writes * atoms * ATOM, 0) == new * atoms * writes


def test_a_seed_is_a_cut(disk: Disk, raw: int, tmp: Path):
    for n in range(50):
        os.pwrite(raw, bytes([n]) * 3 * ATOM, n * ATOM)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        disk.cut(tmp / name, seed)
    a, b, c = ((tmp / name).read_bytes() for name in "abc")
    assert a == b != c


def test_cuts_before_a_write(disk: Disk, raw: int, tmp: Path):
    disk.cut_at([2, 4, 100], 7)
    for n in range(6):
        os.pwrite(raw, b"%d" % n * ATOM, n * ATOM)
        os.fsync(raw)
    cuts = [Path(cut["path"]).read_bytes() for cut in disk.save_cuts(tmp)]
    assert [len(cut[: 6 * ATOM].rstrip(b"\0")) // ATOM for cut in cuts] == [2, 4]


def test_failing_calls(disk: Disk, raw: int):
    os.pwrite(raw, b"x" * 10 * ATOM, 0)
    os.fsync(raw)

    def failed(call, *args) -> int:
        try:
            call(raw, *args)
        except OSError as e:
            return e.errno
        return 0

    disk.fail("write", after=1, times=2)
    assert [failed(os.pwrite, b"y", 0) for _ in range(4)] == [0, errno.EIO, errno.EIO, 0]
    disk.fail("read", start=ATOM, end=2 * ATOM)
    assert [failed(os.pread, ATOM, n * ATOM) for n in range(3)] == [0, errno.EIO, 0]
    disk.fail("write", error="ENOSPC")
    assert failed(os.pwrite, b"z", 5 * ATOM) == errno.ENOSPC
    disk.fail("flush", times=1)
    assert [failed(os.fsync), failed(os.fsync)] == [errno.EIO, 0]
    assert disk.counts()["failed"] == 5
    disk.heal()
    assert os.pread(raw, ATOM + 1, 0) == b"y" + b"x" * ATOM


def test_a_file_system_on_it(large: Disk, tmp: Path):
    """What was synced is there after a cut; what fails is counted by BTRFS."""
    large.format()
    large.mount()
    kept = large.path / "kept"
    kept.write_bytes(os.urandom(5 << 20))
    run("sync", "-f", large.path)
    content = kept.read_bytes()
    large.cut_at([20], 1)
    (large.path / "other").write_bytes(os.urandom(5 << 20))
    run("sync", "-f", large.path)
    large.fail("write")
    (large.path / "fails").write_bytes(os.urandom(1 << 20))
    with pytest.raises(AssertionError):
        run("sync", "-f", large.path)
    stats = run("btrfs", "device", "stats", large.path)
    assert "write_io_errs" in stats and "write_io_errs    0" not in stats, stats
    large.heal()
    large.unmount()
    (cut,) = large.save_cuts(tmp)
    assert cut["lost"] + cut["torn"] > 0, cut
    run("btrfs", "device", "scan", "--forget")
    run("mount", "-o", "loop", cut["path"], large.path)
    try:
        assert kept.read_bytes() == content
        assert not (large.path / "other").exists()
    finally:
        run("umount", large.path)


OWNER = """
import sys, time
sys.path[:0] = sys.argv[2:]
from pathlib import Path
from btrfs_volume import private_mounts
from disk import Disk
private_mounts()
disk = Disk(Path(sys.argv[1]))
disk.format()
disk.mount()
(disk.path / "a").write_bytes(b"a" * 1000000)
print(disk.server.pid, disk.device(), flush=True)
time.sleep(600)
"""


def test_it_ends_with_its_owner(tmp: Path):
    """Killed while a file system is mounted: no process and no loop device is left."""
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp / "owned"), *MODULES], stdout=subprocess.PIPE, text=True
    )
    server, device = owner.stdout.readline().split()
    owner.send_signal(signal.SIGKILL)
    owner.communicate()
    until = time.monotonic() + PATIENCE

    def left() -> bool:
        backing = Path("/sys/class/block") / Path(device).name / "loop/backing_file"
        ours = backing.exists() and str(tmp) in backing.read_text()
        return ours or Path(f"/proc/{server}").exists()

    while left():
        assert time.monotonic() < until, "the disk is still there"
        time.sleep(0.05)
