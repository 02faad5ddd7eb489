"""What holds anything is refused and stays as it is, to the last byte."""

import os
import shutil
import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from btrfs_volume import run
from burst import burst
from disks import EBS, MIB, Loop, Machine, mount_of

# --- What real tools make; what needs drivers of the kernel to be made is written by hand.


def sfdisk(disk: Loop, label: str) -> None:
    command = ["sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", disk.device]
    subprocess.run(command, input=f"label: {label}\n,\n", text=True, check=True, capture_output=True)


def backup_gpt(disk: Loop) -> None:
    """The primary table was overwritten; the one at the end is left."""
    sfdisk(disk, "gpt")
    disk.write(0, bytes(MIB))


def luks(disk: Loop, version: int) -> None:
    command = ["cryptsetup", "luksFormat", "--batch-mode", f"--type=luks{version}", "--pbkdf-force-iterations=1000"]
    more = ["--pbkdf=pbkdf2"] if version == 2 else []
    subprocess.run([*command, *more, disk.device, "-"], input=b"secret", check=True, capture_output=True)


def lvm(disk: Loop) -> None:
    """A physical volume's label, by hand (lib/format_text/layout.h of LVM2)."""
    behind = struct.pack("<I8s32s", 32, b"LVM2 001", b"a" * 32).ljust(512 - 20, b"\0")
    crc = zlib.crc32(behind, 0xF597A6CF ^ 0xFFFFFFFF) ^ 0xFFFFFFFF
    disk.write(512, b"LABELONE" + struct.pack("<QI", 1, crc) + behind)


def md_start(disk: Loop) -> None:
    """A member of a RAID, version 1.2, by hand (include/linux/raid/md_p.h)."""
    sectors = disk.file.stat().st_size // 512
    block = bytearray(256 + 2)
    struct.pack_into("<IIII16s32sQIIQII", block, 0, 0xA92B4EFC, 1, 0, 0, b"u" * 16, b"host:0", 0, 1, 0, sectors, 0, 1)
    struct.pack_into("<QQQQ", block, 128, 2048, sectors - 2048, 8, 0)
    struct.pack_into("<I", block, 220, 1)
    total = sum(struct.unpack("<64I", block[:256])) + struct.unpack("<H", block[256:258])[0]
    struct.pack_into("<I", block, 216, ((total & 0xFFFFFFFF) + (total >> 32)) & 0xFFFFFFFF)
    disk.write(4096, bytes(block))


