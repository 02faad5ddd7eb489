"""`restore --device`: which devices it takes, what they are meanwhile, and what a killed run leaves."""

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from archives import Archives
from btrfs_volume import run
from burst import burst, program
from listing import Listing, assert_same, listing
from made_image import MIB, SUPERBLOCKS, Image, superblocks

Listed = Callable[[str], Listing]
SIZE = 600 * MIB


class Loop:
    """A loop device over a sparse file."""

    def __init__(self, path: Path, size: int = SIZE):
        with open(path, "wb") as f:
            f.truncate(size)
        self.image = Image(path)
        self.device = run("losetup", "--find", "--show", path).strip()

    def blank(self) -> None:
        run("blkdiscard", "-f", self.device)

    def close(self) -> None:
        run("losetup", "--detach", self.device)


@pytest.fixture
def loop(tmp: Path) -> Iterator[Loop]:
    made = Loop(tmp / "disk")
    yield made
    made.close()


def probe(device: str) -> str:
    return subprocess.run(["blkid", "-p", device], capture_output=True, text=True, check=False).stdout


def test_mounts(made: Archives, listed: Listed, loop: Loop, tmp: Path):
    at = tmp / "new" / "mountpoint"
    options = ("--mount-options", "noatime,compress=zstd:1", "--label", "data")
    burst("restore", "--device", loop.device, *options, made.archive("odd"), at)
    try:
        assert_same(listed("odd"), listing(at))
        mounts = Path("/proc/self/mounts").read_text()
        (line,) = [line for line in mounts.splitlines() if str(at) in line]
        assert "noatime" in line and "compress=zstd:1" in line, line
        # It is in use now.
        for force in ((), ("--force",)):
            assert "burst: " in burst("restore", "--device", loop.device, *force, made.archive("odd"), code=19).err
        assert_same(listed("odd"), listing(at))
    finally:
        run("umount", at)
    assert "data" in probe(loop.device)
    loop.image.check()


def test_nodes_of_another_user(loop: Loop, tmp: Path):
    """Root makes a device that a file of somebody else asks for only if told to."""
    archive, at = tmp / "nodes.zip", tmp / "mountpoint"
    archive.write_bytes((Path(__file__).resolve().parents[2] / "spec/vectors/nodes.zip").read_bytes())
    os.chown(archive, 1000, 1000)
    err = burst("restore", "--device", loop.device, archive, at, code=14).err
    assert "user 1000" in err and "--allow-devices" in err, err
    burst("restore", "--device", loop.device, "--allow-devices", archive, at)
    try:
        assert (at / "null").is_char_device()
    finally:
        run("umount", at)


@pytest.mark.parametrize("what", ["btrfs", "ext4", "table", "byte"])
def test_not_blank(what: str, made: Archives, listed: Listed, loop: Loop):
    """What holds something is refused, and with --force nothing of it remains."""
    if what in ("btrfs", "ext4"):
        run(f"mkfs.{what}", "-q", loop.device)
    elif what == "table":
        # A partition table of the old kind: one Linux partition from sector 2048.
        entry = bytes([0, 0, 0, 0, 0x83, 0, 0, 0]) + (2048).to_bytes(4, "little") + (9999).to_bytes(4, "little")
        with open(loop.device, "r+b") as f:
            f.write(bytes(446) + entry + bytes(48) + b"\x55\xaa")
    else:
        with open(loop.device, "r+b") as f:
            f.seek(5000)
            f.write(b"x")
    before = probe(loop.device)
    done = burst("restore", "--device", loop.device, made.archive("kinds"), code=19)
    assert "not blank" in done.err and len(done.err.splitlines()) == 1
    assert probe(loop.device) == before
    burst("restore", "--device", loop.device, "--force", made.archive("kinds"))
    found = probe(loop.device)
    assert 'TYPE="btrfs"' in found and "PTTYPE" not in found, found
    loop.image.check()
    with loop.image.mounted("ro") as root:
        assert_same(listed("kinds"), listing(root))


def test_only_devices(made: Archives, tmp: Path):
    (tmp / "file").write_bytes(b"")
    burst("restore", "--device", tmp / "file", made.archive("kinds"), code=2)
    burst("restore", "--device", tmp / "absent", made.archive("kinds"), code=10)
    burst("restore", "--device", "/dev/null", made.archive("kinds"), code=2)
    burst("restore", "--mount-options", "ro", made.archive("kinds"), tmp / "t", code=2)


def command(loop: Loop, archive: Path, *options: str) -> list[str]:
    """A restore under strace, which writes what is done to devices to standard output."""
    strace = [
        "strace",
        "-f",
        "-y",
        "-s0",
        "-e",
        "trace=pwrite64,fsync",
        "-e",
        "signal=none",
        "-o",
        "/dev/stdout",
        *options,
    ]
    return [*strace, program(), "restore", "-q", "--workers", "1", "--device", loop.device, str(archive)]


