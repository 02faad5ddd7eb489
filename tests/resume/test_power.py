"""Power cuts: the disk is a file on another BTRFS, and a cut is one clone of that file (FICLONE) while a restore runs. What
is in the clone is what a disk would hold: it is mounted, asked, and the same command run there."""

import fcntl
import os
import random
import threading
from collections import Counter
from pathlib import Path

from btrfs_volume import Volume, run
from conftest import FULL, SEED
from scene import PATIENCE, Scene

FICLONE = 0x40049409
CUTS = 60 if FULL else 5
CUTS_OF_ONE_RUN = 5


def cut(disk: Path, copy: Path) -> None:
    with open(disk, "rb") as old, open(copy, "wb") as new:
        fcntl.ioctl(new, FICLONE, old.fileno())


def cuts_while_restoring(scene: Scene, disk: Volume, rng: random.Random, base: Path) -> list[Path]:
    """One restore to its end, and the clones that were made meanwhile."""
    cuts: list[Path] = []

    def take() -> None:
        cuts.append(base / f"cut{len(cuts)}")
        cut(disk.image, cuts[-1])

    due = sorted(rng.randrange(1, len(scene.archives["big"])) for _ in range(CUTS_OF_ONE_RUN - 1))
    reached = threading.Event()

    def next_one() -> None:
        take()
        if due:
            scene.server.at = (due.pop(0), lambda: threading.Thread(target=next_one).start())
        else:
            reached.set()

    with scene.server.lock:
        scene.server.sent, scene.server.at = 0, (due.pop(0), lambda: threading.Thread(target=next_one).start())
    process = scene.start(disk.path / "t")
    while process.poll() is None and not reached.wait(0.01):
        pass
    # The end, which makes no requests.
    if process.poll() is None:
        take()
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    scene.server.at = None
    return cuts


def test_power_cuts(scene: Scene, work: Path):
    rng = random.Random(f"{SEED} power")
    scene.server.serves(scene.archives["big"])
    outer = Volume(work / "outer", gib=40)
    ends: Counter[str] = Counter()
    skipped = scene.skipped
    try:
        while ends.total() < CUTS:
            base = outer.path / f"run{ends.total()}"
            disk = Volume(base, gib=2)
            cuts = cuts_while_restoring(scene, disk, rng, base)
            disk.unmount()
            for image in cuts:
                try_cut(scene, disk, image, ends)
            run("rm", "-rf", base)
        print(f"{dict(ends)}; {scene.skipped - skipped} parts were not fetched again")
        # On a slow disk a few runs may come to no checkpoint.
        assert scene.skipped > skipped or not FULL, "no run found anything of the one before"
    finally:
        outer.close()


def try_cut(scene: Scene, disk: Volume, image: Path, ends: Counter[str]) -> None:
    # The kernel remembers the newest file system of this UUID, and would refuse one that is older.
    run("btrfs", "device", "scan", "--forget")
    os.replace(image, disk.image)
    disk.mount()
    try:
        ends[scene.goes_on(disk.path / "t", "big")] += 1
    finally:
        disk.unmount()
