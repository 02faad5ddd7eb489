"""The examples of the documentation: accepted by cloud-init, and booted as they stand.

What they name is there: the bucket, and disks with these names.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import CLOUD_INIT
from ec2_disks import Ec2Disks
from listing import Listing, listing
from machine import Machine

EXAMPLES = sorted((CLOUD_INIT / "examples").iterdir())
# What cloud-init makes of them differs less than the time they take.
one_release = pytest.mark.parametrize("suite", ["trixie"], indirect=True)


def test_readme_shows_the_first() -> None:
    assert (CLOUD_INIT / "examples/ebs-volume.yaml").read_text() in (CLOUD_INIT / "README.md").read_text()


def test_readme_shows_the_line_of_the_boot_test() -> None:
    line = re.search(r"## Mounting.*?```text\n(.*?)```", (CLOUD_INIT / "README.md").read_text(), re.S)[1]
    assert line in (CLOUD_INIT.parent / "tests/boot/image.py").read_text()


def test_all_are_valid(machine: Machine) -> None:
    machine.start()
    for example in EXAMPLES:
        machine.write("/tmp/user-data", example.read_text())
        machine.run("cloud-init", "schema", "--config-file", "/tmp/user-data")


def boot(machine: Machine, example: str) -> None:
    machine.start()
    result = machine.boot((CLOUD_INIT / "examples" / example).read_text())
    assert result["errors"] == [], result


def mounted(machine: Machine, path: str) -> str:
    return machine.run("findmnt", "--noheadings", "--output", "FSTYPE,OPTIONS", path).out


@one_release
@pytest.mark.parametrize("example", ["ebs-volume.yaml", "blank-disk.yaml"])
def test_one_disk(machine: Machine, disk: Callable[[], str], listed: Listing, example: str) -> None:
    machine.disks["sdf"] = disk()
    boot(machine, example)
    assert listing(machine.path("/data")) == listed
    assert mounted(machine, "/data").startswith("btrfs")
    # And again.
    machine.restart()
    assert machine.boot()["errors"] == []
    assert listing(machine.path("/data")) == listed


@one_release
def test_several(machine: Machine, ec2: Ec2Disks, listed: Listing) -> None:
    ec2.attach_volume("vol0123456789abcdef0")
    boot(machine, "several.yaml")
    assert listing(machine.path("/var/cache/app")) == listed
    assert sorted(p.name for p in machine.path("/srv/data").iterdir()) == ["share"]
    assert mounted(machine, "/srv/data").startswith("btrfs")


@one_release
def test_instance_store(machine: Machine, ec2: Ec2Disks, listed: Listing) -> None:
    disks = [ec2.attach_instance_store() for _ in range(2)]
    boot(machine, "instance-store.yaml")
    found = listing(machine.path("/scratch"))
    assert {n: f for n, f in found.items() if n != "."} == {n: f for n, f in listed.items() if n != "."}
    assert (found["."]["uid"], found["."]["gid"]) == (65534, 65534)
    assert "noatime" in mounted(machine, "/scratch")
    used = machine.run("btrfs", "filesystem", "show", "/scratch").out
    assert "Total devices 2" in used, used

    # Stopped and started: other disks, and empty.
    machine.stop()
    for each in disks:
        ec2.replace(each)
    machine.start()
    assert machine.boot()["errors"] == []
    assert listing(machine.path("/scratch")) == found


@one_release
def test_volumes(machine: Machine, disk: Callable[[], str], listed: Listing) -> None:
    machine.disks.update(sdf=disk(), sdg=disk())
    boot(machine, "volumes.yaml")
    for path in ("/data/one", "/data/two"):
        assert listing(machine.path(path)) == listed
    assert "RAID0" in machine.run("btrfs", "filesystem", "df", "/data").out


@one_release
def test_without_module(machine: Machine, disk: Callable[[], str], listed: Listing) -> None:
    """There is no systemd here to start the unit: its command is carried out instead."""
    machine.disks["sdf"] = disk()
    machine.start()
    machine.run("python3", "-B", "/root/cloud-init/install.py", "uninstall")
    asked = machine.path("/run/asked")
    machine.write("/usr/local/bin/systemctl", '#!/bin/sh\necho "$@" >>/run/asked\n', 0o755)
    result = machine.boot((CLOUD_INIT / "examples/without-module.yaml").read_text())
    assert result["errors"] == [], result
    assert asked.read_text() == "enable --now burst-restore@data.service\n"
    job = machine.path("/etc/burst/jobs/data.json")
    assert job.stat().st_mode & 0o777 == 0o600 and json.loads(job.read_text())["version"] == 1
    unit = (Path(CLOUD_INIT) / "systemd/burst-restore@.service").read_text()
    command = next(line for line in unit.splitlines() if line.startswith("ExecStart="))[len("ExecStart=") :]
    machine.run(*command.replace("%i", "data").split())
    assert listing(machine.path("/data")) == listed
