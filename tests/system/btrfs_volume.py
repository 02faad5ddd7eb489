"""File systems in loop files, mounted in this process' own mount namespace, so that they never outlive it."""

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

CLONE_NEWNS, MS_REC, MS_SLAVE, MNT_DETACH = 0x00020000, 0x4000, 0x80000, 2
libc = ctypes.CDLL(None, use_errno=True)


def private_mounts() -> None:
    """What is mounted from now on, only this process and its children see, and it ends with them."""
    assert os.geteuid() == 0, "these tests mount file systems: run them as root"
    assert libc.unshare(CLONE_NEWNS) == 0, os.strerror(ctypes.get_errno())
    assert libc.mount(None, b"/", None, MS_REC | MS_SLAVE, None) == 0, os.strerror(ctypes.get_errno())


def run(*command: object) -> str:
    program = shutil.which(str(command[0]))
    assert program, f"{command[0]} is not installed"
    done = subprocess.run([program, *map(str, command[1:])], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=False)
    assert done.returncode == 0, f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stdout}"
    return done.stdout


class Volume:
    """A new file system of `gib` GiB (a sparse file), mounted at `.path`."""

    def __init__(self, base: Path, gib: int = 4, kind: str = "btrfs", options: str = ""):
        base.mkdir(parents=True, exist_ok=True)
        self.image, self.path, self.kind = base / "image", base / "m", kind
        with open(self.image, "wb") as f:
            f.truncate(gib << 30)
        # ea_inode: ext4 then takes attributes larger than a block.
        extra = ("-O", "ea_inode") if kind == "ext4" else ()
        run(f"mkfs.{kind}", "-q", *extra, self.image)
        self.path.mkdir()
        self.mount(options)

    def mount(self, options: str = "") -> None:
        # The loop device that "-o loop" makes detaches itself at the last unmount.
        run("mount", "-t", self.kind, "-o", ",".join(filter(None, ("loop", options))), self.image, self.path)

    def unmount(self) -> None:
        run("umount", self.path)

    def remount(self, options: str = "") -> None:
        self.unmount()
        self.mount(options)

    def scrub(self) -> None:
        """Reads every block and compares its checksum."""
        text = run("btrfs", "scrub", "start", "-B", self.path)
        assert "no errors found" in text, text

    def check(self) -> None:
        """The structure, while it is not mounted."""
        run("sync", "-f", self.path)
        self.unmount()
        text = run("btrfs", "check", "--readonly", self.image)
        assert "no error found" in text, text

    def close(self) -> None:
        libc.umount2(os.fsencode(self.path), MNT_DETACH)
        self.image.unlink(missing_ok=True)
