"""Whatever an archive says: no file system, or a clean one that holds what the archive holds."""

import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from btrfs_volume import Volume
from burst import burst
from listing import assert_same, listing
from made_image import Image

VECTORS = Path(__file__).resolve().parents[2] / "spec" / "vectors"
MANIFEST = json.loads((VECTORS / "manifest.json").read_text())


def test_refused(tmp: Path):
    """Every archive that must be refused is, with the same exit code, and nothing is left."""
    image = Image(tmp / "image")
    assert len(MANIFEST["refuse"]) >= 100
    for row in MANIFEST["refuse"]:
        if row["found"] == "content":
            continue  # Only `verify --content` finds these; see test_wrong_content.
        done = image.make(VECTORS / row["file"], "128M", code=row["exit_code"])
        assert len(done.err.splitlines()) == 1, row["file"]
        assert not image.path.exists(), row["file"]


def test_wrong_content(tmp: Path):
    """Content that does not have the CRC-32 it should is a clean file system all the same."""
    rows = [row for row in MANIFEST["refuse"] if row["found"] == "content"]
    assert rows
    for row in rows:
        image = Image(tmp / "image")
        done = image.make(VECTORS / row["file"], "128M", "--force", code=None)
        assert done.code in (0, 13), row["file"]
        if done.code == 0:
            image.check()


def test_flipped_bits(tmp: Path):
    """Of an archive with everything in it: refused, or a clean file system. BURST_FULL=1 flips more."""
    rng = random.Random(3)
    names = [row["file"] for row in MANIFEST["valid"] if (VECTORS / row["file"]).stat().st_size < 100_000]
    image = Image(tmp / "image")
    made = 0
    for n in range(2000 if os.environ.get("BURST_FULL") else 60):
        archive = bytearray((VECTORS / names[n % len(names)]).read_bytes())
        for _ in range(rng.choice((1, 1, 2, 8))):
            archive[rng.randrange(len(archive))] ^= 1 << rng.randrange(8)
        (tmp / "archive").write_bytes(archive)
        done = image.make(tmp / "archive", "128M", "--force", code=None)
        assert done.code in (0, 13, 14, 17), done.err
        assert (done.code == 0) == image.path.exists()
        if done.code == 0:
            made += 1
            image.check()
    print(f"{made} file systems made, all clean")


@pytest.mark.parametrize("kind", ["valid", "valid_by_hand"])
def test_valid(kind: str, tmp: Path, volume: Callable[..., Volume]):
    """Every valid archive gives what a restore to a mounted file system gives."""
    reference = volume(gib=16)
    image = Image(tmp / "image")
    for n, row in enumerate(MANIFEST[kind]):
        archive = VECTORS / row["file"]
        target = reference.path / f"{n}"
        code = burst("restore", archive, target, code=None).code
        done = image.make(archive, "256M", "--force", code=code)
        if code:
            assert not image.path.exists() and done.err, row["file"]
            continue
        image.check()
        with image.mounted("ro") as root:
            wanted, found = listing(target), listing(root)
            if not row["root"]:
                # Without attributes of its own, a root is what mkfs.btrfs makes it.
                wanted.pop("."), found.pop(".")
                assert root.stat().st_mode == 0o040755
            assert_same(wanted, found)
