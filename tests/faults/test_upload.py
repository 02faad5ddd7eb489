"""An upload to a server that misbehaves: the same object as always or no object, the documented exit code in time, and
never a multipart upload left behind, which would be paid for."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from burst import snapshot
from fault_server import FaultServer
from test_download import ALWAYS, CHANGED, DEADLINE, DENIED, FAILED, NOT_FOUND, OK, UNAVAILABLE, UNSUPPORTED, USAGE
from trees import MIB, noise, prose

TARGET_IN_USE = 19
PARTS = 12
# Is there an object, begin, parts, complete.
REQUESTS = PARTS + 3
HEAD, CREATE, COMPLETE = 0, 1, REQUESTS - 1
LIMIT = 40

# By the kind of fault: what may come of it once, and from there on.
EXPECTED: dict[str, tuple[set[int], set[int]]] = {
    "500": ({OK}, {UNAVAILABLE}),
    "503": ({OK}, {UNAVAILABLE}),
    "403": ({DENIED}, {DENIED}),
    "404 upload": ({NOT_FOUND, FAILED}, {NOT_FOUND, FAILED}),
    "412": ({TARGET_IN_USE}, {TARGET_IN_USE}),
    "301": ({USAGE}, {USAGE}),
    "html": ({FAILED, UNSUPPORTED}, {FAILED, UNSUPPORTED}),
    "200 error": ({OK, FAILED, UNAVAILABLE}, {FAILED, UNAVAILABLE, UNSUPPORTED}),
    "reset": ({OK}, {UNAVAILABLE}),
    "lost answer": ({OK}, {UNAVAILABLE}),
    "stall": ({DEADLINE}, {DEADLINE}),
}


class Case:
    def __init__(self, directory: Path):
        self.tree = directory / "tree"
        self.tree.mkdir()
        for n in range(11):
            (self.tree / f"{n:02}").write_bytes(noise(8 * MIB, n))
        (self.tree / "prose").write_bytes(prose(20 * MIB, 1))
        snapshot(self.tree, directory / "archive")
        self.archive = (directory / "archive").read_bytes()
        assert (PARTS - 1) * 8 * MIB < len(self.archive) <= PARTS * 8 * MIB, len(self.archive) / MIB
        self.server = FaultServer()


@pytest.fixture(scope="module")
def case(work: Path) -> Iterator[Case]:
    directory = work / "uploads"
    directory.mkdir()
    case = Case(directory)
    yield case
    case.server.close()


def upload(case: Case) -> tuple[int, str, float]:
    begun = time.monotonic()
    environment = case.server.environment
    done = snapshot(case.tree, "s3://bucket/key", "--stall-timeout", "1", env=environment, code=None)
    return done.code, done.err, time.monotonic() - begun


def test_nothing_wrong(case: Case):
    case.server.reset()
    code, err, _ = upload(case)
    assert code == OK, err
    assert "repeated" not in err
    assert case.server.seen == {"head": 1, "create": 1, "part": PARTS, "complete": 1}
    assert case.server.objects["/bucket/key"] == case.archive


@pytest.mark.parametrize("times", ["once", "from there on"])
@pytest.mark.parametrize("fault", EXPECTED)
def test_fault(fault: str, times: str, case: Case, some: Callable[[int, bool], list[int]]):
    slowest, ends = 0.0, {}
    for first in some(REQUESTS, times == "once" and fault != "stall"):
        case.server.reset(fault, first, 1 if times == "once" else ALWAYS)
        code, err, seconds = upload(case)
        slowest, ends[first] = max(slowest, seconds), code
        at = f"{fault} {times}, request {first}: exit code {code} after {seconds:.1f} s: {err}"
        assert code in expected(fault, times, first), at
        assert seconds < LIMIT, at
        if code == OK:
            assert case.server.objects == {"/bucket/key": case.archive}, at
        else:
            assert err.splitlines()[-1].startswith("burst: s3://bucket/key"), at
            if fault != "lost answer" or first < COMPLETE:
                assert not case.server.objects, at
        orphans = 1 if fault == "lost answer" and first == CREATE and times == "once" else 0
        if times != "once" and fault == "lost answer" and first <= CREATE:
            # Begun on the server, but nobody was told under which number: nothing can be done from here.
            orphans = len(case.server.uploads)
        assert len(case.server.uploads) == orphans, at
    print(f"slowest: {slowest:.2f} s, exit codes: {json.dumps(ends)}")


def expected(fault: str, times: str, first: int) -> set[int]:
    once, always = EXPECTED[fault]
    if first == HEAD:
        # No body comes with the answer, and the answer "403" does not say whether there is an object.
        special = {"403": {OK}, "404 upload": {OK}, "html": {TARGET_IN_USE}, "200 error": {TARGET_IN_USE}}
        if times == "once" and fault in special:
            return special[fault]
        if fault in ("html", "200 error"):
            return {TARGET_IN_USE}
        if fault == "412":
            return {CHANGED}
    if fault == "lost answer" and first == COMPLETE:
        # It is complete, and then there is no such upload any more.
        return {OK, NOT_FOUND, FAILED, UNAVAILABLE}
    return once if times == "once" else always
