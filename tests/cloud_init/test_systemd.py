"""The units, run by the systemd of each release: what it shows, waits for, ends, and tries again."""

import json
import os
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from burst import snapshot
from conftest import BUCKET, counter
from gate import PART, Gate
from listing import Listing, listing
from s3_server import Server
from systemd_machine import SystemdMachine

NEEDS_IT = """\
[Unit]
Requires=burst-restore@%(name)s.service
After=burst-restore@%(name)s.service burst-restore.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=burst status %(path)s
"""


@pytest.fixture
def host(work: Path, image: list[Path], s3s: Server) -> Iterator[SystemdMachine]:
    """Switched off, so that it can be given disks."""
    machine = SystemdMachine(work / f"systemd{next(counter)}", image)
    yield machine
    machine.close()


@pytest.fixture(scope="session")
def parts(work: Path, s3s: Server) -> str:
    """The name of an archive of five parts."""
    (work / "parts").mkdir()
    for n in range(4):
        (work / f"parts/noise{n}").write_bytes(os.urandom(PART))
    snapshot(work / "parts", work / "parts.zip")
    s3s.client.upload_file(str(work / "parts.zip"), BUCKET, "parts.zip")
    return f"s3://{BUCKET}/parts.zip"


@pytest.fixture
def gate(s3s: Server) -> Iterator[Gate]:
    gate = Gate(s3s.url)
    yield gate
    gate.close()


def job(host: SystemdMachine, s3s: Server, seconds: int = 0, **keys: object) -> str:
    """Writes a job; gives the name of its unit. `seconds` is how long its start may take without any progress."""
    name = str(keys.setdefault("name", "data"))
    host.write(f"/etc/burst/jobs/{name}.json", json.dumps({"version": 1, **keys}), 0o600)
    settings = "[Service]\n" + "".join(f"Environment={k}={v}\n" for k, v in s3s.environment.items())
    host.write(
        f"/etc/systemd/system/burst-restore@{name}.service.d/test.conf",
        settings + (f"TimeoutStartSec={seconds}\nTimeoutStopSec=2\n" if seconds else ""),
    )
    host.run("systemctl", "daemon-reload")
    return f"burst-restore@{name}.service"


def assert_complete(host: SystemdMachine, unit: str) -> None:
    """It is active from when it says so; a moment later the process has ended."""
    assert host.show(unit)["ActiveState"] == "active", host.show(unit)
    host.until(lambda: host.state(unit) == "active (exited)", "the end of the process")


def test_a_slow_one(host: SystemdMachine, s3s: Server, gate: Gate, parts: str) -> None:
    """How far it is can be seen; what is ordered after it waits; and it may take longer than a start may take."""
    host.start()
    gate.pause = 2.0
    options = {"endpoint_url": f"http://127.0.0.1:{gate.port}", "in_flight": 1}
    unit = job(host, s3s, 6, name="slow", source=parts, path="/srv/slow", options=options)
    host.write("/etc/systemd/system/needs-it.service", NEEDS_IT % {"name": "slow", "path": "/srv/slow"})
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "enable", unit)
    host.run("systemctl", "start", "--no-block", "burst-restore.target", "needs-it.service")

    seen, states = set(), set()

    def told() -> bool:
        # These first: what is seen of the unit after them was so before.
        others = host.state("needs-it.service"), host.state("burst-restore.target")
        shown = host.show(unit)
        seen.add(shown["StatusText"])
        states.add((shown["ActiveState"], *others))
        return shown["ActiveState"] != "activating"

    host.until(lambda: "%" in host.show(unit)["StatusText"], "a percentage")
    person = host.run("systemctl", "status", unit, code=None).out
    assert re.search(r'Status: "restoring: \d+ % \(.* of .*, \d of \d parts\)', person), person
    host.until(told, "the end")
    assert_complete(host, unit)
    percents = {int(found[1]) for text in seen if (found := re.search(r"(\d+) %", text))}
    assert len(percents) >= 2, seen
    waiting = {state for state in states if state[0] == "activating"}
    assert waiting == {("activating", "inactive (dead)", "inactive (dead)")}, states
    host.until(lambda: host.state("needs-it.service") == "active (exited)", "what needs it")
    assert host.state("burst-restore.target") == "active (active)"
    shown = host.show(unit)
    took = int(shown["ActiveEnterTimestampMonotonic"]) - int(shown["InactiveExitTimestampMonotonic"])
    assert took > 8e6, f"{took} us: it had to take longer than TimeoutStartSec"
    assert (shown["StatusText"], shown["NRestarts"]) == ("done", "0")


