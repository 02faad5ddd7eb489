"""What a restore that is broken off has to do with: trees, archives, a server that knows how far it got, and ends of it."""

import json
import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

from btrfs_volume import MNT_DETACH, Volume, libc, run
from burst import Done, burst, program, snapshot, start
from fault_server import FaultServer
from listing import Listing, assert_same, listing
from s3_http import Answer, Request
from trees import MIB, noise, prose

COMPLETE, NOTHING, CORRUPT, IN_USE, UNFINISHED = 0, 10, 13, 19, 21
SOURCE = "s3://bucket/key"
# So often that a restore of a second has some.
CHECKPOINT = "0.02"
# No run takes so long, whatever the machine does meanwhile.
PATIENCE = 120


def big_tree(root: Path, which: int) -> None:
    """About ten parts: files in one and in several of them, and between them everything that waits for the end."""
    root.mkdir(parents=True)
    for n in range(7):
        d = root / f"{n}"
        d.mkdir()
        # Stored, packed, sparse, each over a border of parts now and then.
        (d / "a-stored").write_bytes(noise(9 * MIB + n * 4097, which * 100 + n))
        (d / "b-packed").write_bytes(prose(3 * MIB + n, which * 100 + n))
        with open(d / "c-sparse", "wb") as f:
            f.truncate(30 * MIB + n)
            for at in range(0, 30 * MIB, 3 * MIB):
                f.seek(at)
                f.write(noise(96 << 10, which + at + n))
        odd(d, n)
    settle(root)


def small_tree(root: Path, which: int) -> None:
    """Three parts with as few entries as will do."""
    root.mkdir(parents=True)
    (root / "a").write_bytes(noise(13 * MIB, which * 100))
    (root / "b").symlink_to("a")
    (root / "c").mkdir()
    (root / "c/d").write_bytes(noise(4 * MIB, which * 100 + 1))
    (root / "c/e").symlink_to("../no/where")
    (root / "c/f").hardlink_to(root / "a")
    (root / "z").write_bytes(b"z")
    settle(root)


def odd(d: Path, n: int) -> None:
    for k in range(30):
        (d / f"small-{k}").write_bytes(b"%d" % k * (17 * k))
        (d / f"link-{k}").symlink_to(f"small-{k}" if k % 2 else "../" * k + "nowhere")
    (d / "hard-a").hardlink_to(d / "a-stored")
    (d / "hard-small").hardlink_to(d / "small-3")
    os.link(d / "link-1", d / "hard-link", follow_symlinks=False)
    os.mkfifo(d / "fifo", 0o640)
    os.mknod(d / "null", 0o020660, os.makedev(1, 3))
    (d / "hard-null").hardlink_to(d / "null")
    os.chown(d / "small-1", 1000 + n, 2000)
    (d / "small-1").chmod(0o4755)
    (d / "small-2").chmod(0o000)
    (d / "b-packed").chmod(0o400)
    os.setxattr(d / "small-4", "user.a", b"b" * n)
    run("setcap", "cap_net_raw+ep", d / "c-sparse")
    # What would be handed down to anything that is created in there later.
    for name, mode in (("setgid", 0o2775), ("closed", 0o500), ("sealed", 0)):
        inner = d / name
        inner.mkdir()
        (inner / "file").write_bytes(b"inside")
        (inner / "big").write_bytes(noise(300_000, n))
        (inner / "link").symlink_to("file")
        os.chown(inner, 0, 3000)
        inner.chmod(mode)
    (d / "acl").mkdir()
    (d / "acl/file").write_bytes(b"made before the ACL")
    (d / "acl/below").mkdir()
    (d / "acl/below/file").write_bytes(b"made before the ACL")
    run("setfacl", "-m", "u:1234:rwx", d / "acl")
    run("setfacl", "-d", "-m", "u:1234:rwx,g:99:---", d / "acl")


def settle(root: Path) -> None:
    for n, (path, _, _) in enumerate(os.walk(root, topdown=False)):
        os.utime(path, ns=(1, 1_600_000_000_000_000_000 + n * 1_000_000_007))


class Server(FaultServer):
    """Counts the bytes of parts that were sent, and calls back when there are so many."""

    def __init__(self, content: bytes):
        self.sent = 0
        self.at: tuple[int, Callable[[], None]] | None = None
        self.etag = ""
        # Set: requests are answered. Cleared: they wait.
        self.open = threading.Event()
        self.open.set()
        super().__init__(content)

    def serves(self, content: bytes, etag: str = "") -> None:
        self.reset()
        self.content, self.etag = memoryview(content), etag
        self.sent, self.at = 0, None
        self.open.set()

    def headers(self, content: memoryview) -> dict[str, str]:
        found = super().headers(content)
        return {**found, "ETag": f'"{self.etag}"'} if self.etag else found

    def answer(self, request: Request, fault: str) -> Answer:
        answer = super().answer(request, fault)
        # The request that opens the archive asks for its end.
        if request.method == "GET" and not request.headers.get("range", "").startswith("bytes=-"):
            self.open.wait()
            with self.lock:
                self.sent += len(answer.body)
                due = self.at is not None and self.sent >= self.at[0]
                call, self.at = (self.at[1], None) if due else (None, self.at)
            if call:
                call()
        return answer


