"""The fixtures of this directory."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "spec" / "reference")]

from fixtures import listed, made, moto, s3s, source, target, tmp, volume, work  # noqa: E402, F401
