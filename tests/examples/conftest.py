"""The fixtures of the system tests, and the examples, built."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/system"))

import pytest  # noqa: E402
from fixtures import listed, made, s3s, source, target, tmp, volume, work  # noqa: E402, F401

NAMES = ["restore", "snapshot", "list"]


@pytest.fixture(scope="session")
def example() -> Callable[..., bytes]:
    """Runs an example and gives what it printed."""
    flags = [flag for name in NAMES for flag in ("--example", name)]
    subprocess.run(["cargo", "build", "-q", "--locked", *flags], cwd=ROOT, check=True)
    built = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug/examples"

    def run(name: str, *arguments: object, env: dict[str, str] | None = None) -> bytes:
        command = [built / name, *map(str, arguments)]
        # An application may have any umask.
        kw = {"env": os.environ | (env or {}), "umask": 0o077, "timeout": 300}
        done = subprocess.run(command, capture_output=True, check=False, **kw)
        assert done.returncode == 0, f"{name}: exit code {done.returncode}\n{done.stderr.decode()}"
        assert not done.stderr, done.stderr.decode()
        return done.stdout

    return run
