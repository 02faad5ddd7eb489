"""The fixtures of the system tests, and how much is tried."""

import os
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / each) for each in ("resume", "faults", "support", "system")]

import pytest  # noqa: E402
from fixtures import made, source, target, tmp, volume, work  # noqa: E402, F401
from scene import Scene  # noqa: E402

FULL = bool(os.environ.get("BURST_FULL"))
SEED = int(os.environ.get("BURST_SEED", "1"))


def pytest_report_header() -> str:
    how = "all of it" if FULL else "a sample; BURST_FULL=1 tries all"
    return f"resume: seed {SEED} (BURST_SEED), {how}"


@pytest.fixture(scope="session")
def scene(work: Path):  # noqa: F811
    """A volume, two archives that differ, and a server of one of them."""
    scene = Scene(work / "resume")
    yield scene
    scene.close()
