"""`burst volume prepare`, `mount` and `status`: what is blank becomes a volume, what is a volume is mounted."""

import json
import os
import re
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from btrfs_volume import run
from burst import burst, program, start
from disks import EBS, INSTANCE_STORE, OURS, Loop, Machine, mount_of


def prepare(*args: object, **kw) -> dict:
    return json.loads(burst("volume", "prepare", "--json", *args, **kw).out)


def profiles(at: Path) -> dict[str, str]:
    """How data and metadata lie, as btrfs-progs see it."""
    text = run("btrfs", "filesystem", "df", at)
    return dict(re.findall(r"^(\w+), (\w+):", text, re.MULTILINE))


def test_first_and_second_boot(loop: Callable[..., Loop], tmp: Path):
    disk, at = loop(), tmp / "srv" / "data"
    first = prepare(disk.device, "--mount", at)
    expected = {"made": True, "mount": str(at), "was_mounted": False, "mount_options": "noatime"}
    assert expected.items() <= first.items()
    assert first["label"] == str(at).strip("/").replace("/", "-")
    assert first["uuid"].startswith(OURS)
    found = disk.probe()
    assert (found["TYPE"], found["LABEL"], found["UUID"]) == ("btrfs", first["label"], first["uuid"])
    source, _, kind, options = mount_of(at)[:4]
    assert (source, kind) == (disk.device, "btrfs") and "noatime" in options
    assert profiles(at)["Metadata"] == "DUP" and profiles(at)["Data"] == "single"
    assert at.stat().st_mode & 0o777 == 0o755
    (at / "file").write_text("stays")

    again = prepare(disk.device, "--mount", at)
    assert {"made": False, "was_mounted": True, "uuid": first["uuid"]}.items() <= again.items()
    run("umount", at)
    after_boot = prepare(disk.device, "--mount", at, "--mount-options", "ro,compress=zstd:1")
    assert {"made": False, "was_mounted": False, "uuid": first["uuid"]}.items() <= after_boot.items()
    assert "compress=zstd:1" in mount_of(at)[3] and (at / "file").read_text() == "stays"
    # Also at a second place, by its label.
    burst("volume", "mount", disk.device, "--label", first["label"], "--mount", tmp / "second")
    assert (tmp / "second/file").read_text() == "stays"


def test_other_label(loop: Callable[..., Loop], tmp: Path):
    disk = loop()
    prepare(disk.device, "--label", "data")
    before = disk.digest()
    for command in ("prepare", "mount"):
        error = burst("volume", command, disk.device, "--label", "other", "--mount", tmp / "m", code=19).err
        assert 'volume "data", not "other"' in error
    assert disk.digest() == before
    # It can be lost, if that is wanted.
    assert prepare(disk.device, "--label", "other", "--wipe", disk.device)["made"]
    assert disk.probe()["LABEL"] == "other"


def test_chosen_in_every_way(machine: Machine, loop: Callable[..., Loop]):
    """A disk that is named more than once counts once."""
    disk, other = loop(), loop()
    machine.add("nvme1n1", disk, EBS, "vol0123456789abcdef0", ec2_name="sdf", discard=4096)
    machine.add("nvme2n1", other, EBS, "vol0123456789abcdef1", ec2_name="sdg")
    by_id = "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0123456789abcdef0"
    names = ("vol-0123456789abcdef0", "vol0123456789abcdef0", "/dev/sdf", "sdf", "/dev/nvme1n1", by_id, by_id + "_1")
    before = other.digest()
    first = prepare(*machine.flags, *names, "--label", "data")
    assert [d["device"] for d in first["disks"]] == [disk.device] and first["made"]
    # EC2 takes sdf and xvdf for the same.
    for name in (*names, "/dev/xvdf", disk.device):
        again = prepare(*machine.flags, name, "--label", "data")
        assert not again["made"] and again["uuid"] == first["uuid"], name
    assert other.digest() == before


