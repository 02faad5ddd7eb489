"""A disk that loses and fails what is written to it: one file in a file system of its own (FUSE), for a loop device.

Run by disk.py as a process of its own: disk_server.py MOUNTPOINT VOLUME BYTES, where VOLUME is the place at which the file
system on the disk will be mounted. Orders come as JSON, one a line, on standard
input, answers go to standard output; at the end of the input the disk goes away. The content is in memory: a server that
wrote to a disk could wait for the kernel, which waits for the server.
"""

import errno
import json
import mmap
import os
import random
import stat
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from typing import Any

import mfusepy

NAME = "disk"
# What a disk writes as a whole or not at all, whatever happens.
ATOM = 4096
# Granularity in which it is remembered where anything was written.
EXTENT = 65536


@dataclass
class Fault:
    """Which calls fail: of `times`, those that touch [start, end), but for the first `after`."""

    call: str
    after: int
    times: int
    start: int
    end: int
    number: int

    def strikes(self, call: str, offset: int, length: int) -> bool:
        if call != self.call or self.times == 0 or offset >= self.end or offset + length <= self.start:
            return False
        if self.after:
            self.after -= 1
            return False
        self.times -= 1
        return True


@dataclass
class Cut:
    """What the disk holds after a loss of power: extents by number, and what became of the writes since the last flush."""

    extents: dict[int, bytearray]
    kept: int = 0
    lost: int = 0
    torn: int = 0


@dataclass
class Unflushed:
    offset: int
    old: bytes
    new: bytes


