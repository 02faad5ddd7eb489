"""Small files of a subvolume snapshot are read out of its tree and from the devices, not one by one through the kernel's
inodes. The archive must be the same as of the live tree, byte for byte, whatever the file system is like."""

import fcntl
import os
import random
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from btrfs_volume import run
from burst import ARCHIVE_ID, burst, program, snapshot
from extents import BATCH, FIEMAP, HEADER, ROW, SYNC
from listing import assert_same, listing
from trees import noise, odd_tree, prose

EXTENT = 128 << 10


class Disks:
    """A BTRFS over one or more loop devices, mounted at `.path`."""

    def __init__(self, at: Path, count: int, mkfs: list[str], options: str):
        at.mkdir()
        self.files = [at / f"disk{n}" for n in range(count)]
        self.path = at / "m"
        self.path.mkdir()
        self.devices: list[str] = []
        for file in self.files:
            with open(file, "wb") as f:
                f.truncate(2 << 30)
            self.devices.append(run("losetup", "--find", "--show", file).strip())
        run("mkfs.btrfs", "-q", *mkfs, *self.devices)
        run("btrfs", "device", "scan", *self.devices)
        run("mount", "-o", options or "rw", self.devices[0], self.path)

    def close(self) -> None:
        subprocess.run(["umount", self.path], check=False)
        for device in self.devices:
            run("losetup", "--detach", device)
        for file in self.files:
            file.unlink()


@pytest.fixture
def disks(tmp: Path) -> Iterator[Callable[..., Disks]]:
    made: list[Disks] = []

    def make(count: int = 1, mkfs: str = "", options: str = "") -> Disks:
        made.append(Disks(tmp / f"d{len(made)}", count, mkfs.split(), options))
        return made[-1]

    yield make
    for each in made:
        each.close()