def md_end(disk: Loop) -> None:
    """Version 0.90, by hand: its only trace is near the end."""
    block = struct.pack("<IIIIIIIII", 0xA92B4EFC, 0, 90, 0, 0, 1, 0, 1, 0).ljust(4096, b"\0")
    disk.write(disk.file.stat().st_size // 65536 * 65536 - 65536, block)


MAKERS: dict[str, tuple[str, Callable[[Loop], object]]] = {
    "ext4": ("ext4", lambda d: run("mkfs.ext4", "-q", d.device)),
    "xfs": ("xfs", lambda d: run("mkfs.xfs", "-q", d.device)),
    "btrfs": ("btrfs", lambda d: run("mkfs.btrfs", "-q", "-L", "data", d.device)),
    "swap": ("swap", lambda d: run("mkswap", d.device)),
    "gpt": ("gpt", lambda d: sfdisk(d, "gpt")),
    "gpt-backup": ("gpt", backup_gpt),
    "mbr": ("dos", lambda d: sfdisk(d, "dos")),
    "luks1": ("crypto_LUKS", lambda d: luks(d, 1)),
    "luks2": ("crypto_LUKS", lambda d: luks(d, 2)),
    "bcache": ("bcache", lambda d: run("make-bcache", "-B", d.device)),
    "bcache-cache": ("bcache", lambda d: run("make-bcache", "-C", d.device)),
    "lvm": ("LVM2_member", lvm),
    "md-1.2": ("linux_raid_member", md_start),
    "md-0.90": ("linux_raid_member", md_end),
    "byte-0": ("data at byte 0", lambda d: d.write(0, b"x")),
    "byte-last": ("data at byte 1048575", lambda d: d.write(MIB - 1, b"x")),
    "btrfs-copy": ("btrfs superblock", lambda d: d.write(64 * MIB + 64, b"_BHRfS_M")),
    # Not ours, although somebody gave it our name and it is not finished.
    "unfinished": ("data at byte", lambda d: d.write(65536 + 32, b"another file sys" + bytes(16) + b"!BHRfS_M")),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_not_blank(kind: str, loop: Callable[..., Loop], tmp: Path):
    """Nobody writes to it: not `prepare`, not `mount`, not a restore onto the device."""
    shown, make = MAKERS[kind]
    disk, blank = loop(), loop()
    make(disk)
    before, blank_before = disk.digest(), blank.digest()
    at = tmp / "m"
    for command, disks in (("prepare", [disk]), ("prepare", [blank, disk]), ("mount", [disk])):
        devices = [d.device for d in disks]
        error = burst("volume", command, *devices, "--label", "data", "--mount", at, code=19).err
        assert shown in error and disk.device in error, error
    assert disk.digest() == before and blank.digest() == blank_before
    assert mount_of(at) is None


def test_in_use(loop: Callable[..., Loop], tmp: Path):
    """Blank, and another program has it; mounted, also with --wipe."""
    disk = loop()
    before = disk.digest()
    held = os.open(disk.device, os.O_RDWR | os.O_EXCL)
    try:
        error = burst("volume", "prepare", disk.device, "--label", "x", code=19).err
        assert "used by something else" in error
    finally:
        os.close(held)
    assert disk.digest() == before
    run("mkfs.ext4", "-q", disk.device)
    (tmp / "other").mkdir()
    run("mount", disk.device, tmp / "other")
    (tmp / "other/file").write_text("precious")
    error = burst("volume", "prepare", disk.device, "--label", "x", "--wipe", disk.device, code=19).err
    assert f"mounted at {tmp}/other" in error
    run("umount", tmp / "other")
    assert disk.probe()["TYPE"] == "ext4"
    run("e2fsck", "-fn", disk.device)


def test_two_names_of_a_disk(loop: Callable[..., Loop], tmp: Path):
    """Mounted under one name and wanted under another: it is said where it is, as what, and what to do."""
    disks, at, other = [loop(), loop()], tmp / "at", tmp / "other"
    names = [disk.device for disk in disks]
    burst("volume", "prepare", *names, "--label", "data", "--mount", at)
    again = [run("losetup", "--find", "--show", disk.file).strip() for disk in disks]
    try:
        error = burst("volume", "mount", *again, "--label", "data", "--mount", other, code=19).err
    finally:
        run("losetup", "--detach", *again)
    for said in [f"mount {again[0]} at {other}", f"mounted at {at} already", f"umount {at}", *names[:1]]:
        assert said in error, error
    assert mount_of(other) is None
    run("umount", at)
    (tmp / "file").write_text("")
    error = burst("volume", "mount", *names, "--label", "data", "--mount", tmp / "file", code=19).err
    assert f"{tmp}/file is there, and is no directory" in error


def test_two_names_make_no_volume(machine: Machine, loop: Callable[..., Loop], tmp: Path):
    """Two loop devices of a file; one of the other; disks of which the kernel says that they are one."""
    disk, other = loop(), loop()
    before = disk.digest()
    for file in (disk.file, disk.device):
        again = run("losetup", "--find", "--show", file).strip()
        try:
            for pair in ((disk.device, again), (again, disk.device)):
                error = burst("volume", "prepare", *pair, "--mount", tmp / "m", code=19).err
                assert "one disk" in error and disk.device in error and again in error, error
        finally:
            run("losetup", "--detach", again)
    machine.add("nvme1n1", disk, EBS, "vol0123456789abcdef0")
    machine.add("nvme2n1", other, EBS, "vol0123456789abcdef1")
    prepare = ("volume", "prepare", disk.device, other.device, *machine.flags, "--label", "data")
    for same, code in ((True, 19), (False, 0)):
        for n, each in enumerate((disk, other)):
            number = os.stat(each.device).st_rdev
            wwid = "nvme.1d0f-01" if same else f"nvme.1d0f-{n}"
            name = f"{os.major(number)}:{os.minor(number)}"
            machine.files(machine.sys / "dev/block" / name, {"size": "655360\n", "wwid": f"{wwid}\n"})
        error = burst(*prepare, code=code).err
        assert ("nvme.1d0f-01" in error) == same, error
        assert same == (disk.digest() == before)
    assert mount_of(tmp / "m") is None


def test_mount_point_taken(loop: Callable[..., Loop], tmp: Path):
    """The mount point shows something else: the disk is not touched."""
    disk, other = loop(), loop()
    before = disk.digest()
    burst("volume", "prepare", other.device, "--mount", tmp / "m")
    assert "mount point of" in burst("volume", "prepare", disk.device, "--mount", tmp / "m", code=19).err
    assert disk.digest() == before


def test_wipe(machine: Machine, loop: Callable[..., Loop], tmp: Path):
    """Only with the exact name of every disk that holds something."""
    one, two = loop(), loop()
    machine.add("nvme1n1", one, EBS, "vol0123456789abcdef0")
    machine.add("nvme2n1", two, EBS, "vol00000000000000002")
    sfdisk(one, "gpt")
    run("mkfs.ext4", "-q", two.device)
    before = (one.digest(), two.digest())
    ids = ("vol-0123456789abcdef0", "vol-00000000000000002")
    command = ("volume", "prepare", *machine.flags, *ids, "--mount", tmp / "m")
    for wipe, code in (
        ((ids[0],), 19),
        ((ids[1],), 19),
        (("vol-0123456789abcdef",), 2),
        (("vol-0123456789abcdef1", ids[0], ids[1]), 2),
        (("nvme1n1", ids[1]), 2),
        (("all",), 2),
        (("",), 2),
    ):
        flags = [part for each in wipe for part in ("--wipe", each)]
        assert burst(*command, *flags, code=code).err.startswith("burst: ")
    assert (one.digest(), two.digest()) == before
    # A serial number and a path.
    burst(*command, "--wipe", "vol0123456789abcdef0", "--wipe", "/dev/nvme2n1")
    assert {one.probe()["TYPE"], two.probe()["TYPE"]} == {"btrfs"}
    (tmp / "m/file").write_text("precious")
    # The same command at the next boot.
    run("umount", tmp / "m")
    burst(*command, "--wipe", "vol0123456789abcdef0", "--wipe", "/dev/nvme2n1")
    assert (tmp / "m/file").read_text() == "precious"


def test_restore_onto_device(loop: Callable[..., Loop], tmp: Path):
    """`burst restore --device` decides in the same way."""
    (tmp / "tree").mkdir()
    (tmp / "tree/a").write_text("a")
    burst("snapshot", tmp / "tree", tmp / "a.zip")
    for kind in ("gpt-backup", "md-0.90", "lvm", "luks2"):
        disk = loop()
        shown, make = MAKERS[kind]
        make(disk)
        before = disk.digest()
        assert shown in burst("restore", "--device", disk.device, tmp / "a.zip", code=19).err
        assert disk.digest() == before


def test_no_answer_is_not_blank(loop: Callable[..., Loop], tmp: Path):
    """Without wipefs, or when it fails, nobody knows; without rights nobody gets that far."""
    disk = loop()
    before = disk.digest()
    command = ("volume", "prepare", disk.device, "--label", "x")
    (tmp / "bin").mkdir()
    (tmp / "bin/mkfs.btrfs").symlink_to(shutil.which("mkfs.btrfs"))
    only = {"PATH": str(tmp / "bin")}
    assert "install util-linux" in burst(*command, env=only, code=17).err
    for answer in ("exit 1", "echo nonsense", "echo '{}'", "kill -9 $$"):
        (tmp / "bin/wipefs").write_text(f"#!/bin/sh\n{answer}\n")
        (tmp / "bin/wipefs").chmod(0o755)
        assert "wipefs" in burst(*command, env=only, code=1).err
    (tmp / "bin/wipefs").unlink()
    (tmp / "bin/wipefs").symlink_to(shutil.which("wipefs"))
    (tmp / "bin/mkfs.btrfs").unlink()
    assert "install btrfs-progs" in burst(*command, env=only, code=17).err
    burst(*command, code=11, user=65534)
    assert disk.digest() == before


def test_tags_need_another_build(machine: Machine):
    """With the feature `ec2` they are tested in tests/ec2_api."""
    for command in ("prepare", "mount"):
        done = burst("volume", command, "tag:Name=data", "--mount", "/mnt", "--wait", "1h", *machine.flags, code=17)
        assert 'tag:Name=data: this burst was built without EC2\'s API (cargo feature "ec2")' in done.err


def test_wrong_usage(loop: Callable[..., Loop], tmp: Path):
    disk = loop()
    before = disk.digest()
    for args in (
        (),
        ("vol-123",),
        ("vol-0123456789ABCDEF0",),
        ("relative/path",),
        ("tag:Name",),
        ("tag:=data",),
        ("tag:Name=" + "x" * 257,),
        ("",),
        (disk.device,),  # Neither a label nor a mount point to make one of.
        (disk.device, "--label", ""),
        (disk.device, "--label", "a\nb"),
        (disk.device, "--label", "x" * 256),
        (disk.device, "--label", "x", "--mount-options", "ro"),
        (disk.device, "--label", "x", "--wait", "5x"),
        (disk.device, "--label", "x", "--data", "raid7"),
        ("/dev/null", "--label", "x"),
        (tmp, "--label", "x"),
    ):
        burst("volume", "prepare", *args, code=2)
    assert disk.digest() == before
