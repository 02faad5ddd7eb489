"""The fixtures of the system tests, for archives that mean harm."""

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [
    str(TESTS / "hostile"),
    str(TESTS / "image"),
    str(TESTS / "system"),
    str(TESTS / "format"),
    str(TESTS.parent / "spec" / "reference"),
]

from fixtures import made, moto, s3s, source, target, tmp, volume, work  # noqa: E402, F401
