"""Loop devices as disks, and directories that look like the sysfs and the /dev of an EC2 instance."""

import hashlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from btrfs_volume import MNT_DETACH, libc, run

MIB = 1 << 20
EBS, INSTANCE_STORE = "Amazon Elastic Block Store", "Amazon EC2 NVMe Instance Storage"
OURS = "42555253-54"


class Loop:
    """A blank disk: a loop device over a sparse file."""

    def __init__(self, path: Path, mib: int):
        self.file = path
        self.blank(mib)
        self.device = run("losetup", "--find", "--show", path).strip()

    def blank(self, mib: int) -> None:
        with open(self.file, "wb") as f:
            f.truncate(mib * MIB)

    def erase(self) -> None:
        """As instance store comes back after a stop."""
        subprocess.run(["blkdiscard", "-f", self.device], check=True, capture_output=True)

    def write(self, place: int, data: bytes) -> None:
        with open(self.device, "r+b", buffering=0) as f:
            f.seek(place)
            f.write(data)
            os.fsync(f.fileno())

    def digest(self) -> str:
        """Of every byte; blocks of zeros count as nothing, be they holes or not."""
        with open(self.device, "rb") as f:
            os.fsync(f.fileno())
        found = hashlib.sha256()
        with open(self.file, "rb", buffering=0) as f:
            size, at, step = f.seek(0, os.SEEK_END), 0, MIB
            while at < size:
                try:
                    at = os.lseek(f.fileno(), at, os.SEEK_DATA) // step * step
                except OSError:
                    break
                piece = os.pread(f.fileno(), step, at)
                if piece.strip(b"\0"):
                    found.update(b"%d:" % at + piece)
                at += step
        return found.hexdigest()

    def probe(self) -> dict[str, str]:
        command = ["blkid", "-p", "-o", "export", self.device]
        text = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        return dict(line.split("=", 1) for line in text.splitlines())

    def close(self) -> None:
        run("losetup", "--detach", self.device)


class Machine:
    """What the kernel and udev would show of some disks. The device nodes are links to loop devices."""

    def __init__(self, base: Path):
        self.sys, self.dev = base / "sys", base / "dev"
        (self.sys / "block").mkdir(parents=True)
        (self.dev / "disk/by-id").mkdir(parents=True)
        self.flags = ("--sysfs", self.sys, "--devices", self.dev)

    def add(self, name: str, loop: Loop, model: str = "", serial: str = "", **kw: object) -> None:
        """A disk. It appears at once, as a whole."""
        (self.dev / name).symlink_to(loop.device)
        if serial:
            # udev makes both: the second also has the number of the namespace.
            link = "nvme-" + f"{model}_{serial}".replace(" ", "_")
            for more in () if kw.get("hidden") else ("", "_1"):
                (self.dev / "disk/by-id" / (link + more)).symlink_to(f"../../{name}")
        if ec2_name := kw.get("ec2_name"):
            (self.dev / str(ec2_name)).symlink_to(name)
        new = self.sys / name
        # Numbers of hardware are padded with spaces.
        self.files(
            new,
            {
                "size": f"{loop.file.stat().st_size // 512}\n",
                "device/model": f"{model:<40}\n",
                # virtio has it elsewhere.
                "device/serial" if model else "serial": f"{serial:<20}\n",
                "queue/discard_max_bytes": f"{kw.get('discard', 0)}\n",
                "hidden": f"{kw.get('hidden', 0)}\n",
            },
        )
        (new / "holders").mkdir()
        new.rename(self.sys / "block" / name)

    def add_virtual(self, name: str) -> None:
        """A loop device or the like: no hardware."""
        self.files(self.sys / "block" / name, {"size": "8192\n"})

    @staticmethod
    def files(base: Path, texts: dict[str, str]) -> None:
        for name, text in texts.items():
            (base / name).parent.mkdir(parents=True, exist_ok=True)
            (base / name).write_text(text)


def mounts() -> list[list[str]]:
    return [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]


def mount_of(at: Path) -> list[str] | None:
    """Source, path, kind and options of what is mounted there."""
    found = [m for m in mounts() if m[1] == str(at)]
    assert len(found) <= 1, f"mounted more than once: {found}"
    return found[0] if found else None


def unmount_below(base: Path) -> None:
    for mount in reversed(mounts()):
        if mount[1].startswith(f"{base}/"):
            libc.umount2(os.fsencode(mount[1]), MNT_DETACH)


@pytest.fixture
def loop(tmp: Path) -> Iterator[Callable[..., Loop]]:
    """Makes blank disks; what is mounted in `tmp` and the disks end with the test."""
    loops: list[Loop] = []

    def make(mib: int = 320) -> Loop:
        loops.append(Loop(tmp / f"disk{len(loops)}", mib))
        return loops[-1]

    yield make
    unmount_below(tmp)
    for each in loops:
        each.close()


@pytest.fixture
def machine(tmp: Path) -> Machine:
    return Machine(tmp / "machine")
