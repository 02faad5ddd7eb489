"""Files that change while they are read, on a file system that has no snapshots: read again, or else reported."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from burst import burst, program
from test_hosts import names, until
from trees import MIB, noise

PATIENCE = 120
SUPPORT = Path(__file__).parents[1] / "support"


def grow(path: Path) -> None:
    with open(path, "ab") as f:
        f.write(b"more")


def write_over(path: Path) -> None:
    """As long as before."""
    with open(path, "r+b") as f:
        f.write(b"other")


def hide(path: Path) -> None:
    """As long and as old as before: only the ctime tells."""
    before = path.stat()
    write_over(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace(path: Path) -> None:
    """Another inode under the name."""
    before = path.stat()
    new = path.with_name("new")
    new.write_bytes(path.read_bytes())
    os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
    new.rename(path)


CHANGES = [grow, write_over, hide, replace]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("allowed", [False, True], ids=["", "allowed"])
def test_a_large_file(change: Callable[[Path], None], allowed: bool, tmp: Path):
    """Too large to be read again: reported, with the exit code for it unless that is allowed."""
    root = tmp / "t"
    root.mkdir()
    (root / "large").write_bytes(noise(72 * MIB))
    flags = ["--allow-changed"] if allowed else []
    command = [program(), "snapshot", "--workers", "1", *flags, str(root), "-"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    # It waits for the pipe, in the middle of the file.
    first = process.stdout.read(1 << 16)
    change(root / "large")
    rest, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == (0 if allowed else 20), err
    assert f"{root}/large changed while it was read" in err.decode()
    (tmp / "out").write_bytes(first + rest)
    burst("verify", "--content", tmp / "out")


@contextmanager
def read_slowly(path: Path, reads: str, *args: object) -> Iterator[subprocess.Popen]:
    """A snapshot for which these reads of this file take half a second."""
    inject = f"inject=pread64:delay_exit=500000:when={reads}"
    command = [
        "strace",
        "-f",
        "-o",
        f"{path.parent.parent}/reads",
        "-P",
        str(path),
        "-e",
        "trace=pread64",
        "-e",
        inject,
    ]
    command += [program(), "snapshot", "--workers", "1", *map(str, args)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_small_file_is_read_again(change: Callable[[Path], None], tmp: Path):
    """What changes once is archived as it is then, and nothing needs to be said."""
    (tmp / "t").mkdir()
    path, reads = tmp / "t/small", tmp / "reads"
    path.write_bytes(b"small")
    with read_slowly(path, "1", tmp / "t", tmp / "out") as process:
        until(lambda: reads.exists() and "pread64" in reads.read_text())
        change(path)
        _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, err
    assert reads.read_text().count("= 5") >= (1 if change is grow else 2), "it was read once"
    assert b"changed" not in err
    burst("restore", tmp / "out", tmp / "r")
    assert (tmp / "r/small").read_bytes() == path.read_bytes()
    assert names(tmp / "out") == {"small"}


def test_a_small_file_that_never_holds_still(tmp: Path):
    (tmp / "t").mkdir()
    path = tmp / "t/small"
    path.write_bytes(b"small")
    ending = threading.Event()

    def disturb() -> None:
        while not ending.wait(0.05):
            hide(path)

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        with read_slowly(path, "1+", tmp / "t", tmp / "out") as process:
            _, err = process.communicate(timeout=PATIENCE)
            assert process.returncode == 20, err
    finally:
        ending.set()
        thread.join()
    assert f"{path} changed while it was read" in err.decode()
    assert (tmp / "reads").read_text().count("pread64") >= 4
    burst("verify", "--content", tmp / "out")


def test_an_odd_file_system(tmp: Path):
    """readdir(3) may tell a name again that was replaced meanwhile; an archive with a path twice could not be restored. And
    an attribute that no archive holds need not be readable."""
    source, mountpoint = tmp / "t", tmp / "odd"
    (source / "d").mkdir(parents=True)
    mountpoint.mkdir()
    for name in ("a", "b", "d/c"):
        (source / name).write_text(name)
        os.setxattr(source / name, "user.name", name.encode())
    server = subprocess.Popen([sys.executable, SUPPORT / "odd_server.py", mountpoint, source])
    try:
        until(lambda: os.path.ismount(mountpoint))
        assert sorted(os.listdir(mountpoint)) == ["a", "a", "b", "b", "d", "d"]
        burst("snapshot", mountpoint, tmp / "out")
    finally:
        subprocess.run(["umount", "--lazy", mountpoint], check=False)
        server.wait(PATIENCE)
    burst("restore", tmp / "out", tmp / "r")
    assert names(tmp / "out") == {"a", "b", "d", "d/c"}
    assert (tmp / "r/d/c").read_text() == os.getxattr(tmp / "r/d/c", "user.name").decode() == "d/c"


def test_a_directory_that_is_away_for_a_moment(tmp: Path):
    """It is back when what is below it is read: all of that is reported and left out, and the rest can be restored."""
    root = tmp / "t"
    root.mkdir()
    for number in range(45_000):
        (root / f"d{number:05}").mkdir()
    (root / "large").write_bytes(noise(72 * MIB))
    (root / "zzz/deep").mkdir(parents=True)
    (root / "zzz/deep/file").write_text("file")
    (root / "zzz/large").write_bytes(noise(20 * MIB))
    os.link(root / "zzz/deep/file", root / "zzz/link")
    command = [program(), "snapshot", "--workers", "1", str(root), "-"]
    with open(tmp / "err", "wb") as err:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=err)
    # It waits for the pipe: first among the directories, then in the large file.
    archive = process.stdout.read(1 << 16)
    time.sleep(1.5)
    (root / "zzz").rename(tmp / "away")
    archive += process.stdout.read(12 * MIB)
    (tmp / "away").rename(root / "zzz")
    archive += process.stdout.read()
    said = (tmp / "err").read_text()
    assert process.wait(PATIENCE) == 20, said
    for name in ("zzz", "zzz/deep", "zzz/deep/file", "zzz/large", "zzz/link"):
        assert f"{name} vanished: not archived" in said
    (tmp / "out").write_bytes(archive)
    burst("verify", "--content", tmp / "out")
    assert not any(name.startswith("zzz") for name in names(tmp / "out"))
