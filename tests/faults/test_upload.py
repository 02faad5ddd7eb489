"""An upload to a server that misbehaves: the same object as always or no object, the documented exit code in time, and
never a multipart upload left behind, which would be paid for."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from burst import snapshot, start, terminate
from conftest import FULL
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
    "429": ({OK, UNAVAILABLE}, {UNAVAILABLE}),
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


def upload(case: Case, *args: str) -> tuple[int, str, float]:
    begun = time.monotonic()
    environment = case.server.environment
    done = snapshot(case.tree, "s3://bucket/key", "--stall-timeout", "1", *args, env=environment, code=None)
    return done.code, done.err, time.monotonic() - begun


def test_nothing_wrong(case: Case):
    case.server.reset()
    code, err, _ = upload(case)
    assert code == OK, err
    assert "repeated" not in err
    assert case.server.seen == {"head": 2, "create": 1, "part": PARTS, "complete": 1}
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


# What is answered to a repeated request to complete an upload that is complete; how often the object is not seen at first;
# what is told of it.
LOST = [
    ("404 upload", 0, ""),
    ("404 upload", 2, "checksum"),
    ("403 denied", 2, ""),
    ("412", 0, "checksum"),
    ("500", 0, ""),
    ("500", 0, "checksum"),
]


@pytest.mark.parametrize(("answer", "unseen", "told"), LOST)
def test_only_the_last_answer_is_lost(answer: str, unseen: int, told: str, case: Case):
    """The object is there, or will be in a moment, as its checksum tells, or reading it back."""
    case.server.reset("lost answer", COMPLETE, 1)
    case.server.when_gone, case.server.unseen, case.server.outcome = answer, unseen, told
    code, err, seconds = upload(case)
    seen = case.server.seen
    assert code == OK, (code, err)
    assert case.server.objects == {"/bucket/key": case.archive}
    assert seen["complete"] >= 2 and seen["head"] == 2 + unseen and (seen["get"] > 0) == (not told), seen
    assert seconds < LIMIT, seconds


@pytest.mark.parametrize("outcome", ["damage", "damage, checksum"])
@pytest.mark.parametrize("answer", ["404 upload", "500"] if FULL else ["500"])
def test_what_is_there_is_not_what_was_sent(answer: str, outcome: str, case: Case):
    """An object of the same length: the error is the one that it was."""
    case.server.reset("lost answer", COMPLETE, 1)
    case.server.when_gone, case.server.outcome = answer, outcome
    code, err, seconds = upload(case)
    assert code in ({UNAVAILABLE} if answer == "500" else {NOT_FOUND, FAILED}), (code, err)
    assert seconds < LIMIT, seconds


def test_an_answer_that_never_comes(case: Case):
    """The server has done what it should, and says nothing at all."""
    case.server.reset("silent", COMPLETE, 1)
    code, err, _ = upload(case)
    assert code == OK, (code, err)
    assert case.server.objects == {"/bucket/key": case.archive}


def test_stopped_before_it_is_told_that_it_began(case: Case):
    """What the server has begun by then is ended all the same."""
    case.server.reset("late", CREATE, 1)
    process = start("snapshot", case.tree, "s3://bucket/key", env=case.server.environment)
    terminate(process, once=lambda: case.server.uploads)
    assert not case.server.uploads and not case.server.objects and case.server.seen["abort"] == 1, case.server.seen


@pytest.mark.parametrize("why", ["stopped", "failed"])
def test_the_server_is_too_busy_to_abort(why: str, case: Case):
    """It is asked again, until it does."""
    case.server.reset("403" if why == "failed" else "stall", COMPLETE - 1, 1)
    case.server.aborts_refused = 2
    if why == "failed":
        code, err, _ = upload(case)
        assert code == DENIED, (code, err)
    else:
        process = start("snapshot", case.tree, "s3://bucket/key", env=case.server.environment)
        terminate(process, once=lambda: case.server.hits)
    assert not case.server.uploads and not case.server.objects and case.server.seen["abort"] == 3, case.server.seen


def test_a_server_that_takes_checksums_for_content(case: Case):
    """It says that all is well; the object is damaged. Without checksums it is not."""
    case.server.reset()
    case.server.outcome = "as sent"
    code, err, _ = upload(case)
    assert code == UNSUPPORTED and f"instead of the {len(case.archive)} that were sent" in err, (code, err)
    assert "--no-checksum" in err
    case.server.objects.clear()
    code, err, _ = upload(case, "--no-checksum")
    assert code == OK and case.server.objects == {"/bucket/key": case.archive}, (code, err)


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
    if fault == "lost answer" and first == COMPLETE and times != "once":
        # It is complete, and nobody says so.
        return {NOT_FOUND, FAILED, UNAVAILABLE}
    return once if times == "once" else always
