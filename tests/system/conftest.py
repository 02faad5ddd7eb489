"""The fixtures of this directory."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "spec" / "reference")]

import pytest  # noqa: E402
from fixtures import listed, made, moto, s3s, source, target, tmp, volume, work  # noqa: E402, F401


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: more than a few seconds; the fast tier leaves them out")
