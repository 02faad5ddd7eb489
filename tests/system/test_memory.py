"""Peak memory does not grow with bytes, and hardly with entries."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from btrfs_volume import Volume, run
from burst import ARCHIVE_ID, TIMEOUT, program, start
from s3_server import Server
from trees import MIB, noise, prose

pytestmark = pytest.mark.slow

FILE = 64 * MIB
SIZES = {"0.2": 3, "1": 16, "4": 64}  # GiB: files
# The smaller number fills what is in flight, so that only what is kept for each entry grows from there.
ENTRIES = (200_000, 1_000_000 if os.environ.get("BURST_FULL") else 400_000)


def peak(*args: object, env: dict[str, str] | None = None) -> int:
    """Peak resident memory of the program in bytes."""
    measure = Path(__file__).with_name("measure.py")
    command = [sys.executable, "-S", measure, program(), *map(str, args)]
    done = subprocess.run(
        command, env={**os.environ, **(env or {})}, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return int(done.stderr.splitlines()[-1]) * 1024


@pytest.fixture(scope="module")
def disk(work: Path) -> Iterator[Path]:
    """Sources, archives and targets, together on one volume."""
    volume = Volume(work / "memory", gib=40)
    data = volume.path / "4"
    data.mkdir()
    hard, soft = noise(FILE, 1), prose(FILE, 2)
    for n in range(SIZES["4"]):
        (data / f"{n:02}").write_bytes(n.to_bytes(8, "big") + (soft if n % 2 else hard)[8:])
    for name, count in SIZES.items():
        if name != "4":
            (volume.path / name).mkdir()
            for n in range(count):
                run("cp", "--reflink=always", data / f"{n:02}", volume.path / name)
    yield volume.path
    volume.close()


def test_bytes(disk: Path, s3s: Server):
    """Twenty times the bytes: the same memory, for every way of reading and writing."""
    table: dict[str, dict[str, int]] = {}
    for size in SIZES:
        archive, where = disk / f"{size}.zip", f"s3://{s3s.bucket}/{size}.zip"
        row = table[size] = {}
        row["snapshot to a file"] = peak("snapshot", disk / size, archive)
        row["snapshot to S3"] = peak("snapshot", disk / size, where, env=s3s.environment)
        row["restore from a file"] = peak("restore", archive, disk / "t")
        shutil.rmtree(disk / "t")
        row["restore from S3"] = peak("restore", where, disk / "t", env=s3s.environment)
        shutil.rmtree(disk / "t")
        row["restore, decompressed"] = peak("restore", "--no-encoded-writes", archive, disk / "t")
        shutil.rmtree(disk / "t")
        s3s.client.delete_object(Bucket=s3s.bucket, Key=f"{size}.zip")
    for what in table["4"]:
        mib = {size: row[what] / MIB for size, row in table.items()}
        print(f"{what}: " + ", ".join(f"{size} GiB {m:.0f} MiB" for size, m in mib.items()))
        if what.startswith("snapshot"):
            # Content on its way: 16 MiB, and as much for each worker (src/snapshot/pipeline.rs). How much of that is
            # used depends on how far the disk lags behind, so the limit is what can be relied on.
            limit = 16 * (1 + (os.cpu_count() or 1)) + 48
            if what.endswith("S3"):
                # Parts under way, and one that is being filled (src/aws_crt/put.rs).
                limit += (min(16, max(8, 2 * (os.cpu_count() or 1))) + 2 + 1) * 8
        else:
            # 16 requests of 8 MiB, which 0.2 GiB need not fill at once.
            limit = 16 * 8 + 64
            assert mib["4"] - mib["1"] <= 64, f"{what}: {mib}"
        assert max(mib.values()) <= limit, f"{what}: {mib}, limit {limit}"


@pytest.mark.parametrize("budget", [80])
def test_budget(disk: Path, s3s: Server, budget: int):
    """A stated budget is kept, however many requests are asked for."""
    archive, where = disk / f"budget-{budget}.zip", f"s3://{s3s.bucket}/budget.zip"
    peak("snapshot", disk / "0.2", archive)
    peak("snapshot", "--overwrite", disk / "0.2", where, env=s3s.environment)
    for source in (archive, where):
        used = peak(
            *("restore", "--memory", budget, "--in-flight", 64, source, disk / f"t{budget}"), env=s3s.environment
        )
        shutil.rmtree(disk / f"t{budget}")
        print(f"--memory {budget}: {used / MIB:.0f} MiB")
        assert used <= budget * MIB
    archive.unlink()
    s3s.client.delete_object(Bucket=s3s.bucket, Key="budget.zip")


def many(root: Path, count: int) -> None:
    """Empty files with long names, so that 400,000 have a directory of more than 64 MiB (124 MB)."""
    for n in range(count):
        if n % 1000 == 0:
            directory = root / f"{n // 1000:04}"
            directory.mkdir(parents=True)
        os.mknod(directory / f"{n:06}{'n' * 200}")


def test_entries(volume: Callable[..., Volume]):
    """Restore keeps at most 64 B for an entry. A snapshot spools its lists: above 64 MiB to unlinked files."""
    disk = volume(gib=16).path
    snapshots, restores = [], []
    for count in ENTRIES:
        many(disk / str(count), count)
        snapshots.append(peak("snapshot", "--archive-id", ARCHIVE_ID, disk / str(count), disk / f"{count}.zip"))
        # So few in flight that it takes neither long nor all of the smaller one to have so many.
        few = ("restore", "--in-flight", 4, disk / f"{count}.zip")
        restores.append(peak(*few, disk / f"t{count}"))
        assert sum(len(files) for _, _, files in os.walk(disk / f"t{count}")) == count
    more = ENTRIES[1] - ENTRIES[0]
    print(f"snapshot: {[s / MIB for s in snapshots]} MiB, restore: {[r / MIB for r in restores]} MiB")
    print(f"restore: {(restores[1] - restores[0]) / more:.1f} B for each entry more")
    assert restores[1] - restores[0] <= 64 * more
    assert peak("restore", disk / f"{ENTRIES[1]}.zip", disk / "default") <= 192 * MIB
    # Two lists, of the walk and of the directory, each at most 64 MiB in memory.
    assert snapshots[1] <= 2 * 64 * MIB + 48 * MIB
    assert spools(disk / str(ENTRIES[1]), disk / "again.zip"), "no unlinked temporary file was seen"


def spools(source: Path, dest: Path) -> bool:
    """Whether the program has an unlinked file open while it works."""
    process = start("snapshot", source, dest)
    seen = False
    while process.poll() is None and not seen:
        try:
            links = [os.readlink(f"/proc/{process.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{process.pid}/fd")]
        except FileNotFoundError:
            continue
        seen = any(link.endswith("(deleted)") for link in links)
    process.communicate()
    return seen
