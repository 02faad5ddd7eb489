"""Snapshots of file systems that are frozen while they are read, and thawed whatever happens."""

import contextlib
import errno
import fcntl
import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from btrfs_volume import Volume, run
from burst import burst, program, snapshot
from listing import assert_same, listing
from test_hosts import Pair, numbers, summary, until
from trees import MIB, noise, prose

FIFREEZE, FITHAW = 0xC0045877, 0xC0045878
PATIENCE = 120
KINDS = ("ext4", "xfs")


def is_frozen(path: Path) -> bool:
    """Asks by freezing it, which works once."""
    fd = os.open(path, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, FIFREEZE, 0)
    except OSError as error:
        assert error.errno == errno.EBUSY
        return True
    else:
        fcntl.ioctl(fd, FITHAW, 0)
        return False
    finally:
        os.close(fd)


@pytest.fixture
def frozen_later(volume: Callable[..., Volume]) -> Callable[[str], Path]:
    """A file system with more on it than a pipe holds."""

    def make(kind: str) -> Path:
        path = volume(gib=1, kind=kind).path
        (path / "a").write_bytes(noise(8 * MIB))
        (path / "b").write_bytes(prose(MIB))
        run("sync", "-f", path)
        return path

    return make


def start(source: Path, *flags: object) -> subprocess.Popen:
    """When this returns, it is frozen, and the program waits for its pipe."""
    command = [program(), "snapshot", "--freeze", *map(str, flags), str(source), "-"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.read(1)
    return process


def ended(process: subprocess.Popen, code: int) -> str:
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, err
    return err.decode()


@pytest.mark.parametrize("kind", KINDS)
def test_one_moment(kind: str, frozen_later: Callable[[str], Path], tmp: Path):
    live = frozen_later(kind)
    (live / "d").mkdir()
    with Pair(live / "d") as pair:
        (live / "m").write_bytes(noise(20 * MIB))
        done = summary(snapshot(live, tmp / "out", "--freeze", "--json"))
        reached = pair.rounds
        until(lambda: pair.rounds > reached)
    (frozen,) = done["consistent"]["frozen"]
    assert (frozen["path"], frozen["thawed_early"]) == (str(live), None)
    assert frozen["seconds"] > 0 and done["changed"] == 0 and done["consistent"]["live"] == []
    burst("restore", tmp / "out", tmp / "t")
    first, second = numbers(tmp / "t/d")
    assert second <= first <= second + 1, "two moments"
    # Now that nobody writes, once for two sources, which is enough for what requires it.
    wanted = listing(live)
    done = summary(snapshot(live / "d", tmp / "both", "--freeze", "--consistent", "require", "--json", live / "a"))
    assert len(done["consistent"]["frozen"]) == 1
    said = snapshot(live, tmp / "out", "--freeze", "--overwrite").err
    assert f"one moment: the file system of {live} was frozen for" in said
    burst("restore", tmp / "out", tmp / "t2")
    assert_same(wanted, listing(tmp / "t2"))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_ended_midway(number: signal.Signals, frozen_later: Callable[[str], Path]):
    live = frozen_later("ext4")
    process = start(live)
    assert is_frozen(live)
    process.send_signal(number)
    ended(process, -number if number == signal.SIGKILL else 128 + number)
    until(lambda: not is_frozen(live))
    (live / "new").write_bytes(b"written")


@pytest.mark.parametrize("kind", KINDS)
def test_limit(kind: str, frozen_later: Callable[[str], Path]):
    """The others go on, and the snapshot says that it is not what it was to be."""
    live = frozen_later(kind)
    for flags, code in (([], 20), (["--allow-changed", "--json"], 0)):
        process = start(live, "--freeze-limit", 1, *flags)
        until(lambda: not is_frozen(live))
        (live / "new").write_bytes(b"written")
        err = ended(process, code)
        if code:
            assert "too early: the time allowed was over" in err and "--freeze-limit" in err
        else:
            (frozen,) = json.loads(err)["consistent"]["frozen"]
            assert frozen["thawed_early"] == "the time allowed was over"


def guard_of(process: subprocess.Popen) -> int:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has just ended
            pid, name, _, parent, *_ = stat.read_text().split(" ")
            if (name, parent) == ("(burst-thaw)", str(process.pid)):
                found.append(int(pid))
    (guard,) = found
    return guard


def test_guard_killed(frozen_later: Callable[[str], Path]):
    """Then the program itself thaws, and all was still until then."""
    live = frozen_later("ext4")
    process = start(live)
    os.kill(guard_of(process), signal.SIGKILL)
    assert is_frozen(live)
    assert "one moment: the file system of" in ended(process, 0)
    assert not is_frozen(live)


def test_thawed_by_somebody(frozen_later: Callable[[str], Path]):
    live = frozen_later("ext4")
    process = start(live)
    run("fsfreeze", "--unfreeze", live)
    assert "too early: somebody else thawed it" in ended(process, 20)


def test_guard_ignores_signals(frozen_later: Callable[[str], Path]):
    """Those for every process of a terminal or a service."""
    live = frozen_later("ext4")
    process = start(live)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        os.kill(guard_of(process), number)
    assert is_frozen(live)
    ended(process, 0)
    assert not is_frozen(live)


def test_refused(frozen_later: Callable[[str], Path], tmp: Path, volume: Callable[..., Volume]):
    """Nothing is frozen that the program itself waits for."""
    live = frozen_later("ext4")
    refused = snapshot(live, live / "out", "--freeze", code=2)
    assert "it also holds the archive" in refused.err
    refused = snapshot(live, tmp / "out", "--freeze", env={"TMPDIR": str(live)}, code=2)
    assert "temporary files" in refused.err
    with open(live / "log", "wb") as log:
        burst("snapshot", "--freeze", live, "-", stdout=log, code=2)
    assert "the root of this system" in snapshot(Path("/"), tmp / "out", "--freeze", code=2).err
    # Through a loop device.
    with open(live / "image", "wb") as f:
        f.truncate(64 * MIB)
    run("mkfs.ext4", "-q", live / "image")
    run("mount", "-o", "loop", live / "image", tmp)
    try:
        assert "it also holds the archive" in snapshot(live, tmp / "out", "--freeze", code=2).err
    finally:
        run("umount", tmp)
    snapshot(live, tmp / "out", "--freeze", "--consistent", "off", code=2)
    run("fsfreeze", "--freeze", live)
    try:
        assert "frozen already" in snapshot(live, tmp / "out", "--freeze", code=1).err
    finally:
        run("fsfreeze", "--unfreeze", live)
    run("mount", "-t", "tmpfs", "none", live)
    try:
        assert "cannot be frozen" in snapshot(live, tmp / "out", "--freeze", code=17).err
    finally:
        run("umount", live)
    tmp.chmod(0o777)
    live.chmod(0o755)
    assert "root is needed" in snapshot(live / "b", tmp / "out", "--freeze", user=1000, code=11).err
    assert not is_frozen(live) and not (tmp / "out").exists()
    # On BTRFS the subvolume snapshot is as good, and stops nobody.
    tree = volume(gib=1).path
    (tree / "f").write_bytes(b"x")
    found = summary(snapshot(tree, tmp / "out", "--freeze", "--json"))["consistent"]
    assert (found["subvolume_snapshots"], found["frozen"]) == (1, [])