def test_several_disks(machine: Machine, loop: Callable[..., Loop], tmp: Path):
    """Instance store: all of them, striped; empty after a stop: made again; one that is missing: refused."""
    store, ebs = [loop(), loop(), loop()], loop()
    for n, disk in enumerate(store):
        machine.add(f"nvme{n + 1}n1", disk, INSTANCE_STORE, f"AWS{n:017}", discard=1 << 20)
    machine.add("nvme9n1", ebs, EBS, "vol0123456789abcdef0")
    before = ebs.digest()
    at = tmp / "scratch"
    command = (*machine.flags, "instance-store", "--mount", at)
    first = prepare(*command)
    assert [d["device"] for d in first["disks"]] == [d.device for d in store]
    assert profiles(at) == {**profiles(at), "Data": "RAID0", "Metadata": "RAID1"}
    assert first["mount_options"] == "noatime,discard=async" and "discard=async" in mount_of(at)[3]
    (at / "file").write_bytes(b"x" * 3_000_000)
    run("umount", at)
    again = prepare(*command)
    assert not again["made"] and again["uuid"] == first["uuid"] and (at / "file").stat().st_size == 3_000_000
    assert not prepare(*command)["made"]
    status = json.loads(burst("volume", "status", at, "--json", *machine.flags).out)
    assert (status["disks"], status["uuid"]) == (3, first["uuid"])
    run("umount", at)
    # A part of the disks is not the volume.
    error = burst("volume", "prepare", *machine.flags, "/dev/nvme1n1", "--mount", at, code=19).err
    assert "one of 3 disks" in error
    store[1].erase()
    left = store[0].digest()
    assert "one of 3 disks" in burst("volume", "prepare", *command, code=19).err
    assert store[0].digest() == left and mount_of(at) is None
    # After a stop.
    for disk in store:
        disk.erase()
    renewed = prepare(*command)
    assert renewed["made"] and renewed["uuid"] != first["uuid"] and list(at.iterdir()) == []
    assert ebs.digest() == before


def test_data_single(loop: Callable[..., Loop], tmp: Path):
    disks = [loop(), loop()]
    done = prepare(*(d.device for d in disks), "--data", "single", "--mount", tmp / "m")
    assert done["made"] and profiles(tmp / "m")["Data"] == "single" and profiles(tmp / "m")["Metadata"] == "RAID1"


def test_nothing_is_discarded(loop: Callable[..., Loop]):
    """On a blank disk that would take its time for nothing: what the file behind it takes up shows it."""
    disk = loop()
    with open(disk.file, "r+b") as f:
        os.posix_fallocate(f.fileno(), 0, disk.file.stat().st_size)
    taken = disk.file.stat().st_blocks
    prepare(disk.device, "--label", "data")
    assert disk.file.stat().st_blocks >= taken
    # The kernel would: mkfs.btrfs by itself does.
    run("mkfs.btrfs", "-q", "-f", disk.device)
    assert disk.file.stat().st_blocks < taken


def waiting(*args: object) -> subprocess.Popen:
    """A run that has said that it waits."""
    process = start(*args)
    assert b"waiting up to" in process.stderr.readline()
    return process


def finished(process: subprocess.Popen) -> str:
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return err.decode()


def test_attached_later(machine: Machine, loop: Callable[..., Loop], tmp: Path):
    """By volume id, when the kernel shows it; by path, when the link is made; by name, when the rule of udev ran."""
    for selector, at in (("vol-0123456789abcdef0", "a"), ("/dev/sdf", "b"), (str(tmp / "link"), "c")):
        disk = loop()
        process = waiting("volume", "prepare", *machine.flags, selector, "--wait", "120s", "--mount", tmp / at)
        if selector.startswith("vol"):
            machine.add("nvme1n1", disk, EBS, "vol0123456789abcdef0")
        elif selector == "/dev/sdf":
            machine.add("nvme2n1", disk, EBS, "vol0123456789abcdef1", ec2_name="sdf")
        else:
            (tmp / "link").symlink_to(disk.device)
        assert disk.device in finished(process)
        assert mount_of(tmp / at)[0] == disk.device


def test_loop_device_without_a_file(loop: Callable[..., Loop], tmp: Path):
    """A device of no size is not there yet."""
    disk = loop()
    run("losetup", "--detach", disk.device)
    try:
        process = waiting("volume", "prepare", disk.device, "--wait", "2m", "--label", "late")
    finally:
        run("losetup", disk.device, disk.file)
    assert disk.device in finished(process)


def test_never_attached(machine: Machine, loop: Callable[..., Loop]):
    machine.add("nvme1n1", loop(), EBS, "vol0123456789abcdef0", ec2_name="sdf")
    command = ("volume", "prepare", *machine.flags, "--label", "x")
    begun = time.monotonic()
    error = burst(*command, "vol-0123456789abcdef1", "--wait", "2", code=16).err
    assert time.monotonic() - begun >= 2
    assert "vol-0123456789abcdef1 was not attached within 2 s" in error
    assert "vol-0123456789abcdef0, /dev/sdf" in error
    # Without --wait it is simply not there.
    assert "not attached" in burst(*command, "/dev/sdx", code=10).err
    assert "not attached" in burst(*command, "instance-store", code=10).err


def test_interrupted(machine: Machine):
    process = waiting("volume", "prepare", *machine.flags, "/dev/sdf", "--wait", "1h", "--label", "x")
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143 and b"signal 15" in err