class Scene:
    def __init__(self, base: Path):
        # In memory, so that hundreds of runs do not wait for a disk; a kill leaves the same on either.
        base.mkdir()
        run("mount", "-t", "tmpfs", "-o", "size=3g", "tmpfs", base)
        self.base, self.volume = base, Volume(base / "volume", gib=16)
        self.path = self.volume.path
        self.archives: dict[str, bytes] = {}
        self.trees: dict[str, Listing] = {}
        for name, make, which in (("big", big_tree, 1), ("small", small_tree, 1), ("other", small_tree, 2)):
            tree = self.path / f"tree-{name}"
            make(tree, which)
            snapshot(tree, self.path / f"{name}.zip")
            self.archives[name] = (self.path / f"{name}.zip").read_bytes()
            self.trees[name] = listing(tree)
        self.server = Server(self.archives["big"])
        self.runs = self.targets = 0
        # Over all runs that continued: parts that were there.
        self.skipped = 0

    def close(self) -> None:
        self.server.close()
        self.volume.close()
        libc.umount2(os.fsencode(self.base), MNT_DETACH)

    def new_target(self, subvolume: bool = False) -> Path:
        self.targets += 1
        target = self.path / f"t{self.targets}"
        if subvolume:
            run("btrfs", "-q", "subvolume", "create", target)
            target.chmod(0o700)
        return target

    def command(self, target: Path, *args: object) -> list[str]:
        """With one request in flight, parts are done one after the other."""
        in_flight = () if "--in-flight" in args else ("--in-flight", "2")
        return ["restore", "--json", "--checkpoint", CHECKPOINT, *in_flight, *map(str, args), SOURCE, str(target)]

    def start(self, target: Path, *args: object) -> subprocess.Popen:
        self.runs += 1
        return start(*self.command(target, *args), env=self.server.environment)

    def restore(self, target: Path, *args: object, code: int | None = 0) -> tuple[Done, dict]:
        """To the end; also what it reports."""
        self.runs += 1
        done = burst(*self.command(target, *args), env=self.server.environment, code=code)
        report = json.loads(done.out) if done.code == 0 else {}
        self.skipped += report.get("parts_there", 0)
        return done, report

    def kill_after(self, target: Path, sent: int, how: int = signal.SIGKILL, *args: object) -> tuple[int, str]:
        """Starts a restore, and ends it when the server has been asked for so many bytes of parts."""
        ready = threading.Event()
        process: list[subprocess.Popen] = []

        def end() -> None:
            ready.wait(PATIENCE)
            process[0].send_signal(how)

        with self.server.lock:
            self.server.sent, self.server.at = 0, (sent, end)
        process.append(self.start(target, *args))
        ready.set()
        _, err = process[0].communicate(timeout=PATIENCE)
        with self.server.lock:
            self.server.at = None
        return process[0].returncode, err.decode(errors="replace")

    def status(self, target: Path) -> tuple[int, dict]:
        done = burst("status", "--json", target, code=None)
        return done.code, json.loads(done.out)

    def goes_on(self, target: Path, name: str) -> str:
        """After a crash: says the truth about itself, which is returned, and the same command makes the exact tree."""
        code, status = self.status(target)
        assert code in (COMPLETE, UNFINISHED, NOTHING)
        if code == COMPLETE:
            self.check(target, name)
        _, report = self.restore(target)
        assert code != UNFINISHED or status["finishing"] or report["parts_there"] == status["parts_done"]
        self.check(target, name)
        return "finishing" if status.get("finishing") else status["state"]

    def check(self, target: Path, tree: str) -> None:
        assert_same(self.trees[tree], listing(target))
        assert not (target / ".burst").exists()
        assert b"archive_id" in os.getxattr(target, "user.burst.restored")
        assert "user.burst.finishing" not in os.listxattr(target)

    def remove(self, target: Path) -> None:
        if target.exists():
            run("rm", "-rf", target)


def traced(command: list[str], *strace: str, env: dict[str, str]) -> tuple[int, str]:
    """Runs the program under strace: its exit code and messages. (With --seccomp-bpf no signal would be injected.)"""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    done = subprocess.run(
        ["strace", "-f", "-qq", *strace, program(), *command],
        env={**clean, **env}, capture_output=True, text=True, errors="replace", timeout=PATIENCE, check=False,
    )  # fmt: skip
    return done.returncode, done.stderr


def calls_of(log: Path, about: str = "") -> dict[str, list[int]]:
    """For each call its numbers, counted in each thread as strace counts them, where `about` is in the line."""
    counts: dict[tuple[str, str], int] = {}
    found: dict[str, set[int]] = {}
    for line in log.read_text(errors="replace").splitlines():
        call = re.match(r"(\d+) +(\w+)\(", line)
        if call:
            counts[call.groups()] = counts.get(call.groups(), 0) + 1
            if about in line:
                found.setdefault(call[2], set()).add(counts[call.groups()])
    return {call: sorted(numbers) for call, numbers in found.items()}
