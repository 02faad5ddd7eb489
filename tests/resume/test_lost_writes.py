"""Power cuts of a disk that has a cache: of what was written since its last flush, some is lost and some torn. What is left
is mounted, asked, and the same command run there."""

import random
from collections import Counter
from pathlib import Path

from btrfs_volume import run
from conftest import FULL, SEED
from disk import Disk
from scene import PATIENCE, Scene

CUTS = 24 if FULL else 4
CUTS_OF_ONE_RUN = 4


def writes_of_a_restore(scene: Scene, base: Path) -> int:
    """How many calls one of them makes to write to its disk."""
    with Disk(base) as disk:
        disk.format()
        disk.mount()
        before = disk.counts()["write"]
        scene.restore(disk.path / "t")
        return disk.counts()["write"] - before


def test_lost_writes(scene: Scene, work: Path):
    rng = random.Random(f"{SEED} lost writes")
    scene.server.serves(scene.archives["big"])
    writes = writes_of_a_restore(scene, work / "measured")
    ends, fates = Counter(), Counter()
    skipped = scene.skipped
    while ends.total() < CUTS:
        with Disk(work / f"cut{ends.total()}") as disk:
            disk.format()
            disk.mount()
            disk.cut_at([rng.randrange(1, writes) for _ in range(CUTS_OF_ONE_RUN)], rng.random())
            process = scene.start(disk.path / "t")
            _, err = process.communicate(timeout=PATIENCE)
            assert process.returncode == 0, err
            disk.unmount()
            cuts = disk.save_cuts(disk.base)
            assert cuts, "the run made fewer writes than any before"
            for cut in cuts:
                fates.update({each: cut[each] for each in ("kept", "lost", "torn")})
                try_cut(scene, Path(cut["path"]), disk.path, ends)
    print(f"{writes} writes; {dict(ends)}; {dict(fates)}; {scene.skipped - skipped} parts were not fetched again")
    assert fates["lost"] and fates["torn"], fates


def try_cut(scene: Scene, image: Path, path: Path, ends: Counter[str]) -> None:
    # The kernel remembers the newest file system of this UUID, and would refuse one that is older.
    run("btrfs", "device", "scan", "--forget")
    run("mount", "-t", "btrfs", "-o", "loop", image, path)
    try:
        ends[scene.goes_on(path / "t", "big")] += 1
    finally:
        run("umount", path)
        image.unlink()
