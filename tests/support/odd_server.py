"""A directory as some file systems show theirs: a file system of its own (FUSE) over another directory.
odd_server.py MOUNTPOINT DIRECTORY; ends when it is unmounted.

Names are told twice, as readdir(3) may where they are replaced meanwhile, and an attribute is listed that cannot be read,
as network file systems list what their servers do not give.
"""

import errno
import os
import sys
from collections.abc import Iterator

import mfusepy


class Odd(mfusepy.Operations):
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

    def listxattr(self, path: str) -> list[str]:
        return ["system.nfs4_acl", *os.listxattr(self.at(path))]

    def getxattr(self, path: str, name: str, position: int = 0) -> bytes:
        if name == "system.nfs4_acl":
            raise mfusepy.FuseOSError(errno.EIO)
        try:
            return os.getxattr(self.at(path), name)
        except OSError as e:
            raise mfusepy.FuseOSError(e.errno) from e

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        with open(self.at(path), "rb") as f:
            return os.pread(f.fileno(), size, offset)


if __name__ == "__main__":
    mountpoint, directory = sys.argv[1:]
    mfusepy.FUSE(Odd(directory), mountpoint, foreground=True, nothreads=True, fsname="burst-test-odd")