def test_killed_while_made(loop: Callable[..., Loop], tmp: Path):
    """Stopped at any write, most of which are those of mkfs.btrfs: the next run makes the volume, or finds it whole."""
    disks = [loop(), loop()]
    devices = [d.device for d in disks]
    command = ["volume", "prepare", *devices, "--label", "data", "--mount", str(tmp / "m")]

    def traced(*options: str) -> subprocess.CompletedProcess:
        strace = ["strace", "-f", "-qq", "-e", "trace=pwrite64", "-e", "signal=none", "-o", "/dev/stdout"]
        return subprocess.run([*strace, *options, program(), *command], capture_output=True, check=False, timeout=120)

    # strace counts the calls of each thread for itself.
    writes = max(Counter(re.findall(r"^(\d+) +pwrite64\(", traced().stdout.decode(), re.MULTILINE)).values())
    assert writes > 40
    made_again = 0
    for when in [*range(1, writes - 6, writes // 5), *range(writes - 6, writes + 1)]:
        if mount_of(tmp / "m"):
            run("umount", tmp / "m")
        for disk in disks:
            disk.erase()
        # The first writes are marks by which this program knows its disks, all others are those of mkfs.btrfs.
        assert traced("-e", f"inject=pwrite64:signal=SIGKILL:when={when}").returncode == (-9 if when <= 4 else 1)
        assert mount_of(tmp / "m") is None
        made_again += prepare(*command[2:])["made"]
        assert profiles(tmp / "m")["Data"] == "RAID0"
        run("btrfs", "check", "--readonly", "--force", devices[0])
    # More than the wiping at its start was interrupted.
    assert made_again >= 6


def test_at_the_same_time(loop: Callable[..., Loop], tmp: Path):
    """Eight at once: one makes it, all agree on what there is."""
    disks = [loop(), loop()]
    command = ["volume", "prepare", "--label", "data"]
    processes = [start(*command, *(d.device for d in disks[:: 1 if n % 2 else -1])) for n in range(8)]
    told = [p.communicate(timeout=240)[1].decode() for p in processes]
    assert [p.returncode for p in processes] == [0] * 8, told
    assert sum(text.startswith("made") for text in told) == 1, told


def test_mount(loop: Callable[..., Loop], tmp: Path):
    """Never makes a file system."""
    disk = loop()
    before = disk.digest()
    assert "blank" in burst("volume", "mount", disk.device, "--mount", tmp / "m", code=10).err
    assert disk.digest() == before
    burst("volume", "mount", disk.device, code=2)


def test_hidden_directory(loop: Callable[..., Loop], tmp: Path):
    (tmp / "m").mkdir()
    (tmp / "m/file").write_text("x")
    assert "is not empty" in burst("volume", "prepare", loop().device, "--mount", tmp / "m").err


def test_status(loop: Callable[..., Loop], tmp: Path):
    disk = loop()
    for path in (tmp / "absent", tmp, "/proc"):
        burst("volume", "status", path, code=10)
    burst("volume", "prepare", disk.device, "--label", "data", "--mount", tmp / "m")
    assert 'volume "data" on 1 disk' in burst("volume", "status", tmp / "m").out
    found = json.loads(burst("volume", "status", "--json", tmp / "m").out)
    assert found["label"] == "data" and 0 < found["bytes_free"] <= found["bytes"] == 320 << 20
    run("mkfs.btrfs", "-q", loop(330).device)
    other = loop()
    run("mkfs.btrfs", "-q", other.device)
    (tmp / "o").mkdir()
    run("mount", other.device, tmp / "o")
    burst("volume", "status", tmp / "o", code=10)


@pytest.mark.parametrize("options", ["no-such-option", "subvol=absent"])
def test_wrong_mount_options(options: str, loop: Callable[..., Loop], tmp: Path):
    command = ("volume", "prepare", loop().device, "--mount", tmp / "m")
    assert "kernel log" in burst(*command, "--mount-options", options, code=1).err
    assert mount_of(tmp / "m") is None
    burst(*command)


def test_disk_missing(loop: Callable[..., Loop], tmp: Path):
    """Two disks, and both say that they are the first: the kernel finds no second one, and this is no wrong path."""
    disks = [loop(), loop()]
    command = ("volume", "prepare", *(disk.device for disk in disks), "--label", "data")
    burst(*command)
    with open(disks[0].device, "rb") as f:
        f.seek(64 << 10)
        disks[1].write(64 << 10, f.read(4096))
    run("btrfs", "device", "scan", "--forget", *(disk.device for disk in disks))
    error = burst(*command, "--mount", tmp / "m", code=1).err
    assert "a disk of the file system is missing" in error and "spelling" not in error, error
