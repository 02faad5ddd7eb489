"""A volume on a disk that can lose writes and fail (disk_server.py)."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from btrfs_volume import MNT_DETACH, libc, run

SERVER = Path(__file__).parent / "disk_server.py"
PATIENCE = 60
# In one call: the loop driver takes a call that succeeded in part for one that succeeded.
LARGEST_CALL_KIB = 128


class Disk:
    """`.image`: a file of `mib` MiB, in memory, for a loop device; `.path`: where its file system is mounted."""

    def __init__(self, base: Path, mib: int = 1024):
        base.mkdir(parents=True)
        self.base, self.path, self.size = base, base / "m", mib << 20
        mountpoint = base / "fuse"
        self.image = mountpoint / "disk"
        mountpoint.mkdir()
        self.path.mkdir()
        self.log = open(base / "log", "wb")
        self.server = subprocess.Popen(
            [sys.executable, SERVER, mountpoint, self.path, str(self.size)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True,
        )  # fmt: skip
        self.answer()

    def answer(self) -> dict[str, Any]:
        line = self.server.stdout.readline()
        assert line, f"the disk is gone: {(self.base / 'log').read_text()}"
        answer = json.loads(line)
        assert "error" not in answer, answer
        return answer

    def order(self, do: str, **what: Any) -> dict[str, Any]:
        self.server.stdin.write(json.dumps({"do": do, **what}) + "\n")
        self.server.stdin.flush()
        return self.answer()

    def format(self, *options: str) -> None:
        run("mkfs.btrfs", "-q", *options, self.image)

    def mount(self, options: str = "") -> None:
        # After errors the kernel may remember a newer file system of this UUID than the disk holds, and refuse it.
        run("btrfs", "device", "scan", "--forget")
        run("mount", "-t", "btrfs", "-o", ",".join(filter(None, ("loop", options))), self.image, self.path)
        queue = Path("/sys/class/block") / Path(self.device()).name / "queue"
        (queue / "max_sectors_kb").write_text(str(LARGEST_CALL_KIB))

    def device(self) -> str:
        return run("findmnt", "-n", "-o", "SOURCE", "--mountpoint", self.path).strip()

    def unmount(self) -> None:
        run("umount", self.path)

    def counts(self) -> dict[str, int]:
        """Calls so far: read, write, flush, failed; unflushed: writes since the last flush."""
        return self.order("counts")

    def fail(
        self,
        call: str,
        after: int = 0,
        times: int | None = None,
        start: int = 0,
        end: int | None = None,
        error: str = "EIO",
    ) -> None:
        """From now on `times` calls (None: all) of "read", "write" or "flush" that touch [start, end) fail, but for the
        first `after`."""
        self.order("fail", call=call, after=after, times=times, start=start, end=end, error=error)

    def heal(self) -> None:
        self.order("heal")

    def cut(self, path: Path, seed: object) -> dict[str, int]:
        """Writes to `path` what the disk would hold if power failed now: of the writes since the last flush some are
        lost and some torn. How many: kept, lost, torn. The disk itself goes on."""
        return self.order("cut", path=str(path), seed=str(seed))

    def cut_at(self, writes: list[int], seed: object) -> None:
        """The same before each of these writes, counted from now; saved by `save_cuts`."""
        self.order("cut at", writes=writes, seed=str(seed))

    def save_cuts(self, directory: Path) -> list[dict[str, Any]]:
        """Those of them that were reached: path, kept, lost, torn."""
        return self.order("save", path=str(directory / "cut"))["cuts"]

    def close(self) -> None:
        """Unmounts what is mounted and ends the server, whatever has failed before."""
        if self.server.poll() is None:
            try:
                self.heal()
            except (OSError, AssertionError):
                pass
            libc.umount2(os.fsencode(self.path), MNT_DETACH)
        self.server.stdin.close()
        try:
            # At the end of its input it unmounts itself; the loop device lets go of its file first.
            self.server.wait(PATIENCE)
        finally:
            self.server.kill()
            self.server.wait()
            self.server.stdout.close()
            self.log.close()

    def __enter__(self) -> "Disk":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
