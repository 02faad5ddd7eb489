"""The packages of the program that is built."""

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def build(to: Path, *kinds: str, **environment: str) -> dict[str, Path]:
    """Makes packages (both, or of these kinds) and keeps them apart from the next ones."""
    to.mkdir()
    # Several suites make them in one directory, at the same time.
    with open(ROOT / "target/package.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        command = [ROOT / "cloud-init/package/build", *kinds]
        done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        made = [Path(line) for line in done.stdout.splitlines()]
        return {path.suffix[1:]: Path(shutil.copy(path, to)) for path in made}
