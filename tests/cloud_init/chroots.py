"""Debian with cloud-init and hardly more, made by mmdebstrap once for each recipe and kept in $BURST_TOOLS/chroots."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

# cloud-init 22.4 and 25.1, and the newest that Debian has: 26.2 or later.
SUITES = ("bookworm", "trixie", "forky")
# The last is no dependency of newer systemd, which uses it if it is there.
PACKAGES = "cloud-init,systemd,udev,btrfs-progs,kmod,libseccomp2"
# The package itself is kept too, to be installed again over a changed one.
RECIPE = [
    "mmdebstrap",
    "--mode=root",
    "--variant=essential",
    "--components=main",
    f"--include={PACKAGES}",
    '--aptopt=Acquire::Languages "none"',
    # A mirror may stand still for longer than the week for which the lists of the last one are good.
    '--aptopt=Acquire::Check-Valid-Until "false"',
    *(f"--dpkgopt=path-exclude=/usr/share/{d}/*" for d in ("man", "doc", "locale")),
    # dpkg would use those also later.
    '--customize-hook=rm -f "$1"/etc/dpkg/dpkg.cfg.d/99mmdebstrap',
    '--customize-hook=cd "$1"/var/cache && APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get -q download cloud-init'
    ' && mv cloud-init_*.deb "$1"/var/cache/cloud-init.deb',
]
LIMIT = 1200


def directory(suite: str) -> Path:
    """The tree of a suite, which nobody may change."""
    assert os.geteuid() == 0, "a chroot with its own devices and owners is needed: run these tests as root"
    recipe = hashlib.sha256("\0".join([*RECIPE, suite]).encode()).hexdigest()[:16]
    kept = Path(os.environ.get("BURST_TOOLS", Path(__file__).parents[2] / "target/tools")) / "chroots"
    kept.mkdir(parents=True, exist_ok=True)
    made = kept / f"{suite}-{recipe}"
    with open(kept / f"{suite}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            make(suite, made, kept)
    return made


def make(suite: str, made: Path, kept: Path) -> None:
    assert shutil.which("mmdebstrap"), "mmdebstrap is not installed: run tests/setup"
    with tempfile.TemporaryDirectory(prefix=f"{suite}-", dir=kept) as work:
        root = Path(work) / "root"
        for attempt in (1, 2):
            shutil.rmtree(root, ignore_errors=True)
            command = [*RECIPE, "--format=directory", suite, str(root), *mirror()]
            done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
            if done.returncode == 0:
                break
            # A mirror may be out of step for a moment.
            assert attempt == 1, f"mmdebstrap {suite}: exit code {done.returncode}\n{done.stderr[-4000:]}"
        root.rename(made)


def mirror() -> list[str]:
    """Where this machine itself gets Debian from; nothing if it is not Debian."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Label: Debian", "Identifier: Packages"]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    return sorted(set(found))[:1]
