"""Fixtures: the packages of the program that is built, and clean Debian machines to install them on."""

import itertools
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [
    str(HERE),
    str(HERE.parent / "cloud_init"),
    str(HERE.parent / "system"),
    str(ROOT / "spec" / "reference"),
]

import chroots  # noqa: E402
import pytest  # noqa: E402
from btrfs_volume import private_mounts  # noqa: E402
from machine import Machine  # noqa: E402
from package import build  # noqa: E402

counter = itertools.count()


@pytest.fixture(scope="session")
def work() -> Iterator[Path]:
    private_mounts()
    path = Path(tempfile.mkdtemp(prefix="burst-", dir=os.environ.get("BURST_TEST_DIR")))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def packages(work: Path) -> dict[str, Path]:
    return build(work / "packages")


@pytest.fixture
def machine(work: Path) -> Iterator[Machine]:
    """Debian 12 with cloud-init, without anything of BURST."""
    machine = Machine(work / f"m{next(counter)}", [chroots.directory("bookworm")])
    machine.start()
    yield machine
    machine.close()
