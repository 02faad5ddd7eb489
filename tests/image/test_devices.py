"""One file system on several devices, and the tree of the archive in a subvolume. BURST_FULL=1 tries more of both."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from archives import Archives
from btrfs_volume import run
from burst import burst
from listing import Listing, assert_same, listing
from made_image import MIB, SUPERBLOCKS, Image, edit, superblocks

Listed = Callable[[str], Listing]
# Devices, and what is asked for: sizes that are not the same, nor multiples of 4 KiB (a loop device has whole 512 bytes).
SETS: dict[str, tuple[list[int], list[str]]] = {
    "defaults": ([700 * MIB, 500 * MIB + 12_800], []),
    "striped": ([400 * MIB, 300 * MIB + 4096, 1000 * MIB + 512], ["--data", "raid0", "--metadata", "raid0"]),
    "one after the other": ([300 * MIB, 900 * MIB, 64 * MIB], ["--data", "single", "--metadata", "dup"]),
    "mirrored": ([256 * MIB, 1500 * MIB, 257 * MIB], ["--data", "single", "--metadata", "raid1"]),
}
FULL = bool(os.environ.get("BURST_FULL"))
if FULL:
    SETS["plain"] = ([600 * MIB, 600 * MIB], ["--data", "raid0", "--metadata", "single"])
# A file system that is written to has 256 MiB or more.
MANY = {"raid1": [100 * MIB] * 32, "raid0": [64 * MIB + n * 65_536 for n in range(32)]}
if FULL:
    MANY["dup"] = [128 * MIB] * 5


class Devices:
    """Loop devices over sparse files."""

    def __init__(self, directory: Path, sizes: list[int]):
        self.directory, self.names = directory, []
        directory.mkdir()
        try:
            for n, size in enumerate(sizes):
                self.attach(directory / f"{n}", size)
        except BaseException:
            self.close()
            raise

    def attach(self, file: Path, size: int | None = None) -> None:
        if size:
            with open(file, "wb") as f:
                f.truncate(size)
        self.names.append(run("losetup", "--find", "--show", file).strip())

    def flags(self) -> list[str]:
        return [flag for name in self.names for flag in ("--device", name)]

    def check(self) -> None:
        """The checkers name whatever else there is on the machine, so only their verdict counts."""
        for mode in (["--check-data-csum"], ["--mode=lowmem"]):
            assert "no error found" in run("btrfs", "check", "--readonly", *mode, self.names[0])

    @contextmanager
    def mounted(self, options: str = "") -> Iterator[Path]:
        at = self.directory / "m"
        at.mkdir(exist_ok=True)
        devices = ",".join(f"device={name}" for name in self.names)
        run("mount", "-t", "btrfs", "-o", ",".join(filter(None, (devices, options))), self.names[0], at)
        try:
            yield at
        finally:
            run("umount", at)

    def close(self) -> None:
        for name in self.names:
            # So that the kernel does not take the next file on this device for one of this file system.
            subprocess.run(["btrfs", "device", "scan", "--forget", name], capture_output=True, check=False)
            run("losetup", "--detach", name)


@pytest.fixture
def devices(tmp: Path) -> Iterator[Callable[[list[int]], Devices]]:
    made: list[Devices] = []

    def make(sizes: list[int]) -> Devices:
        made.append(Devices(tmp / f"set{len(made)}", sizes))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.mark.parametrize("name", SETS)
def test_life(name: str, made: Archives, listed: Listed, devices: Callable[[list[int]], Devices], tmp: Path):
    """Clean, the same, and still clean after it was used, balanced and scrubbed."""
    sizes, options = SETS[name]
    disks, at = devices(sizes), tmp / "mounted"
    done = burst("restore", "--json", *disks.flags(), *options, made.archive("odd"), at)
    run("umount", at)
    assert json.loads(done.out)["devices"] == disks.names
    for disk, size in zip(disks.names, sizes, strict=True):
        assert superblocks(disk) == [at for at in SUPERBLOCKS if at + 4096 <= size]
    disks.check()
    with disks.mounted() as root:
        assert_same(listed("odd"), listing(root))
        used = run("btrfs", "filesystem", "df", root)
        for kind, flag in (("Data", "--data"), ("Metadata", "--metadata"), ("System", "--metadata")):
            default = {"Data": "raid0", "Metadata": "raid1", "System": "raid1"}[kind]
            profile = options[options.index(flag) + 1] if flag in options else default
            assert f"{kind}, {profile if profile == 'single' else profile.upper()}:" in used, used
        edit(root)
        before = listing(root)
        run("btrfs", "balance", "start", "--full-balance", root)
        run("btrfs", "scrub", "start", "-B", root)
    disks.check()
    with disks.mounted("ro") as root:
        assert_same(before, listing(root))


@pytest.mark.parametrize("metadata", MANY)
def test_many_devices(
    metadata: str, made: Archives, listed: Listed, devices: Callable[[list[int]], Devices], tmp: Path
):
    """Up to 32, as image files; full ones to the last of them."""
    sizes = MANY[metadata]
    files = [tmp / f"{n}.img" for n in range(len(sizes))]
    given = [word for size in sizes for word in ("--size", size)]
    burst("image", made.archive("boundaries"), *files, *given, "--metadata", metadata)
    disks = devices([])
    for file in files:
        disks.attach(file)
    disks.check()
    with disks.mounted("ro") as root:
        assert_same(listed("boundaries"), listing(root))


def test_uneven(made: Archives, listed: Listed, devices: Callable[[list[int]], Devices]):
    """Striped over two until the small one is full, and then on the large one alone."""
    disks = devices([64 * MIB, 2000 * MIB])
    burst("restore", *disks.flags(), "--metadata", "single", made.archive("boundaries"))
    disks.check()
    with disks.mounted() as root:
        assert_same(listed("boundaries"), listing(root))
        (root / "new").write_bytes(b"new" * MIB)
    disks.check()


def test_refused(made: Archives, devices: Callable[[list[int]], Devices], tmp: Path):
    disks = devices([100 * MIB, 100 * MIB])
    one, other = disks.names
    archive = made.archive("kinds")

    def refused(code: int, *args: object) -> str:
        done = burst("restore", *args, archive, code=code)
        assert len(done.err.splitlines()) == 1, done.err
        return done.err

    assert one in refused(2, "--device", one, "--device", one)
    for wrong in (["--data", "raid0"], ["--metadata", "raid1"], ["--metadata", "raid0"]):
        assert "two devices" in refused(2, "--device", one, *wrong)
    # One of them is not blank: nothing is done to the other.
    run("mkfs.ext4", "-q", other)
    assert other in refused(19, *disks.flags())
    assert run("cmp", "--bytes", 100 * MIB, one, "/dev/zero") == ""
    burst("restore", *disks.flags(), "--force", archive)
    disks.check()
    files = [tmp / f"{n}" for n in range(33)]
    assert "32" in burst("image", archive, *files, "--size", "64M", code=2).err
    burst("image", archive, *files[:3], "--size", "64M", "--size", "65M", code=2)
    burst("image", archive, files[0], files[0], "--size", "64M", code=2)
    burst("image", archive, *files[:2], "--size", "64M", "--size", "1M", code=15)
    files[1].write_bytes(b"there")
    burst("image", archive, *files[:2], "--size", "64M", code=19)
    assert [file for file in files if file.exists()] == files[1:2] and files[1].read_bytes() == b"there"


def test_two_names_of_a_disk(made: Archives, devices: Callable[[list[int]], Devices]):
    """Two loop devices of a file, with nothing written; and a loop device of another, which only the mark tells."""
    disks, archive = devices([256 * MIB]), made.archive("kinds")
    (first,) = disks.names

    def refused(other: str, *args: object) -> None:
        for pair in ((first, other), (other, first)):
            flags = [flag for name in pair for flag in ("--device", name)]
            err = burst("restore", *flags, *args, archive, code=19).err
            assert len(err.splitlines()) == 1 and first in err and other in err and "one disk" in err, err

    disks.attach(disks.directory / "0")
    run("mkfs.ext4", "-q", first)
    refused(disks.names[1], "--force")
    run("e2fsck", "-fn", first)
    run("blkdiscard", "-f", first)
    disks.attach(Path(first))
    refused(disks.names[2])
    assert superblocks(first) == []
    # A part of the file each.
    halves = [
        run("losetup", "--find", "--show", "--sizelimit", 128 * MIB, "--offset", at, disks.directory / "0").strip()
        for at in (0, 128 * MIB)
    ]
    disks.names.extend(halves)
    burst("restore", "--device", halves[0], "--device", halves[1], "--force", archive)


def test_cut_between_superblocks(made: Archives, listed: Listed, devices: Callable[[list[int]], Devices]):
    """The first device gets its superblock last. Without it there is nothing, and the same command begins anew."""
    disks, archive = devices([256 * MIB, 256 * MIB]), made.archive("kinds")
    # Whether or not the UUID says that it is ours.
    for uuid in ([], ["--uuid", "12345678-1234-4234-8234-123456789abc"]):
        burst("restore", *disks.flags(), *uuid, archive)
        with open(disks.names[0], "r+b") as f:
            f.seek(SUPERBLOCKS[0] + 64)
            f.write(b"!BURST_M")
        run("btrfs", "device", "scan", "--forget", *disks.names)
        disks.directory.joinpath("m").mkdir(exist_ok=True)
        mount = ["mount", "-t", "btrfs", disks.names[1], disks.directory / "m"]
        assert subprocess.run(mount, capture_output=True, check=False).returncode != 0
        # Alone, it is a file system of which a device is missing.
        burst("restore", "--device", disks.names[1], archive, code=19)
        burst("restore", *disks.flags(), *uuid, archive)
        disks.check()
        with disks.mounted("ro") as root:
            assert_same(listed("kinds"), listing(root))
        for name in disks.names:
            run("blkdiscard", "-f", name)


@pytest.mark.parametrize("name", ["ä b", *(["root", "n" * 255] if FULL else [])])
def test_subvolume(name: str, made: Archives, listed: Listed, tmp: Path):
    image = Image(tmp / "image")
    image.make(made.archive("odd"), "1G", "--subvolume", name)
    image.check()
    with image.mounted() as root:
        assert_same(listed("odd"), listing(root))
        default = run("btrfs", "subvolume", "get-default", root).strip()
        assert default.startswith("ID 256 ") and default.endswith(f" path {name}"), default
        assert run("btrfs", "subvolume", "list", "-u", root).startswith("ID 256 ")
        edit(root)
        before = listing(root)
        run("btrfs", "balance", "start", "--full-balance", root)
        run("btrfs", "scrub", "start", "-B", root)
    image.check()
    with image.mounted("subvolid=5") as top:
        assert [entry.name for entry in top.iterdir()] == [name]
        assert_same(before, listing(top / name))
        run("btrfs", "subvolume", "snapshot", top / name, top / "copy")
        run("btrfs", "subvolume", "set-default", "5", top)
        run("btrfs", "subvolume", "delete", top / name / "snapshot", top / name)
        run("btrfs", "subvolume", "sync", top)
    image.check()


def test_subvolume_on_devices(made: Archives, listed: Listed, devices: Callable[[list[int]], Devices], tmp: Path):
    disks = devices([256 * MIB, 300 * MIB])
    burst("restore", *disks.flags(), "--subvolume", "data", made.archive("kinds"), tmp / "at")
    assert_same(listed("kinds"), listing(tmp / "at"))
    run("umount", tmp / "at")
    disks.check()
    with disks.mounted("subvol=/data") as root:
        assert_same(listed("kinds"), listing(root))


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "n" * 256])
def test_names_of_subvolumes(name: str, made: Archives, tmp: Path):
    Image(tmp / "image").make(made.archive("kinds"), "128M", "--subvolume", name, code=2)
    assert not (tmp / "image").exists()
