"""Fixtures of the system and interoperability tests: one source volume, archives made once, targets made anew."""

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import archives
import pytest
import s3_server
from btrfs_volume import Volume, private_mounts
from listing import Listing, listing

counter = itertools.count()


@pytest.fixture(scope="session")
def work() -> Iterator[Path]:
    """A directory with a short path that any user may pass through, removed at the end."""
    private_mounts()
    path = Path(tempfile.mkdtemp(prefix="burst-", dir=os.environ.get("BURST_TEST_DIR")))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def source(work: Path) -> Iterator[Volume]:
    """Where the trees are that the tests archive: BTRFS, which takes every kind of attribute."""
    volume = Volume(work / "source", gib=24)
    yield volume
    volume.close()


@pytest.fixture(scope="session")
def made(work: Path, source: Volume) -> archives.Archives:
    """Trees and archives by name, each made when it is first asked for."""
    return archives.Archives(source.path, work / "archives")


@pytest.fixture(scope="session")
def listed(made: archives.Archives) -> Callable[[str], Listing]:
    """The listing of a tree, by its name; read once."""
    known: dict[str, Listing] = {}

    def of(name: str) -> Listing:
        if name not in known:
            known[name] = listing(made.tree(name))
        return known[name]

    return of


@pytest.fixture
def volume(work: Path) -> Iterator[Callable[..., Volume]]:
    """Makes volumes that end with the test."""
    volumes: list[Volume] = []

    def make(**kw) -> Volume:
        volumes.append(Volume(work / f"v{next(counter)}", **kw))
        return volumes[-1]

    yield make
    for v in volumes:
        v.close()
        shutil.rmtree(v.image.parent, ignore_errors=True)


@pytest.fixture
def target(volume: Callable[..., Volume]) -> Path:
    """An absent directory on a new BTRFS."""
    return volume().path / "t"


@pytest.fixture
def tmp(work: Path) -> Iterator[Path]:
    """A directory on the file system of the machine (pytest's own has a long name)."""
    path = work / f"t{next(counter)}"
    path.mkdir()
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def s3s(work: Path) -> Iterator[s3_server.Server]:
    server = s3_server.s3s_fs(work / "s3s")
    yield server
    server.close()


@pytest.fixture(scope="session")
def moto(work: Path) -> Iterator[s3_server.Server]:
    server = s3_server.moto(work / "moto")
    yield server
    server.close()