@dataclass
class Disk:
    size: int
    lock: threading.Lock = field(default_factory=threading.Lock)
    unflushed: list[Unflushed] = field(default_factory=list)
    touched: set[int] = field(default_factory=set)
    faults: list[Fault] = field(default_factory=list)
    # Numbers of writes at which power is cut, and what that left.
    due: list[int] = field(default_factory=list)
    cuts: list[Cut] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("read", "write", "flush", "failed"), 0))
    rng: random.Random = field(default_factory=random.Random)

    def __post_init__(self) -> None:
        self.content = mmap.mmap(-1, self.size)

    def count(self, call: str, offset: int, length: int) -> None:
        self.counts[call] += 1
        for fault in self.faults:
            if fault.strikes(call, offset, length):
                self.counts["failed"] += 1
                raise mfusepy.FuseOSError(fault.number)

    def read(self, offset: int, length: int) -> bytes:
        with self.lock:
            self.count("read", offset, length)
            return self.content[offset : offset + length]

    def write(self, offset: int, new: bytes) -> int:
        with self.lock:
            while self.due and self.counts["write"] >= self.due[0]:
                self.due.pop(0)
                self.cuts.append(self.cut())
            self.count("write", offset, len(new))
            end = offset + len(new)
            if end > self.size:
                raise mfusepy.FuseOSError(errno.ENOSPC)
            self.unflushed.append(Unflushed(offset, self.content[offset:end], new))
            self.content[offset:end] = new
            self.touched.update(range(offset // EXTENT, (end - 1) // EXTENT + 1))
            return len(new)

    def flush(self) -> None:
        with self.lock:
            self.count("flush", 0, self.size)
            self.unflushed.clear()

    def cut(self) -> Cut:
        """Of each write since the last flush all is there, nothing, or some of its atoms, in the order they came in."""
        cut = Cut({n: bytearray(self.content[n * EXTENT : (n + 1) * EXTENT]) for n in self.touched})
        for write in reversed(self.unflushed):
            put(cut, write.offset, write.old)
        for write in self.unflushed:
            fate = self.rng.choice(("kept", "lost", "torn"))
            atoms = range(0, len(write.new), ATOM)
            if fate == "torn" and len(atoms) > 1:
                cut.torn += 1
                for at in self.rng.sample(atoms, self.rng.randrange(1, len(atoms))):
                    put(cut, write.offset + at, write.new[at : at + ATOM])
            elif fate == "lost":
                cut.lost += 1
            else:
                cut.kept += 1
                put(cut, write.offset, write.new)
        return cut


def put(cut: Cut, offset: int, data: bytes) -> None:
    at = 0
    while at < len(data):
        number, within = divmod(offset + at, EXTENT)
        length = min(EXTENT - within, len(data) - at)
        cut.extents[number][within : within + length] = data[at : at + length]
        at += length


def save(cut: Cut, size: int, path: str) -> dict[str, int]:
    with open(path, "wb") as f:
        f.truncate(size)
        for number, data in cut.extents.items():
            if any(data):
                f.seek(number * EXTENT)
                f.write(data)
    return {"kept": cut.kept, "lost": cut.lost, "torn": cut.torn}


class FileSystem(mfusepy.Operations):
    use_ns = True

    def __init__(self, disk: Disk):
        self.disk = disk

    def init(self, path: str) -> None:
        answer({"ready": True})

    def getattr(self, path: str, fh: Any = None) -> dict[str, int]:
        if path == "/":
            return {"st_mode": stat.S_IFDIR | 0o700, "st_nlink": 2}
        if path == f"/{NAME}":
            return {"st_mode": stat.S_IFREG | 0o600, "st_nlink": 1, "st_size": self.disk.size}
        raise mfusepy.FuseOSError(errno.ENOENT)

    def readdir(self, path: str, fh: int) -> list[str]:
        return [".", "..", NAME]

    def open(self, path: str, fi: Any) -> int:
        # Every call comes to us: nothing is answered from memory of the kernel.
        fi.direct_io = 1
        return 0

    def read(self, path: str, size: int, offset: int, fh: Any) -> bytes:
        return self.disk.read(offset, size)

    def write(self, path: str, data: bytes, offset: int, fh: Any) -> int:
        return self.disk.write(offset, data)

    def fsync(self, path: str, datasync: int, fh: Any) -> int:
        self.disk.flush()
        return 0


def answer(value: dict[str, Any]) -> None:
    print(json.dumps(value), flush=True)


def obey(disk: Disk, order: dict[str, Any]) -> dict[str, Any]:
    match order["do"]:
        case "counts":
            with disk.lock:
                return {**disk.counts, "unflushed": len(disk.unflushed)}
        case "fail":
            number = getattr(errno, order["error"])
            times = -1 if order["times"] is None else order["times"]
            end = disk.size if order["end"] is None else order["end"]
            with disk.lock:
                disk.faults.append(Fault(order["call"], order["after"], times, order["start"], end, number))
        case "heal":
            with disk.lock:
                disk.faults.clear()
        case "cut":
            with disk.lock:
                disk.rng.seed(order["seed"])
                cut = disk.cut()
            return save(cut, disk.size, order["path"])
        case "cut at":
            with disk.lock:
                disk.rng.seed(order["seed"])
                disk.due = sorted(disk.counts["write"] + n for n in order["writes"])
                disk.cuts.clear()
        case "save":
            with disk.lock:
                disk.due.clear()
                cuts, disk.cuts = disk.cuts, []
            paths = [f"{order['path']}{n}" for n in range(len(cuts))]
            return {"cuts": [{"path": p, **save(c, disk.size, p)} for p, c in zip(paths, cuts, strict=True)]}
        case unknown:
            raise ValueError(unknown)
    return {}


def serve_orders(disk: Disk, *mounted: str) -> None:
    for line in sys.stdin:
        try:
            answer(obey(disk, json.loads(line)))
        except (OSError, ValueError, KeyError, AttributeError) as e:
            answer({"error": repr(e)})
    # Who gave the orders is gone, and may have left a file system on this disk. By a process of its own, because
    # unmounting writes to the disk.
    for each in mounted:
        subprocess.run(["umount", "--lazy", "--quiet", each], check=False)


def main() -> None:
    mountpoint, volume, size = sys.argv[1:]
    # What interrupts the tests in a terminal must not take the disk away from them.
    os.setpgid(0, 0)
    disk = Disk(int(size))
    threading.Thread(target=serve_orders, args=(disk, volume, mountpoint), daemon=True).start()
    mfusepy.FUSE(FileSystem(disk), mountpoint, raw_fi=True, foreground=True, nothreads=True, fsname="burst-test-disk")


if __name__ == "__main__":
    main()
