"""A restore from a server that misbehaves: the same tree, or the documented exit code in time; never a hang, never a
target that looks complete."""

import json
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from burst import Done, burst, snapshot, start, stop, terminate
from fault_server import FaultServer
from listing import Listing, listing
from trees import MIB, noise, prose

OK, FAILED, USAGE, NOT_FOUND, DENIED, CHANGED, CORRUPT = 0, 1, 2, 10, 11, 12, 13
DEADLINE, UNSUPPORTED, UNAVAILABLE = 16, 17, 18
PARTS, REQUESTS = 30, 31
# Long enough for a few parts to arrive on a busy machine, with few of them in flight.
STALL, IN_FLIGHT = 8, 4
# A run that has to wait for nothing takes about a second.
LIMIT = 30
ALWAYS = 1 << 30

# What may happen if it goes wrong once, and if it goes wrong from that request on. At the first request, the one that
# opens the archive, some things look different (third).
EXPECTED: dict[str, tuple[set[int], set[int], set[int] | None]] = {
    "500": ({OK}, {UNAVAILABLE}, None),
    "503": ({OK}, {UNAVAILABLE}, None),
    "429": ({OK}, {UNAVAILABLE}, None),
    "408": ({OK}, {UNAVAILABLE}, None),
    "403": ({DENIED}, {DENIED}, None),
    "404": ({NOT_FOUND}, {NOT_FOUND}, None),
    "412": ({CHANGED}, {CHANGED}, None),
    "301": ({USAGE}, {USAGE}, None),
    "html": ({UNSUPPORTED}, {UNSUPPORTED}, None),
    "reset": ({OK}, {UNAVAILABLE}, None),
    "cut": ({OK}, {UNAVAILABLE}, None),
    "stall": ({DEADLINE}, {DEADLINE}, None),
    "stall in body": ({DEADLINE}, {DEADLINE}, None),
    "drip": ({DEADLINE}, {DEADLINE}, None),
    "short": ({OK}, {UNSUPPORTED}, None),
    "wrong range": ({OK}, {UNSUPPORTED}, None),
    "wrong body": ({CORRUPT}, {CORRUPT}, None),
    "wrong etag": ({CHANGED}, {CHANGED}, None),
    "replaced": ({CHANGED}, {CHANGED}, {CHANGED, OK}),
    "replaced unnoticed": ({CHANGED}, {CHANGED}, {CHANGED, OK}),
}


