"""An image file that burst made: checked, mounted, used."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from btrfs_volume import run
from burst import Done, burst

MIB, GIB, TIB = 1 << 20, 1 << 30, 1 << 40
SUPERBLOCKS = (64 << 10, 64 << 20, 256 << 30)
MAGIC = b"_BHRfS_M"


class Image:
    def __init__(self, path: Path):
        self.path, self.mountpoint = path, path.with_suffix(".m")

    def make(self, source: object, size: object, *args: object, **kw) -> Done:
        return burst("image", source, self.path, "--size", size, *args, **kw)

    def check(self, data: bool = True) -> None:
        """Both checkers that btrfs-progs has, and every checksum of data."""
        for mode in ("original", "lowmem"):
            sums = ["--check-data-csum"] if data and mode == "original" else []
            text = run("btrfs", "check", "--readonly", f"--mode={mode}", *sums, self.path)
            assert "no error found" in text, text
            for word in ("ERROR", "WARNING", "mismatch", "errors "):
                assert word not in text, text

    @contextmanager
    def mounted(self, options: str = "") -> Iterator[Path]:
        self.mountpoint.mkdir(exist_ok=True)
        run("mount", "-t", "btrfs", "-o", ",".join(filter(None, ("loop", options))), self.path, self.mountpoint)
        try:
            yield self.mountpoint
        finally:
            run("umount", self.mountpoint)


def superblocks(path: Path | str) -> list[int]:
    """Where there is a superblock."""
    found = []
    with open(path, "rb") as f:
        size = f.seek(0, os.SEEK_END)
        for at in SUPERBLOCKS:
            if at + 4096 <= size:
                f.seek(at + 64)
                if f.read(8) == MAGIC:
                    found.append(at)
    return found


def edit(root: Path) -> None:
    """What people do with files: copy, remove, append, cut, punch holes, overwrite, rename, link."""
    # Not by rglob: Debian 12's Python ends it with an error at a symbolic link whose target no name can be (gh-87695).
    everything = (Path(at, name) for at, _, names in os.walk(root) for name in names)
    files = sorted(p for p in everything if not p.is_symlink() and p.is_file())
    for n, path in enumerate(files):
        size = path.stat().st_size
        if size > 50 * MIB:
            continue
        match n % 7:
            case 0:
                shutil.copy2(path, path.with_name(f"{n}.copy"))
            case 1:
                path.unlink()
            case 2:
                with open(path, "ab") as f:
                    f.write(b"appended" * 700)
            case 3:
                os.truncate(path, size // 2)
            case 4 if size > 10_000:
                with open(path, "r+b") as f:
                    f.seek(size // 3)
                    f.write(b"overwritten" * 100)
            case 5 if size > 10_000:
                run("fallocate", "-p", "-o", size // 4, "-l", size // 3, path)
            case 6:
                path.rename(path.with_name(f"{n}.renamed"))
    (root / "new").mkdir()
    for n in range(200):
        (root / "new" / f"{n}").write_bytes(b"%d" % n * n)
    run("btrfs", "subvolume", "snapshot", root, root / "snapshot")
