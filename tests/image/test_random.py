"""Random trees, many in one file system. BURST_TEST_RANDOM_TREES sets how many trees there are in all."""

import os
import shutil
from pathlib import Path

import pytest
from btrfs_volume import Volume, run
from burst import burst, snapshot
from listing import assert_same, listing
from made_image import Image, edit
from random_trees import random_tree

TREES = int(os.environ.get("BURST_TEST_RANDOM_TREES", "300"))
PER_IMAGE = 60 if TREES <= 1000 else 200


@pytest.mark.parametrize("first", range(0, TREES, PER_IMAGE))
def test_random(first: int, source: Volume, tmp: Path):
    """Clean, the same, and still clean after it was used, balanced and scrubbed."""
    root = source.path / f"random-{first}"
    root.mkdir()
    try:
        for seed in range(first, min(first + PER_IMAGE, TREES)):
            random_tree(root / f"{seed}", seed)
        snapshot(root, tmp / "archive")
        wanted = listing(root)
    finally:
        shutil.rmtree(root)
    image = Image(tmp / "image")
    profile = ("dup", "single")[first // PER_IMAGE % 2]
    image.make(tmp / "archive", "3G", "--metadata", profile)
    image.check()
    with image.mounted() as made:
        assert_same(wanted, listing(made))
        edit(made)
        before = listing(made)
        run("btrfs", "balance", "start", "--full-balance", made)
        run("btrfs", "scrub", "start", "-B", made)
    image.check()
    with image.mounted("ro") as made:
        assert_same(before, listing(made))
    burst("verify", "--content", tmp / "archive")
