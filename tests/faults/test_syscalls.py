"""File-system calls that fail: strace makes the k-th one of a kind end with an error, in a restore of 200 entries onto
BTRFS. The documented exit code, a message that names what it is about, no target that looks complete, no panic and no
hang; a call cut short by a signal (EINTR) is repeated and nothing is lost."""

import errno
import os
import random
import re
import shutil
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from btrfs_volume import Volume
from burst import program, snapshot
from conftest import FULL, SEED
from listing import listing
from trees import noise, prose

CALLS = [
    "openat", "openat2", "mkdir", "mkdirat", "symlinkat", "linkat", "mknodat", "unlinkat", "fchown", "fchownat", "fchmod",
    "fchmodat", "utimensat", "fsetxattr", "setxattr", "flistxattr", "pwrite64", "ioctl", "ftruncate", "newfstatat",
    "statx", "syncfs", "getdents64", "pread64", "fstat",
]  # fmt: skip
FAILURE, DENIED, NO_SPACE = 1, 11, 15
# Besides success, where the call was not needed.
CODES = {"EIO": FAILURE, "ENOSPC": NO_SPACE, "EDQUOT": NO_SPACE, "EMFILE": FAILURE, "EPERM": DENIED, "EINTR": 0}
SECONDS = 60


def make_tree(root: Path) -> None:
    """200 entries of all kinds."""
    for n in range(20):
        d = root / f"d{n:02}"
        d.mkdir(parents=True)
        (d / "packed").write_bytes(prose(20_000 + n, n))
        (d / "small").write_bytes(b"%d" % n)
        (d / "noise").write_bytes(noise(5000, n))
        (d / "link").symlink_to("packed")
        (d / "hard").hardlink_to(d / "small")
        (d / "owned").write_bytes(b"")
        os.chown(d / "owned", 1000 + n, 1000)
        os.setxattr(d / "owned", "user.a", b"b")
        os.setxattr(d, "user.d", b"d")
        os.mkfifo(d / "fifo", 0o640)
        with open(d / "sparse", "wb") as f:
            f.write(b"begin")
            f.truncate(300_000)
        (d / "big").write_bytes(prose(150_000, n))
    # Content in several parts.
    (root / "long").write_bytes(noise(17 << 20, 3))


class Case:
    def __init__(self, volume: Volume, work: Path):
        self.target, self.work = volume.path / "t", work
        make_tree(volume.path / "tree")
        self.archive = volume.path / "archive"
        snapshot(volume.path / "tree", self.archive)
        self.expected = listing(volume.path / "tree")
        assert len(self.expected) > 200
        self.calls = self.look()
        self.ends: Counter[str] = Counter()

    def restore(self, *strace: str) -> tuple[int, str]:
        done = subprocess.run(
            ["strace", "-f", "--seccomp-bpf", "-qq", *strace, program(), "restore", "--quiet", "--workers", "1",
             self.archive, self.target],
            capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False,
        )  # fmt: skip
        return done.returncode, done.stderr

    def look(self) -> dict[str, list[int]]:
        """For each call the numbers k, counted in each thread as strace does, that are about target or archive."""
        log = self.work / "strace"
        code, err = self.restore("-y", "-o", str(log), "-e", "trace=" + ",".join(CALLS))
        assert code == 0, err
        assert listing(self.target) == self.expected
        self.clear()
        counts: Counter[tuple[str, str]] = Counter()
        about, other = defaultdict(set), defaultdict(set)
        for line in log.read_text(errors="replace").splitlines():
            found = re.match(r"(\d+) +(\w+)\(", line)
            if not found:
                continue
            thread, call = found.groups()
            counts[thread, call] += 1
            ours = str(self.target) in line or str(self.archive) in line
            (about if ours else other)[call].add(counts[thread, call])
        return {call: sorted(about[call] - other[call]) for call in CALLS if about[call] - other[call]}

    def clear(self) -> None:
        if self.target.exists():
            shutil.rmtree(self.target)


@pytest.fixture(scope="module")
def case(work: Path) -> Iterator[Case]:
    volume = Volume(work / "calls", gib=2)
    yield Case(volume, work)
    volume.close()


def fail(case: Case, call: str, name: str, k: int) -> None:
    at = f"{call} number {k} fails with {name}"
    code, err = case.restore("-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:error={name}:when={k}")
    assert code in (0, CODES[name]), f"{at}: exit code {code}: {err}"
    assert "panicked" not in err, f"{at}: {err}"
    if code == 0:
        assert listing(case.target) == case.expected, f"{at}: another tree, and exit code 0"
    else:
        lines = err.splitlines()
        assert len(lines) == 1 and lines[0].startswith("burst: "), f"{at}: {err}"
        assert str(case.target) in err or str(case.archive) in err, f"{at}: the message does not say where: {err}"
        assert os.strerror(getattr(errno, name)) in err, f"{at}: the message does not say what: {err}"
        if case.target.exists():
            assert "user.burst.restored" not in os.listxattr(case.target), f"{at}: marked as complete"
    case.ends[f"{name} {code}"] += 1
    case.clear()


@pytest.mark.parametrize("name", CODES)
def test_failing_calls(name: str, case: Case):
    """One of each kind of call; BURST_FULL=1: every one."""
    case.ends.clear()
    wrong = []
    for call, numbers in case.calls.items():
        chosen = numbers if FULL else {numbers[0], random.Random(f"{SEED} {name} {call}").choice(numbers)}
        for k in sorted(chosen):
            try:
                fail(case, call, name, k)
            except AssertionError as e:
                wrong.append(str(e))
                case.clear()
    print(f"{case.ends.total()} of {sum(map(len, case.calls.values()))} calls: {dict(case.ends)}")
    assert not wrong, "\n".join(wrong)


def test_the_calls_are_there(case: Case):
    """What is left out is not tried: every kind that a restore cannot do without must be among them."""
    needed = {"openat", "openat2", "mkdirat", "symlinkat", "linkat", "mknodat", "fchown", "utimensat", "fsetxattr"}
    needed |= {"pwrite64", "ioctl", "syncfs", "ftruncate"}
    assert needed <= set(case.calls), needed - set(case.calls)
    print({call: len(numbers) for call, numbers in case.calls.items()})