def small_files(root: Path, seed: int = 1, count: int = 600) -> None:
    """Of sizes about everything at which BTRFS changes its mind, some written over, cut, cloned, or with attributes."""
    order = random.Random(seed)
    root.mkdir()
    sizes = [1, 100, 2047, 2048, 2049, 4095, 4096, 4097, 8192, 65536, EXTENT - 1, EXTENT, EXTENT + 1, 3 * EXTENT]
    for n in range(count):
        directory = root / f"d{n % 7}"
        directory.mkdir(exist_ok=True)
        path = directory / f"f{n}"
        size = order.choice(sizes) if n % 3 else order.randint(1, 20_000)
        path.write_bytes(noise(size, n) if n % 4 == 0 else prose(size, n))
        kind = n % 23
        if kind == 1:
            os.setxattr(path, "user.note", b"x" * order.randint(0, 3000))
        elif kind == 2:
            if n < 100:
                run("sync", "-f", path)
            with open(path, "r+b") as f:
                f.truncate(order.randint(0, size))
        elif kind == 3:
            run("cp", "--reflink=always", path, directory / f"clone{n}")
        elif kind == 4:
            with open(path, "r+b") as f:
                f.seek(size // 2)
                f.write(b"over")
        elif kind == 5:
            os.truncate(path, size + order.randint(1, 9000))
        elif kind == 6:
            os.link(path, directory / f"link{n}")
        elif kind == 7:
            (directory / f"symlink{n}").symlink_to("t" * order.randint(1, 3000))
        elif kind == 8:
            with open(directory / f"allocated{n}", "wb") as f:
                os.posix_fallocate(f.fileno(), 0, 5000)
        elif kind == 9:
            path.chmod(order.randrange(0o10000))
            os.utime(path, ns=(1, order.randrange(-(10**18), 10**18)))
            os.chown(path, order.randrange(1 << 31), order.randrange(1 << 31))
    # Items of one inode that do not fit into one answer, before and instead of content.
    for name, content in (("many", b"content"), ("many-empty", b"")):
        (root / name).write_bytes(content)
        for n in range(30):
            os.setxattr(root / name, f"user.{n}", noise(3500, n))


LAYOUTS = {
    "plain": (1, "", ""),
    "zstd": (1, "", "compress-force=zstd:3"),
    "zlib": (1, "", "compress-force=zlib"),
    "lzo": (1, "", "compress-force=lzo"),
    "raid1": (2, "-d raid1 -m raid1", "compress=zstd"),
    "raid0": (2, "-d raid0 -m raid1", "compress=zstd"),
    "single-on-three": (3, "-d single -m raid1", ""),
    "dup": (1, "-d dup -m dup", "compress-force=zstd:1"),
    "mixed": (1, "--mixed", ""),
    "small-nodes": (1, "-n 4096", "compress-force=zstd:3"),
    "large-nodes": (1, "-n 65536", ""),
    "xxhash": (1, "--csum xxhash", "compress-force=zstd:3"),
    "no-sums": (1, "", "nodatasum"),
    "no-inline": (1, "", "max_inline=0,compress-force=zstd:3"),
}

BY_KERNEL = {"raid0", "xxhash", "no-sums", "zlib", "lzo"}
"""Layouts of which little or nothing is taken from the devices."""


@pytest.mark.parametrize("layout", LAYOUTS)
def test_same_archive_as_of_the_live_tree(layout: str, disks: Callable[..., Disks], tmp: Path):
    tree = disks(*LAYOUTS[layout]).path / "tree"
    small_files(tree)
    run("sync", "-f", tree)
    # Written again, in place of older extents that lie between the others.
    for n in range(0, 600, 11):
        (tree / f"d{n % 7}/f{n}").write_bytes(prose(4000 + n, n))
    done, opened = traced(tree, tmp / "still.zip")
    assert "read from a read-only snapshot" in done.stderr
    snapshot(tree, tmp / "live.zip", "--consistent", "off")
    assert (tmp / "still.zip").read_bytes() == (tmp / "live.zip").read_bytes()
    for how in ("auto", "off"):
        snapshot(tree, tmp / f"recompressed-{how}.zip", "--recompress", "--consistent", how)
    assert (tmp / "recompressed-auto.zip").read_bytes() == (tmp / "recompressed-off.zip").read_bytes()
    burst("verify", "--content", tmp / "still.zip")
    files = sum(len(names) for _, _, names in os.walk(tree))
    print(f"{layout}: {opened} of {files} paths were opened")
    if layout in BY_KERNEL:
        assert opened > files // 3
    else:
        # Larger than a frame, or with holes.
        assert opened < files // 2


def traced(tree: Path, archive: Path) -> tuple[subprocess.CompletedProcess, int]:
    """And how many files of the snapshot were opened, by strace. In a batch one is opened to see whether it is cached."""
    log = archive.with_suffix(".strace")
    command = ["strace", "-f", "-qq", "-e", "trace=openat", "-o", log]
    command += [program(), "snapshot", "--archive-id", ARCHIVE_ID, tree, archive]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done, sum("O_NOATIME" in line for line in log.read_text().splitlines())


def test_odd_tree(disks: Callable[..., Disks], tmp: Path):
    tree = disks(options="compress-force=zstd:3").path / "tree"
    odd_tree(tree)
    snapshot(tree, tmp / "still.zip")
    snapshot(tree, tmp / "live.zip", "--consistent", "off")
    assert (tmp / "still.zip").read_bytes() == (tmp / "live.zip").read_bytes()


def test_several_sources_and_subvolumes(disks: Callable[..., Disks], tmp: Path):
    """Inode numbers are those of each subvolume, and mean something else in the next."""
    one, other = disks().path / "one", disks().path / "other"
    for volume in (one, other):
        volume.mkdir()
        for n, name in enumerate(("a", "a/b", "c")):
            run("btrfs", "subvolume", "create", volume / name)
            small_files(volume / name / "tree", seed=n, count=90)
    # A link into another subvolume, in which a file has the link's number: not its content is what the link says.
    file = one / "a/noise"
    file.write_bytes(noise(9000))
    number = file.stat().st_ino
    link = one / "link"
    link.symlink_to(one / "a")
    while link.lstat().st_ino < number:
        link.unlink()
        link.symlink_to(one / "a")
    assert link.lstat().st_ino == number
    # Numbers of subvolumes are shown as those of inodes, and there are files of these.
    for each in range(30):
        (one / f"top{each}").write_bytes(prose(3000, each))
    for flags in ((link,), ("--one-file-system=false", link)):
        archives = []
        for how in ("auto", "off"):
            archives.append(tmp / f"{how}{len(flags)}.zip")
            burst("snapshot", "--archive-id", ARCHIVE_ID, "--consistent", how, *flags, one, other, archives[-1])
        assert archives[0].read_bytes() == archives[1].read_bytes()


def address(path: Path) -> int:
    """Of the first extent."""
    with open(path, "rb") as f:
        buffer = bytearray(HEADER.pack(0, (1 << 63) - 1, SYNC, 0, BATCH, 0) + bytes(BATCH * ROW.size))
        fcntl.ioctl(f, FIEMAP, buffer)
        return ROW.unpack_from(buffer, HEADER.size)[1]


def physical(disks: Disks, logical: int) -> list[tuple[int, int]]:
    """Device and offset of each copy."""
    # Exit code 1 where there is no second copy.
    command = ["btrfs-map-logical", "-l", str(logical), disks.devices[0]]
    text = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return [(int(at), disks.devices.index(name)) for at, name in re.findall(r"physical (\d+) device (\S+)", text)]


@pytest.mark.parametrize("copies", [1, 2])
def test_damaged_sectors(copies: int, disks: Callable[..., Disks], tmp: Path):
    """What does not have its checksum is read again by the kernel, which has another copy, or says so."""
    made = disks(copies, "-d raid1 -m raid1" if copies == 2 else "", "")
    tree = made.path / "tree"
    small_files(tree, count=200)
    damaged = [tree / f"d{n % 7}/f{n}" for n in (16, 52)]
    for path in damaged:
        path.write_bytes(noise(9000, 5))
    run("sync", "-f", tree)
    good = snapshot(tree, tmp / "good.zip")
    assert good.code == 0
    for path in damaged:
        at, device = physical(made, address(path))[0]
        with open(made.files[device], "r+b") as f:
            f.seek(at + 5000)
            f.write(b"damage")
    if copies == 2:
        snapshot(tree, tmp / "after.zip")
        assert (tmp / "after.zip").read_bytes() == (tmp / "good.zip").read_bytes()
    else:
        done = burst("snapshot", tree, tmp / "after.zip", code=None)
        assert done.code != 0
        assert str(damaged[0]) in done.err or str(damaged[1]) in done.err
        assert not (tmp / "after.zip").exists()


def test_while_extents_are_moved(disks: Callable[..., Disks], tmp: Path):
    """A balance gives every extent another place, again and again."""
    made = disks(options="compress=zstd")
    tree = made.path / "tree"
    small_files(tree, count=3000)
    run("sync", "-f", tree)
    snapshot(tree, tmp / "live.zip", "--consistent", "off")
    stop = threading.Event()
    balances = 0

    def balance() -> None:
        nonlocal balances
        while not stop.is_set():
            # Refused while a snapshot is being made or deleted; the next call is not.
            done = subprocess.run(["btrfs", "balance", "start", "--full-balance", made.path], capture_output=True)
            balances += done.returncode == 0

    mover = threading.Thread(target=balance)
    mover.start()
    try:
        for n in range(12):
            snapshot(tree, tmp / f"{n}.zip", "--workers", 2)
            assert (tmp / f"{n}.zip").read_bytes() == (tmp / "live.zip").read_bytes(), n
            (tmp / f"{n}.zip").unlink()
    finally:
        stop.set()
        mover.join()
    assert balances > 0


def test_restored(disks: Callable[..., Disks], tmp: Path):
    tree = disks(options="compress=zstd").path / "tree"
    small_files(tree)
    snapshot(tree, tmp / "a.zip")
    burst("restore", tmp / "a.zip", tree.parent / "back")
    assert_same(listing(tree), listing(tree.parent / "back"))