class Case:
    """An archive of 30 parts, another of the same length, and what they hold."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.archives, self.listings = [], []
        for which in range(2):
            tree = directory / f"tree{which}"
            make_tree(tree, which)
            archive = directory / f"archive{which}"
            snapshot(tree, archive)
            self.archives.append(archive.read_bytes())
            self.listings.append(listing(tree))
        one, two = self.archives
        assert len(one) == len(two) and (PARTS - 1) * 8 * MIB < len(one) <= PARTS * 8 * MIB
        self.server = FaultServer(one, two)
        self.runs = 0

    def restore(self, *args: object, code: int | None = None) -> tuple[Done, float, Path]:
        self.runs += 1
        target = self.directory / f"target{self.runs}"
        begun = time.monotonic()
        done = burst(
            "restore", "--json", *(() if "--in-flight" in args else ("--in-flight", IN_FLIGHT)), *(() if "--stall-timeout" in args else ("--stall-timeout", STALL)), *args, "s3://bucket/key", target,
            env=self.server.environment, code=code,
        )  # fmt: skip
        return done, time.monotonic() - begun, target


def make_tree(root: Path, which: int) -> None:
    """Files that lie in one part and in several, packed and as they are, links and small ones."""
    (root / "sub").mkdir(parents=True)
    big = noise(66 * MIB, which)
    for n in range(24):
        (root / f"sub/{n:02}").write_bytes(big[n * 65536 : 7 * MIB + n * 65536])
        (root / f"sub/{n:02}-small").write_bytes(prose(5000, n))
    (root / "big").write_bytes(big)
    (root / "prose").write_bytes(prose(20 * MIB, 7))
    (root / "link").symlink_to("sub/00")
    (root / "hard").hardlink_to(root / "sub/01")
    os.utime(root, (1, 1))
    os.utime(root / "sub", (1, 1))


@pytest.fixture(scope="module")
def case(work: Path) -> Iterator[Case]:
    """In memory, so that hundreds of restores do not wait for a disk."""
    from btrfs_volume import libc, run

    directory = work / "faults"
    directory.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=3g", "tmpfs", directory)
    case = Case(directory)
    yield case
    case.server.close()
    libc.umount2(os.fsencode(directory), 2)
    print(f"restores: {case.runs}")


def check(case: Case, done: Done, target: Path, allowed: set[int], first: int) -> None:
    assert done.code in allowed, f"exit code {done.code}: {done.err}"
    if done.code == OK:
        report = json.loads(done.out)
        assert report["complete"] and report["parts"] == PARTS, report
        found: Listing = listing(target)
        # A server that has another object from the first request on is simply a server of that object.
        assert found == case.listings[0] or (first == 0 and found == case.listings[1])
    else:
        lines = done.err.splitlines()
        assert len(lines) == 1 and lines[0].startswith("burst: "), done.err
        assert "s3://bucket/key" in lines[0], lines[0]
        [line] = done.out.splitlines()
        assert json.loads(line)["error"]["exit_code"] == done.code
        if target.exists():
            assert (target / ".burst").is_dir() and "user.burst.restored" not in os.listxattr(target)


def remove(target: Path) -> None:
    import shutil

    shutil.rmtree(target, ignore_errors=True)


def test_nothing_wrong(case: Case):
    """The measure of everything else."""
    case.server.reset()
    done, seconds, target = case.restore(code=0)
    check(case, done, target, {OK}, 1)
    assert json.loads(done.out)["repeated_requests"] == 0
    assert case.server.seen == {"get": REQUESTS}
    print(f"{seconds:.2f} s")


def test_a_server_that_cannot_count_from_the_end(case: Case):
    case.server.reset()
    case.server.no_suffixes = True
    done, _, target = case.restore(code=0)
    check(case, done, target, {OK}, 1)
    assert case.server.seen == {"get": REQUESTS + 1, "head": 1}
    remove(target)
    remove(target)


def test_a_server_that_knows_no_ranges(case: Case):
    """One that only cannot count from the end is no such server, whatever it says of itself."""
    for says in ({}, {"Accept-Ranges": "bytes"}):
        case.server.reset()
        case.server.no_ranges = says
        done, _, target = case.restore(code=UNSUPPORTED)
        check(case, done, target, {UNSUPPORTED}, 1)
        assert "does not answer range requests" in done.err, done.err
        remove(target)


@pytest.mark.parametrize("times", ["once", "from there on"])
@pytest.mark.parametrize("fault", EXPECTED)
def test_fault(fault: str, times: str, case: Case, some: Callable[[int, bool], list[int]]):
    once, always, at_first = EXPECTED[fault]
    slowest = 0.0
    for first in some(REQUESTS, times == "once" and once != {DEADLINE}):
        case.server.reset(fault, first, 1 if times == "once" else ALWAYS)
        done, seconds, target = case.restore()
        slowest = max(slowest, seconds)
        allowed = once if times == "once" else always
        try:
            check(case, done, target, at_first if first == 0 and at_first else allowed, first)
            assert case.server.hits > 0
            if done.code == OK and allowed == {OK}:
                # These at the first request are no reason to repeat it: the server is asked in another way.
                expected = 0 if fault in ("500", "short", "wrong range") and first == 0 else 1
                assert json.loads(done.out)["repeated_requests"] == expected, done.out
        except AssertionError as e:
            raise AssertionError(f"{fault} {times}, request {first}: {e}") from e
        assert seconds < LIMIT, f"{fault} {times}, request {first}: {seconds:.1f} s"
        remove(target)
    print(f"slowest: {slowest:.2f} s")


def test_repeated_requests_are_told(case: Case):
    case.server.reset("503", 5, 3)
    target = case.directory / "told"
    done = burst("restore", "s3://bucket/key", target, env=case.server.environment)
    assert "3 requests failed and had to be repeated" in done.err, done.err
    remove(target)


@pytest.mark.parametrize("first", [0, 5])
def test_too_many_requests(first: int, case: Case):
    """As often as what the CRT repeats: 4 attempts (AWS_MAX_ATTEMPTS)."""
    case.server.reset("429", first, 3)
    done, _, target = case.restore("--in-flight", 1, code=OK)
    check(case, done, target, {OK}, 1)
    assert json.loads(done.out)["repeated_requests"] == 3
    remove(target)
    case.server.reset("429", first, ALWAYS)
    done, _, target = case.restore("--in-flight", 1, code=UNAVAILABLE)
    assert case.server.hits >= 4 and "HTTP 429" in done.err and "less busy" in done.err, done.err
    if first == 0:
        assert case.server.hits == 4
    remove(target)


def test_stopped_while_a_refused_request_waits(case: Case, tmp: Path):
    """Waits of seconds lie between the last of so many attempts."""
    case.server.reset("429", 1, ALWAYS)
    environment = {**case.server.environment, "AWS_MAX_ATTEMPTS": "63"}
    process = start("restore", "--stall-timeout", 600, "s3://bucket/key", tmp / "t", env=environment)
    begun = time.monotonic()
    terminate(process, once=lambda: time.monotonic() - begun > 4)
    assert time.monotonic() - begun < 8


def long_directory(tmp: Path) -> bytes:
    """An archive whose end, which opens it, holds a part of its directory only."""
    tree = tmp / "tree"
    tree.mkdir()
    for n in range(25_000):
        os.close(os.open(tree / f"{n:0200}", os.O_CREAT))
    (tree / "z").write_bytes(b"last")
    snapshot(tree, tmp / "archive")
    return (tmp / "archive").read_bytes()


def test_a_long_directory_is_no_stall(case: Case, tmp: Path):
    """Its last part is asked for when more than the stall timeout has passed without a part in flight."""
    server = FaultServer(long_directory(tmp))
    server.reset("slow", 1, ALWAYS)
    burst("restore", "--stall-timeout", 1, "--path", "z", "s3://bucket/key", tmp / "t", env=server.environment)
    # The end, the pieces of the directory, the part.
    assert (tmp / "t/z").read_bytes() == b"last" and server.requests >= 4
    server.close()


@pytest.mark.parametrize("fault", ["503", "404", "wrong range"])
def test_the_range_is_named(fault: str, case: Case):
    """Of a failed request for a part, as a Range header has it, by which a server's log can be searched."""
    case.server.reset(fault, 1, ALWAYS)
    done, _, target = case.restore()
    [first, last] = map(int, re.search(r"burst: s3://bucket/key: bytes (\d+)-(\d+): ", done.err).groups())
    assert first % (8 * MIB) == 0 and (last + 1 - first == 8 * MIB or last + 1 <= len(case.server.content)), done.err
    remove(target)


