"""The fixtures of this directory."""

import random
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "ec2"), str(TESTS / "system"), str(TESTS.parent / "spec" / "reference")]

import pytest  # noqa: E402
from burst import snapshot  # noqa: E402
from fixtures import tmp, volume, work  # noqa: E402, F401


@pytest.fixture(scope="session")
def archive(work: Path) -> Path:  # noqa: F811
    """A few files that cannot be compressed."""
    tree, path = work / "tree", work / "tree.zip"
    tree.mkdir()
    for n in range(20):
        (tree / f"file{n}").write_bytes(random.Random(n).randbytes(500_000))
    snapshot(tree, path)
    return path
