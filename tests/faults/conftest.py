"""The fixtures of the system tests, and how much is tried."""

import os
import random
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "faults"), str(TESTS / "system"), str(TESTS.parent / "spec" / "reference")]

import pytest  # noqa: E402
from fixtures import made, moto, s3s, source, target, tmp, volume, work  # noqa: E402, F401

FULL = bool(os.environ.get("BURST_FULL"))
SEED = int(os.environ.get("BURST_SEED", "1"))


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: more than a few seconds; the fast tier leaves them out")


def pytest_report_header() -> str:
    how = "every position" if FULL else "a sample of the positions; BURST_FULL=1 tries every one"
    return f"faults: seed {SEED} (BURST_SEED), {how}"


@pytest.fixture
def some(request: pytest.FixtureRequest):
    """The positions to try out of `count`: all, or one that the seed chooses, with `ends` also first and last."""

    def of(count: int, ends: bool) -> list[int]:
        if FULL:
            return list(range(count))
        chosen = random.Random(f"{SEED} {request.node.name}").randrange(1, count - 1)
        return sorted({0, count - 1, chosen} if ends else {chosen})

    return of
