"""Disks for these tests: loop devices, also as sysfs would show them on EC2."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "volume"), str(TESTS / "system")]

import pytest  # noqa: E402
from disks import Loop, Machine, unmount_below  # noqa: E402
from fixtures import listed, made, s3s, source, tmp, volume, work  # noqa: E402, F401


@pytest.fixture
def loop(tmp: Path) -> Iterator[Callable[..., Loop]]:
    """Makes blank disks; what is mounted in `tmp` and the disks end with the test."""
    loops: list[Loop] = []

    def make(mib: int = 320) -> Loop:
        loops.append(Loop(tmp / f"disk{len(loops)}", mib))
        return loops[-1]

    yield make
    unmount_below(tmp)
    for each in loops:
        each.close()


@pytest.fixture
def machine(tmp: Path) -> Machine:
    return Machine(tmp / "machine")
