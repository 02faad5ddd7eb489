"""Puts content into a new directory. Every entry is first a plain file or directory; links and nodes come last,
so that no path ever leads through a link of the archive."""

import contextlib
import errno
import os
import stat
import sys
import zlib

from burst_archive import ROOT, Archive, Entry, hard_link_path
from burst_frames import need


class Check:
    """A sink that keeps nothing but which entries have a NUL, as no link may: for complete tests."""

    def __init__(self) -> None:
        self.with_nul: set[int] = set()

    def begin(self, e: Entry) -> None: ...

    def content(self, e: Entry, offset: int, data: bytes) -> None:
        if e.method == 0 and b"\0" in data:
            self.with_nul.add(e.ordinal)

    def finish(self, archive: Archive) -> None:
        for e in archive.entries:
            need(e.kind != "symlink" or e.ordinal not in self.with_nul, "method", f"NUL in the target of {e.name!r}")


class Extractor:
    def __init__(self, root: bytes):
        os.makedirs(root, exist_ok=True)
        if os.listdir(root):
            raise FileExistsError(errno.ENOTEMPTY, "the directory to extract into is not empty", root)
        self.root, self.open = root, (b"", -1)

    def path(self, e: Entry) -> bytes:
        return os.path.join(self.root, e.path) if e.path else self.root

    def begin(self, e: Entry) -> None:
        need(max(map(len, e.path.split(b"/"))) <= 255, "names", f"a component of {e.name!r} is over 255 bytes")
        if e.name == ROOT:
            return
        if e.name.endswith(b"/"):
            os.mkdir(self.path(e), 0o700)
        else:
            os.close(os.open(self.path(e), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))

    def content(self, e: Entry, offset: int, data: bytes) -> None:
        if self.open[0] != e.path:
            self._close()
            self.open = (e.path, os.open(self.path(e), os.O_WRONLY | os.O_NOFOLLOW))
        while data:
            n = os.pwrite(self.open[1], data, offset)
            data, offset = data[n:], offset + n

    def _close(self) -> None:
        if self.open[1] >= 0:
            os.close(self.open[1])
        self.open = (b"", -1)

    def finish(self, archive: Archive, check_crc: bool) -> None:
        """Sizes, links, nodes, attributes; check_crc: the walk could not compute CRC-32, read the files again."""
        self._close()
        for e in archive.entries:
            if e.kind == "file":
                os.truncate(self.path(e), e.usize)
                need(not check_crc or file_crc32(self.path(e)) == e.crc32, "directory", f"CRC-32 of {e.name!r}")
        for e in archive.entries:
            if e.kind not in ("file", "dir"):
                self._special(e, archive)
        for e in reversed(archive.entries):  # directories last, deepest first: their times stay
            if e.kind != "hardlink" and e.name != ROOT:
                set_attributes(self.path(e), e)
        if archive.root:
            set_attributes(self.root, archive.root)

    def _special(self, e: Entry, archive: Archive) -> None:
        path = self.path(e)
        with open(path, "rb") as f:
            data = f.read()
        os.unlink(path)
        if e.kind == "hardlink":
            to = archive.entries[e.target]
            need(data == hard_link_path(e.path, to.path), "hard-links", f"data of {e.name!r}")
            os.link(self.path(to), path, follow_symlinks=False)
        elif e.kind == "symlink":
            need(b"\0" not in data, "method", f"NUL in the target of {e.name!r}")
            os.symlink(data, path)
        else:
            try:
                os.mknod(path, stat.S_IFMT(e.mode) | 0o600, os.makedev(*e.device) if e.device else 0)
            except PermissionError as why:
                print(f"warning: {e.name!r}: {why}", file=sys.stderr)


def file_crc32(path: bytes) -> int:
    crc = 0
    with open(path, "rb") as f:
        while block := f.read(1 << 20):
            crc = zlib.crc32(block, crc)
    return crc


def set_attributes(path: bytes, e: Entry) -> None:
    """Owner first (it clears set-id bits and capabilities), then mode, attributes, times."""
    if not os.path.lexists(path):
        return  # a node that this user may not make
    link = stat.S_ISLNK(e.mode)
    if os.geteuid() == 0:
        os.chown(path, e.uid, e.gid, follow_symlinks=False)
    if not link:
        os.chmod(path, stat.S_IMODE(e.mode))
    if os.geteuid() == 0:
        for name, value in e.xattrs.items():
            try:
                os.setxattr(path, name, value, follow_symlinks=False)
            except OSError as why:
                print(f"warning: {path!r}: {name!r}: {why}", file=sys.stderr)
    with contextlib.suppress(OverflowError):
        when = e.mtime * 1_000_000_000 + e.ns
        os.utime(path, ns=(when, when), follow_symlinks=False)