def test_stopped_and_started(host: SystemdMachine, s3s: Server, gate: Gate, parts: str) -> None:
    """In the middle: it goes on where it was. When all is there: nothing is done, and it is active again."""
    host.start()
    gate.pause = 3.0
    options = {"endpoint_url": f"http://127.0.0.1:{gate.port}", "in_flight": 1}
    unit = job(host, s3s, source=parts, path="/srv/data", options=options)
    host.run("systemctl", "start", "--no-block", unit)
    host.until(lambda: "%" in host.show(unit)["StatusText"], "a percentage")
    host.run("systemctl", "stop", unit)
    assert host.state(unit) == "inactive (dead)", host.show(unit)
    gate.pause = 0.0
    host.run("systemctl", "start", unit)
    assert_complete(host, unit)
    gate.asked.clear()
    host.run("systemctl", "restart", unit)
    assert_complete(host, unit)
    assert not [first for _, first in gate.asked if first], gate.asked
    assert "nothing to do" in host.run("journalctl", "--no-pager", "-u", unit).out


def test_one_that_hangs(host: SystemdMachine, s3s: Server, parts: str) -> None:
    """It is ended, and tried again."""
    host.start()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        options = {"endpoint_url": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        unit = job(host, s3s, 4, source=parts, path="/srv/data", options=options)
        host.run("systemctl", "start", unit, code=1)
        assert host.show(unit)["Result"] == "timeout"
        assert host.state(unit) == "activating (auto-restart)"
        assert "start operation timed out" in host.run("journalctl", "--no-pager", "-u", unit).out
        # So is a person told.
        told = host.show(unit)["StatusText"]
        assert "s3://" in told and "waiting for an answer" in told, told
    host.run("systemctl", "stop", unit)


def test_failures(host: SystemdMachine, s3s: Server) -> None:
    """What may go away is tried again; what does not is not."""
    host.start()
    unit = job(host, s3s, name="none", source=f"s3://{BUCKET}/none.zip", path="/srv/none")
    host.write("/etc/systemd/system/needs-it.service", NEEDS_IT % {"name": "none", "path": "/srv/none"})
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "start", "needs-it.service", code=1)
    assert host.state("needs-it.service") == "inactive (dead)"
    assert host.state(unit) == "activating (auto-restart)"
    assert "NoSuchKey" in host.show(unit)["StatusText"]
    # What a new disk does: at once.
    s3s.client.copy_object(Bucket=BUCKET, Key="none.zip", CopySource={"Bucket": BUCKET, "Key": "data.zip"})
    try:
        host.run("systemctl", "start", "burst-attached.service")
        host.until(lambda: host.state(unit) == "active (exited)", "the second try")
    finally:
        s3s.client.delete_object(Bucket=BUCKET, Key="none.zip")
    host.run("systemctl", "start", "needs-it.service")

    unit = job(host, s3s, name="wrong", source="data.zip", path="/srv/wrong")
    host.run("systemctl", "start", unit, code=1)
    assert host.state(unit) == "failed (failed)" and host.show(unit)["ExecMainStatus"] == "2"


def test_a_disk(host: SystemdMachine, s3s: Server, disk: Callable[[], str], listed: Listing) -> None:
    """With all that the unit forbids: a blank disk is made a volume, mounted for all, filled; also at the next boot."""
    host.disks.update(sdf=disk(), sdg=disk())
    host.start()
    source = f"s3://{BUCKET}/data.zip"
    units = [
        job(host, s3s, name="one", source=source, device="/dev/sdf", path="/one", owner="65534:65534"),
        job(host, s3s, name="two", source=source, device="/dev/sdg", path="/two", sink="mount"),
    ]
    host.run("systemctl", "enable", *units)
    host.run("systemctl", "start", "burst-restore.target", *units)
    found = {path: listing(host.path(path)) for path in ("/one", "/two")}
    assert found["/two"] == listed
    assert {n: f for n, f in found["/one"].items() if n != "."} == {n: f for n, f in listed.items() if n != "."}

    host.restart()
    host.run("systemctl", "start", "burst-restore.target")
    assert {path: listing(host.path(path)) for path in found} == found
    for unit in units:
        assert_complete(host, unit)
        assert "nothing to do" in host.run("journalctl", "--no-pager", "-b", "-u", unit).out
