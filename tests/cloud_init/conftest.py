"""Fixtures: per Debian release one image with the module installed, and machines that start from it."""

import contextlib
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), *(str(HERE.parent / each) for each in ("system", "boot", "../spec/reference"))]

import chroots  # noqa: E402
import pytest  # noqa: E402
import s3_server  # noqa: E402
import trees  # noqa: E402
from btrfs_volume import Volume, private_mounts  # noqa: E402
from burst import snapshot  # noqa: E402
from ec2_disks import GIB, Ec2Disks  # noqa: E402
from listing import Listing, listing  # noqa: E402
from machine import CONFIGURATION, Machine, program  # noqa: E402

CLOUD_INIT = HERE.parents[1] / "cloud-init"
BUCKET = "my-bucket"
counter = itertools.count()


@pytest.fixture(scope="session")
def work() -> Iterator[Path]:
    """A directory with a short path; everything of the tests is in it."""
    private_mounts()
    path = Path(tempfile.mkdtemp(prefix="burst-", dir=os.environ.get("BURST_TEST_DIR")))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def debian() -> dict[str, Path]:
    """The trees of all releases; making them takes a minute each."""
    with ThreadPoolExecutor() as pool:
        return dict(zip(chroots.SUITES, pool.map(chroots.directory, chroots.SUITES), strict=True))


@pytest.fixture(scope="session", params=chroots.SUITES)
def suite(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="session")
def image(work: Path, suite: str, debian: dict[str, Path]) -> list[Path]:
    """The layers of a machine with the program and the module installed."""
    machine = Machine(work / f"image-{suite}", [debian[suite]])
    machine.start()
    try:
        installed = machine.path("/usr/local/bin/burst")
        shutil.copy(program(), installed)
        installed.chmod(0o755)
        # Its libraries are those of the release.
        machine.run("burst", "--version")
        machine.write("/etc/cloud/cloud.cfg.d/50_test.cfg", CONFIGURATION)
        shutil.copytree(CLOUD_INIT, machine.path("/root/cloud-init"))
        machine.run("python3", "-B", "/root/cloud-init/install.py", "install")
        # `cloud-init single` wants to know the data source.
        assert machine.boot("#cloud-config\n{}\n", "i-image")["errors"] == []
    finally:
        machine.stop()
    return [machine.base / "upper", debian[suite]]


@pytest.fixture
def machine(work: Path, image: list[Path], s3s: s3_server.Server) -> Iterator[Machine]:
    """Switched off, so that it can be given disks."""
    machine = Machine(work / f"m{next(counter)}", image, s3s.environment)
    yield machine
    machine.close()


@pytest.fixture
def disk(work: Path) -> Iterator[Callable[[], str]]:
    """Makes blank loop devices."""
    with contextlib.ExitStack() as stack:

        def make() -> str:
            file = work / f"disk{next(counter)}"
            with open(file, "wb") as f:
                f.truncate(GIB << 30)
            stack.callback(file.unlink)
            command = ["losetup", "--find", "--show", str(file)]
            device = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
            stack.callback(subprocess.run, ["losetup", "--detach", device], check=True)
            return device

        yield make


@pytest.fixture
def ec2(machine: Machine, disk: Callable[[], str], work: Path) -> Ec2Disks:
    return Ec2Disks(machine, disk, work / f"sys{next(counter)}")


@pytest.fixture(scope="session")
def tree(work: Path) -> Iterator[Path]:
    """A bit of everything that the root file system of the machine takes, too, whatever it is."""
    volume = Volume(work / "source", gib=2)
    root = volume.path / "tree"
    root.mkdir()
    (root / "share").mkdir()
    for n in range(50):
        (root / f"share/file{n}").write_bytes(trees.prose(n * 999, n))
    (root / "large").write_bytes(trees.prose(5 << 20, 1))
    os.setxattr(root / "large", "user.note", b"kept")
    (root / "link").symlink_to("share/file7")
    for n, path in enumerate(sorted(root.rglob("*"))):
        os.chown(path, n, n + 1, follow_symlinks=False)
        os.utime(path, ns=(trees.WHEN, trees.WHEN + n), follow_symlinks=False)
    os.chmod(root / "large", 0o4755)
    yield root
    volume.close()


@pytest.fixture(scope="session")
def listed(tree: Path) -> Listing:
    return listing(tree)


@pytest.fixture(scope="session")
def s3s(work: Path, tree: Path) -> Iterator[s3_server.Server]:
    """A server with the archives that the examples name."""
    server = s3_server.s3s_fs(work / "s3s")
    server.client.create_bucket(Bucket=BUCKET)
    snapshot(tree, work / "data.zip")
    for key in ("data.zip", "cache.zip"):
        server.client.upload_file(str(work / "data.zip"), BUCKET, key)
    yield server
    server.close()
