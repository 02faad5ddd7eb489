"""Power cuts on a disk that loses and tears what was not flushed: there is no file system, or all of it; and where there
is none, the same command makes it. BURST_FULL=1 cuts more than a hundred times."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from archives import Archives
from btrfs_volume import run
from burst import burst
from disk import LARGEST_CALL_KIB, Disk
from listing import Listing, assert_same, listing
from made_image import SUPERBLOCKS, Image, superblocks

Listed = Callable[[str], Listing]
FULL = bool(os.environ.get("BURST_FULL"))
MIB = 300
# Zeros, the mark, the content, the copies, the superblock.
FLUSHES = 5


@contextmanager
def loop(file: Path) -> Iterator[str]:
    device = run("losetup", "--find", "--show", file).strip()
    try:
        (Path("/sys/class/block") / Path(device).name / "queue/max_sectors_kb").write_text(str(LARGEST_CALL_KIB))
        yield device
    finally:
        run("losetup", "--detach", device)


def restore(disk: Disk, archive: Path, code: int = 0, failing_flush: int | None = None) -> None:
    with loop(disk.image) as device:
        if failing_flush is not None:
            disk.fail("flush", after=failing_flush, times=1)
        burst("restore", "--workers", "1", "--device", device, archive, code=code)


def is_complete(cut: Path, archive: Path, wanted: Listing) -> bool:
    """Whether the cut left a file system. The same command makes it if not."""
    image = Image(cut)
    complete = SUPERBLOCKS[0] in superblocks(cut)
    if not complete:
        assert subprocess.run(["blkid", "-p", cut], capture_output=True, text=True, check=False).stdout == ""
        image.mountpoint.mkdir(exist_ok=True)
        mount = ["mount", "-t", "btrfs", "-o", "loop", cut, image.mountpoint]
        assert subprocess.run(mount, capture_output=True, check=False).returncode != 0
        with loop(cut) as device:
            burst("restore", "--device", device, archive)
    image.check(data=complete)
    with image.mounted("ro") as root:
        assert_same(wanted, listing(root))
    cut.unlink()
    return complete


@pytest.mark.parametrize("name", ["kinds", *(["odd"] if FULL else [])])
def test_between_writes(name: str, made: Archives, listed: Listed, tmp: Path):
    archive = made.archive(name)
    mib = MIB if name == "kinds" else 2 * MIB
    with Disk(tmp / "count", mib) as disk:
        restore(disk, archive)
        writes = disk.counts()["write"]
    count = 70 if FULL else 4
    # The first writes and the last are the ones that matter most.
    when = {*range(min(4, writes)), *range(max(0, writes - 4), writes), *(n * writes // count for n in range(count))}
    with Disk(tmp / "cut", mib) as disk:
        disk.cut_at(sorted(when), seed=7)
        restore(disk, archive)
        (tmp / "cuts").mkdir()
        cuts = disk.save_cuts(tmp / "cuts")
    # Another run may need fewer writes, as the kernel joins them; then the last are not among these.
    assert len(cuts) >= len(when) // 2
    found = [is_complete(Path(cut["path"]), archive, listed(name)) for cut in cuts]
    print(
        f"{len(found)} cuts, {sum(found)} complete; {sum(cut['lost'] + cut['torn'] for cut in cuts)} writes lost or torn"
    )
    assert not any(found), "the superblock is the last write"


@pytest.mark.parametrize("flush", range(FLUSHES))
def test_before_a_flush(flush: int, made: Archives, listed: Listed, tmp: Path):
    """Also of the writes that only a flush separates from the next ones."""
    archive = made.archive("kinds")
    with Disk(tmp / "disk", MIB) as disk:
        restore(disk, archive, code=1, failing_flush=flush)
        cuts = [tmp / f"cut{n}" for n in range(12 if FULL else 1)]
        for n, cut in enumerate(cuts):
            disk.cut(cut, seed=n)
    found = [is_complete(cut, archive, listed("kinds")) for cut in cuts]
    print(f"{len(found)} cuts before flush {flush + 1}, {sum(found)} complete")
    assert flush == FLUSHES - 1 or not any(found)
