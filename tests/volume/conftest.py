"""The fixtures of this directory."""

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "volume"), str(TESTS / "system")]

from disks import loop, machine  # noqa: E402, F401
from fixtures import listed, made, s3s, source, tmp, volume, work  # noqa: E402, F401
