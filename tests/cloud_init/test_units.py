"""The units, judged by the systemd of each release, and the udev rule."""

import re

import pytest
from machine import Machine

UNITS = ("burst-restore@data.service", "burst-restore.target", "burst-attached.service")
# In tenths, as the systemd-analyze of each release reckons; less is better. Mounting for all to see allows no better one.
EXPOSURE = {"bookworm": 50, "trixie": 48, "forky": 48}


@pytest.fixture
def ready(machine: Machine) -> Machine:
    machine.start()
    machine.write("/etc/burst/jobs/data.json", "{}")
    return machine


@pytest.mark.parametrize("unit", UNITS)
def test_verify(ready: Machine, unit: str) -> None:
    done = ready.run("systemd-analyze", "verify", "--man=no", f"/usr/lib/systemd/system/{unit}", code=None)
    # It looks at all units that these need, and Debian's have their faults.
    assert done.code == 0 and "burst" not in done.out + done.err, done


def test_verify_finds(ready: Machine) -> None:
    """Whether the check above can fail."""
    path = "/usr/lib/systemd/system/burst-restore@.service"
    ready.write(path, ready.read(path).replace("ExecStart=burst", "ExecStart=burts"))
    done = ready.run("systemd-analyze", "verify", "--man=no", path.replace("@", "@data"), code=None)
    assert "burts" in done.out + done.err, done


def test_security(ready: Machine, suite: str) -> None:
    security = ["systemd-analyze", "security", "--offline=true", "--no-pager"]
    done = ready.run(*security, f"--threshold={EXPOSURE[suite]}", "burst-restore@data.service", code=None)
    assert done.code == 0, done
    assert re.search(r"Overall exposure level for burst-restore@data.service: [0-9.]+", done.out), done


def test_enabling(ready: Machine) -> None:
    """What `systemctl enable` makes of them: jobs belong to the target, the target to every boot."""
    ready.run("systemctl", "enable", "burst-restore@data.service")
    link = ready.path("/etc/systemd/system/burst-restore.target.wants/burst-restore@data.service")
    assert link.readlink().name == "burst-restore@.service"
    assert ready.run("systemctl", "is-enabled", "burst-restore.target").out.strip() == "enabled"


def test_udev_rule(ready: Machine, suite: str) -> None:
    if suite == "bookworm":
        # Its udevadm cannot check rules; it reads them when it tests a device, and complains.
        done = ready.run("udevadm", "test", "/devices/virtual/mem/null", code=None)
        assert "90-burst.rules" in done.out + done.err, done
        assert not re.search(r"90-burst.rules:\d+.*(nvalid|nknown|gnoring)", done.out + done.err), done
    else:
        ready.run("udevadm", "verify", "/usr/lib/udev/rules.d/90-burst.rules")