def traced(loop: Loop, archive: Path, *options: str) -> subprocess.CompletedProcess:
    return subprocess.run(command(loop, archive, *options), capture_output=True, text=True, check=False, timeout=120)


def operation(loop: Loop, line: str) -> tuple[str, int, int] | None:
    """What a line of strace says was done to the device: call, offset, length."""
    if f"<{loop.device}>" not in line:
        return None
    if m := re.search(r"pwrite64\(.*, (\d+), (\d+)(\)| <unfinished)", line):
        return ("write", int(m[2]), int(m[1]))
    return ("flush", 0, 0) if "fsync(" in line and "resumed" not in line else None


def operations(loop: Loop, trace: str) -> list[tuple[str, int, int]]:
    return [found for line in trace.splitlines() if (found := operation(loop, line))]


def test_order_of_writes(made: Archives, loop: Loop):
    """Old superblocks go first; all else is on the medium before the copies, and those before the superblock."""
    done = operations(loop, traced(loop, made.archive("kinds")).stdout)
    places = [at for at in SUPERBLOCKS if at < SIZE]
    flush, copy, primary = ("flush", 0, 0), ("write", SUPERBLOCKS[1], 4096), ("write", SUPERBLOCKS[0], 4096)
    # The place of the superblock holds a mark meanwhile, by which another run knows what it is.
    begin = [*(("write", at, 4096) for at in places), flush, primary, flush]
    assert done[: len(begin)] == begin
    assert done[-6:] == [flush, copy, primary, flush, primary, flush]
    middle = done[len(begin) : -6]
    assert len(middle) > 10 and all(call == "write" and at >= MIB for call, at, _ in middle)
    assert not any(at < place + 65536 and at + n > place for _, at, n in middle for place in SUPERBLOCKS)
    loop.image.check()


def killed_at_write(loop: Loop, archive: Path, when: int) -> None:
    """Kills a run as soon as this many writes have begun."""
    with subprocess.Popen(command(loop, archive), stdout=subprocess.PIPE, text=True) as process:
        seen = 0
        for line in process.stdout:
            found = operation(loop, line)
            seen += found is not None and found[0] == "write"
            if seen == when:
                os.kill(int(line.split()[0]), signal.SIGKILL)
                break
        process.stdout.read()
        process.wait(timeout=60)


def complete(loop: Loop) -> bool:
    """Whether there is a file system; if so, all of it, and if not, nothing takes the device for one."""
    if SUPERBLOCKS[0] in superblocks(loop.device):
        loop.image.check()
        return True
    assert probe(loop.device) == ""
    loop.image.mountpoint.mkdir(exist_ok=True)
    mount = ["mount", "-t", "btrfs", loop.device, str(loop.image.mountpoint)]
    assert subprocess.run(mount, capture_output=True, check=False).returncode != 0
    return False


def test_killed(made: Archives, listed: Listed, loop: Loop):
    """Killed at any moment: nothing that could be mounted, and the next run succeeds; or all of it."""
    archive = made.archive("boundaries")
    done = operations(loop, traced(loop, archive).stdout)
    writes = sum(call == "write" for call, _, _ in done)
    assert writes > 40
    outcomes = []
    moments = 100 if os.environ.get("BURST_FULL") else 16
    for when in [*(1 + n * (writes - 8) // moments for n in range(moments)), *range(writes - 6, writes + 1)]:
        loop.blank()
        killed_at_write(loop, archive, when)
        outcomes.append(complete(loop))
    for when in range(1, 6):
        loop.blank()
        trace = traced(loop, archive, "-e", f"inject=fsync:signal=SIGKILL:when={when}")
        assert trace.returncode == -signal.SIGKILL, trace.stderr
        outcomes.append(complete(loop))
    assert outcomes[-4:] == [False, False, False, True]
    assert outcomes.count(False) >= 15
    loop.blank()
    # A run over what another one left, without --force.
    killed_at_write(loop, archive, writes // 2)
    burst("restore", "--device", loop.device, archive)
    loop.image.check()
    with loop.image.mounted("ro") as root:
        assert_same(listed("boundaries"), listing(root))


def test_write_error(made: Archives, loop: Loop):
    """A write that fails ends the run, and there is no file system."""
    for when in (5, 12):
        loop.blank()
        trace = traced(loop, made.archive("kinds"), "-e", f"inject=pwrite64:error=EIO:when={when}+")
        assert trace.returncode == 1 and "burst: " in trace.stderr, trace.stderr
        assert superblocks(loop.device) == []


def test_interrupted(made: Archives, loop: Loop):
    """SIGINT: an orderly end, no file system."""
    trace = traced(loop, made.archive("boundaries"), "-e", "inject=pwrite64:signal=SIGINT:when=8")
    assert trace.returncode == 130, trace.stderr
    assert superblocks(loop.device) == []
    assert os.path.exists(loop.device)
