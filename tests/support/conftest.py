"""The fixtures of the system tests."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "system"), str(HERE.parents[1] / "spec" / "reference")]

from fixtures import tmp, work  # noqa: E402, F401