def test_deadline(case: Case):
    """Also if every single answer comes in time."""
    case.server.reset("drip", 1, ALWAYS)
    begun = time.monotonic()
    done, _, target = case.restore("--stall-timeout", 600, "--deadline", 2, code=DEADLINE)
    seconds = time.monotonic() - begun
    assert "--deadline" in done.err
    assert 2 <= seconds < 15, seconds
    remove(target)


@pytest.mark.parametrize("first", [0, 1])
def test_stopped_while_no_answer_comes(case: Case, tmp: Path, first: int):
    """Also before the archive is open, when nothing is under way but the one request for its end."""
    case.server.reset("stall", first, ALWAYS)
    flags = ("--stall-timeout", 600, "s3://bucket/key", tmp / "t")
    process = start("restore", *flags, env=case.server.environment)
    terminate(process, once=lambda: case.server.hits)
    begun = time.monotonic()
    done = burst("restore", "--deadline", 1, *flags, env=case.server.environment, code=DEADLINE)
    # In an orderly way, before the process would be ended as it is.
    assert "did not stop" not in done.err and time.monotonic() - begun < 5, done.err


def test_stopped_while_the_directory_does_not_come(case: Case, tmp: Path):
    """Whichever of the requests before the first part is not answered, also where the directory is read for a selection."""
    server = FaultServer(long_directory(tmp))
    for first in (1, 2, 3):
        for selection in ((), ("--path", "z")):
            server.reset("stall", first, ALWAYS)
            flags = ("--stall-timeout", 20, *selection, "s3://bucket/key", tmp / f"t{first}{len(selection)}")
            process = start("restore", *flags, env=server.environment)
            begun = time.monotonic()
            terminate(process, once=lambda begun=begun: server.hits and time.monotonic() - begun > 1)
            assert time.monotonic() - begun < 10, (first, selection)
    server.close()


def test_stopped_while_a_pipe_is_silent(tmp: Path):
    """By the first signal."""
    process = start("restore", "-", tmp / "t")
    begun = time.monotonic()
    terminate(process, once=lambda: (tmp / "t/.burst").exists() and time.monotonic() - begun > 1)
    assert time.monotonic() - begun < 10


def test_standard_input_may_be_a_file_or_a_socket(case: Case, tmp: Path):
    archive = case.directory / "archive0"
    with archive.open("rb") as file:
        burst("restore", "-", tmp / "file", stdin=file)
    ours, theirs = socket.socketpair()
    with ours, theirs.makefile("rb") as end:
        theirs.close()
        sender = threading.Thread(target=lambda: (ours.sendall(archive.read_bytes()), ours.shutdown(socket.SHUT_WR)))
        sender.start()
        burst("restore", "-", tmp / "socket", stdin=end)
        sender.join()
    assert listing(tmp / "file") == listing(tmp / "socket") == case.listings[0]


def test_deadline_of_a_silent_pipe(tmp: Path):
    """A call that does not come back: the process ends all the same."""
    begun = time.monotonic()
    process = start("restore", "--deadline", "1", "-", tmp / "t")
    try:
        assert process.wait(timeout=30) == DEADLINE
    finally:
        stop(process)
    assert time.monotonic() - begun < 20
