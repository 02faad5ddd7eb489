"""The fixtures of the system tests."""

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [
    str(TESTS / "image"),
    str(TESTS / "support"),
    str(TESTS / "system"),
    str(TESTS / "format"),
    str(TESTS.parent / "spec" / "reference"),
]

import pytest  # noqa: E402
from fixtures import listed, made, moto, s3s, source, target, tmp, volume, work  # noqa: E402, F401


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: more than a few seconds; the fast tier leaves them out")
