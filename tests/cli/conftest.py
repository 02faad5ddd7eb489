"""The fixtures of the system tests, and a small archive of several parts."""

import random
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "cli"), str(TESTS / "system"), str(TESTS / "volume"), str(TESTS / "boot")]

import pytest  # noqa: E402
from burst import snapshot  # noqa: E402
from disks import loop, machine  # noqa: E402, F401
from fixtures import s3s, tmp, work  # noqa: E402, F401


@pytest.fixture(scope="session")
def archive(work: Path) -> Path:  # noqa: F811
    """40 MB that do not compress, in files small and large."""
    tree, noise = work / "tree", random.Random(1)
    for n in range(20):
        (tree / f"d{n}").mkdir(parents=True)
        for m in range(20):
            (tree / f"d{n}" / f"f{m}").write_bytes(noise.randbytes(20_000))
    (tree / "large").write_bytes(noise.randbytes(32 << 20))
    snapshot(tree, work / "a.zip")
    return work / "a.zip"
