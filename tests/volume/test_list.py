"""`burst volume list`: every disk with what EC2 calls it and what it holds."""

import json
from collections.abc import Callable

from btrfs_volume import run
from burst import burst
from disks import EBS, INSTANCE_STORE, MIB, Loop, Machine


def test_ec2(machine: Machine, loop: Callable[..., Loop]):
    ebs, store, xen, virtio = loop(), loop(), loop(), loop()
    machine.add("nvme1n1", ebs, EBS, "vol0123456789abcdef0", ec2_name="sdf")
    machine.add("nvme0n1", store, INSTANCE_STORE, "AWS22A5B0123456789AB")
    machine.add("nvme2c0n1", loop(), EBS, "vol0123456789abcdef0", hidden=1)
    machine.add("xvdb", xen)
    machine.add("vdz", virtio, "", "disk-7")
    machine.files(machine.sys / "block/vdz", {"vdz1/partition": "1\n", "holders/dm-3": ""})
    for name in ("loop0", "dm-0", "md127", "zram0"):
        machine.add_virtual(name)
    run("mkfs.ext4", "-q", ebs.device)
    found = {d["device"]: d for d in json.loads(burst("volume", "list", "--json", *machine.flags).out)}
    assert list(found) == [xen.device, store.device, ebs.device, virtio.device] or len(found) == 4
    assert found[ebs.device] == {
        "device": ebs.device,
        "bytes": 320 * MIB,
        "kind": "EBS",
        "model": EBS,
        "serial": "vol0123456789abcdef0",
        "volume_id": "vol-0123456789abcdef0",
        "ec2_name": "/dev/sdf",
        "virtual_name": None,
        "in_use": None,
        "partitions": [],
        "blank": False,
        "holds": "ext4",
    }
    assert (found[store.device]["kind"], found[store.device]["volume_id"]) == ("instance store", None)
    assert (found[store.device]["blank"], found[store.device]["holds"]) == (True, "blank")
    assert found[xen.device]["ec2_name"] == "/dev/xvdb"
    other = found[virtio.device]
    assert (other["serial"], other["partitions"], other["in_use"]) == ("disk-7", ["vdz1"], "is used by dm-3")
    text = burst("volume", "list", *machine.flags).out.splitlines()
    assert text[0].split() == ["DEVICE", "SIZE", "KIND", "ID", "EC2", "NAME", "STATE"] and len(text) == 5
    (line,) = [line for line in text if line.startswith(f"{ebs.device} ")]
    assert "vol-0123456789abcdef0" in line and "/dev/sdf" in line and line.endswith("ext4")


def test_this_machine():
    """Whatever it has: the list can be made, and every disk in it has a size."""
    disks = json.loads(burst("volume", "list", "--json").out)
    assert all(disk["bytes"] > 0 and disk["device"].startswith("/dev/") for disk in disks)
    assert len(burst("volume", "list").out.splitlines()) == len(disks) + 1


def test_without_rights(machine: Machine, loop: Callable[..., Loop]):
    """What a disk is can be seen by everyone, what it holds cannot; nobody takes that for blank."""
    machine.add("nvme1n1", loop(), EBS, "vol0123456789abcdef0")
    (line,) = burst("volume", "list", *machine.flags, user=65534).out.splitlines()[1:]
    assert "vol-0123456789abcdef0" in line and line.endswith("unknown (access denied; root can tell)")
    (disk,) = json.loads(burst("volume", "list", "--json", *machine.flags, user=65534).out)
    assert (disk["blank"], disk["holds"]) == (None, None)


def test_no_sysfs(tmp):
    assert "list the disks" in burst("volume", "list", "--sysfs", tmp / "absent", code=10).err
