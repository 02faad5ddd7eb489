#!/usr/bin/env python3
"""What a tree is: everything about it that a restore must bring back. Standard library only.

  listing.py TREE              one JSON object per entry, sorted by path
  listing.py TREE OTHER        what differs; exit code 1 if anything does

Left out on purpose: sizes and link counts of directories (they say how a file system stores them), access and change
times, inode numbers (hard links are groups of paths), `btrfs.*` attributes, and the completion marker on the root.
"""

import errno
import hashlib
import json
import os
import stat
import sys
from collections.abc import Iterator

MARKER = "user.burst.restored"
CHUNK = 1 << 20
Listing = dict[str, dict]

KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink", stat.S_IFIFO: "fifo",
         stat.S_IFCHR: "char", stat.S_IFBLK: "block", stat.S_IFSOCK: "socket"}


def listing(root: os.PathLike | str, content: bool = True) -> Listing:
    """Path (relative, "." is the root; bytes that are not UTF-8 as surrogates) -> facts. content: read the files."""
    out: Listing = {}
    inodes: dict[tuple[int, int], list[str]] = {}
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        out["."] = facts(f"/proc/self/fd/{fd}/.", content)
        out["."]["xattrs"].pop(MARKER, None)
        for path, handle in walk(fd, ""):
            st = os.lstat(handle)
            out[path] = facts(handle, content)
            if not stat.S_ISDIR(st.st_mode) and st.st_nlink > 1:
                inodes.setdefault((st.st_dev, st.st_ino), []).append(path)
    finally:
        os.close(fd)
    for group in inodes.values():
        if len(group) > 1:
            for path in group:
                out[path]["links"] = sorted(group)
    return out


def walk(fd: int, prefix: str) -> Iterator[tuple[str, str]]:
    """Every entry below fd: its path, and a short name for it that works however long the path is."""
    for name in sorted(os.listdir(fd)):
        handle = f"/proc/self/fd/{fd}/{name}"
        yield prefix + name, handle
        if stat.S_ISDIR(os.lstat(handle).st_mode):
            below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
            try:
                yield from walk(below, prefix + name + "/")
            finally:
                os.close(below)


def facts(path: str, content: bool) -> dict:
    st = os.lstat(path)
    kind = KINDS[stat.S_IFMT(st.st_mode)]
    out: dict = {"type": kind, "mode": f"{stat.S_IMODE(st.st_mode):04o}", "uid": st.st_uid, "gid": st.st_gid,
                 "mtime_ns": st.st_mtime_ns, "xattrs": xattrs(path)}
    if kind == "file":
        out["size"] = st.st_size
        if content:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                out["holes"], out["sha256"] = read(fd, st.st_size)
            finally:
                os.close(fd)
    elif kind == "symlink":
        out["target"] = os.readlink(path)
    elif kind in ("char", "block"):
        out["device"] = [os.major(st.st_rdev), os.minor(st.st_rdev)]
    return out


def xattrs(path: str) -> dict[str, str]:
    """ACLs and file capabilities are among them, in the kernel's form."""
    out = {}
    for name in sorted(os.listxattr(path, follow_symlinks=False)):
        if not name.startswith("btrfs."):
            out[name] = os.getxattr(path, name, follow_symlinks=False).hex()
    return out


def read(fd: int, size: int) -> tuple[list[list[int]], str]:
    """Holes as [from, to), and SHA-256 of size, holes' places and data: of huge holes no byte is read."""
    holes, digest, at = [], hashlib.sha256(), 0
    while at < size:
        try:
            data = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            data = size
        if data > at:
            holes.append([at, min(data, size)])
            at = data
        if at < size:
            end = min(os.lseek(fd, at, os.SEEK_HOLE), size)
            while at < end:
                block = os.pread(fd, min(CHUNK, end - at), at)
                if not block:
                    raise OSError(f"the file ends at {at}, not {size}")
                digest.update(block)
                at += len(block)
    return holes, digest.hexdigest()


def differences(a: Listing, b: Listing, ignore: tuple[str, ...] = ()) -> list[str]:
    """One line for each difference: what a has and what b has. ignore: names of facts."""
    out = []
    for path in sorted(a.keys() | b.keys()):
        shown = ascii(path)
        if path not in b:
            out.append(f"{shown}: missing in the second ({a[path]['type']})")
        elif path not in a:
            out.append(f"{shown}: only in the second ({b[path]['type']})")
        else:
            for fact in sorted(a[path].keys() | b[path].keys()):
                one, other = a[path].get(fact), b[path].get(fact)
                if one != other and fact not in ignore:
                    out.append(f"{shown}: {fact}: {short(one)} -> {short(other)}")
    return out


def short(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 200 else f"{text[:150]}... ({len(text)} characters)"


def assert_same(a: Listing, b: Listing, ignore: tuple[str, ...] = ()) -> None:
    found = differences(a, b, ignore)
    shown = "\n".join(found[:40])
    assert not found, f"{len(found)} differences:\n{shown}"


def below(whole: Listing, prefix: str) -> Listing:
    """What lies at and below a path; paths stay relative to the root."""
    return {p: f for p, f in whole.items() if p == prefix or p.startswith(prefix + "/")}


def main() -> int:
    if len(sys.argv) == 3:
        found = differences(listing(sys.argv[1]), listing(sys.argv[2]))
        print("\n".join(found) or "no difference")
        return 1 if found else 0
    for path, what in sorted(listing(sys.argv[1]).items()):
        print(json.dumps({"path": path, **what}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
