"""A directory whose names are told twice, as readdir(3) may where they are replaced meanwhile: a file system of its own
(FUSE) over another directory. twice_server.py MOUNTPOINT DIRECTORY; ends when it is unmounted."""

import os
import sys
from collections.abc import Iterator

import mfusepy


class Twice(mfusepy.Operations):
    def __init__(self, directory: str):
        self.directory = directory

    def at(self, path: str) -> str:
        return os.path.join(self.directory, path.lstrip("/"))

    def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
        found = os.lstat(self.at(path))
        names = ("st_mode", "st_nlink", "st_size", "st_uid", "st_gid")
        return {name: getattr(found, name) for name in names} | {"st_mtime": int(found.st_mtime)}

    def readdir(self, path: str, fh: int) -> Iterator[str]:
        names = os.listdir(self.at(path))
        yield from (".", "..", *names, *names)

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        with open(self.at(path), "rb") as f:
            return os.pread(f.fileno(), size, offset)


if __name__ == "__main__":
    mountpoint, directory = sys.argv[1:]
    mfusepy.FUSE(Twice(directory), mountpoint, foreground=True, nothreads=True, fsname="burst-test-twice")
