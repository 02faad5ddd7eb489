"""First boot, failures, and the boots after it, as cloud-init runs them."""

import json
import stat
from collections.abc import Callable

import pytest
from conftest import BUCKET
from listing import Listing, listing
from machine import Machine
from s3_server import KEY, SECRET, Server

CANARIES = ("QUERYCANARY", "USERCANARY", "KEYCANARY", SECRET)

# Three work, and two do not: one that matters and one that does not.
USER_DATA = """\
#cloud-config
burst:
  defaults:
    options: {endpoint_url: "%(url)s"}
  restores:
    - source: s3://my-bucket/late.zip
      path: /srv/late
    - source: s3://my-bucket/none.zip?versionId=QUERYCANARY
      path: /srv/versions
      required: false
    - source: s3://my-bucket/data.zip
      device: /dev/sdf
      path: /data
      order: 7
    - source: s3://my-bucket/data.zip
      path: /srv/plain
      name: named
      order: -7
    - source: s3://my-bucket/data.zip
      path: /srv/part
      options: {region: us-east-1, paths: [share]}
"""


@pytest.fixture
def late(s3s: Server):
    """Puts the archive that is missing at first."""
    yield lambda: s3s.client.copy_object(
        Bucket=BUCKET, Key="late.zip", CopySource={"Bucket": BUCKET, "Key": "data.zip"}
    )
    s3s.client.delete_object(Bucket=BUCKET, Key="late.zip")


def test_boots(
    machine: Machine, disk: Callable[[], str], s3s: Server, listed: Listing, late: Callable[[], None]
) -> None:
    machine.disks["sdf"] = disk()
    machine.start()

    # The first boot: what fails does not stop the others, and is told as one sentence.
    result = machine.boot(USER_DATA % {"url": s3s.url})
    assert len(result["errors"]) == 1, result
    error = result["errors"][0]
    assert "burst: 1 of 5 failed: /srv/late: " in error, error
    assert "s3://my-bucket/late.zip" in error and "(exit code 10)." in error, error
    status = machine.run("cloud-init", "status", "--long", code=None)
    assert status.code == 1 and "status: error" in status.out, status
    assert error.split("failed: ")[1].split("'")[0] in " ".join(status.out.split()), status
    assert "burst: optional: /srv/versions: " in machine.logs()
    for path in ("/data", "/srv/plain"):
        assert listing(machine.path(path)) == listed, path
    assert sorted(p.name for p in machine.path("/srv/part").iterdir()) == ["share"]
    assert not machine.path("/srv/late/share").exists()
    found = machine.run("findmnt", "--noheadings", "--output", "FSTYPE,SOURCE", "/data").out.split()
    assert found == ["btrfs", "/dev/sdf"]

    # The jobs: one each, in order, for root alone.
    jobs = {p.name: p for p in machine.path("/run/burst").glob("*.json")}
    assert set(jobs) == {"srv-late.json", "srv-versions.json", "data.json", "named.json", "srv-part.json"}
    assert stat.S_IMODE(machine.path("/run/burst").stat().st_mode) == 0o700
    assert {stat.S_IMODE(p.stat().st_mode) for p in jobs.values()} == {0o600}
    assert json.loads(jobs["srv-part.json"].read_text()) == {
        "version": 1,
        "name": "srv-part",
        "source": "s3://my-bucket/data.zip",
        "path": "/srv/part",
        "options": {"endpoint_url": s3s.url, "region": "us-east-1", "paths": ["share"]},
    }
    written = sorted(jobs, key=lambda name: jobs[name].stat().st_mtime_ns)
    assert written == ["named.json", "srv-late.json", "srv-versions.json", "srv-part.json", "data.json"]
    no_secrets(machine, result, status.out)
    # What cloud-init says of keys that it does not know, older and newer versions.
    assert "Invalid cloud-config" not in machine.logs() and "failed schema validation" not in machine.logs()

    # The second boot, with the archive there: only that is restored.
    before = {path: state_of(machine, path) for path in ("/srv/plain", "/srv/part")}
    late()
    machine.restart()
    result = machine.boot()
    assert result["errors"] == [], result
    for path in ("/srv/late", "/data", "/srv/plain"):
        assert listing(machine.path(path)) == listed, path
    assert before == {path: state_of(machine, path) for path in before}
    status = machine.run("cloud-init", "status", "--long", code=None)
    # An optional restore still fails; newer versions say so with another exit code.
    assert status.code in (0, 2) and "status: done" in status.out, status

    # The third: nothing is left to do.
    before = {path: state_of(machine, path) for path in ("/srv/plain", "/srv/late", "/data")}
    machine.restart()
    result = machine.boot()
    assert result["errors"] == [], result
    assert before == {path: state_of(machine, path) for path in before}


def state_of(machine: Machine, path: str) -> dict:
    """Numbers and change times of inodes: any write shows."""
    root = machine.path(path)
    return {str(p.relative_to(root)): (s.st_ino, s.st_ctime_ns) for p in root.rglob("*") for s in [p.lstat()]}


def no_secrets(machine: Machine, result: dict, status: str) -> None:
    shown = machine.logs() + json.dumps(result) + status + "".join(d.out + d.err for d in machine.console)
    # What others than root may read; the user-data itself is for root.
    for path in machine.path("/run/cloud-init").glob("*.json"):
        shown += path.read_text() if path.stat().st_mode & 0o077 else ""
    for canary in (*CANARIES, KEY):
        assert canary not in shown, next(line for line in shown.splitlines() if canary in line)


@pytest.mark.parametrize(
    ("section", "sentences"),
    [
        # One bad entry costs itself only, and no value is shown.
        (
            """{restores: [{source: "s3://my-bucket/data.zip", path: /srv/good},
                           {source: "https://USERCANARY:x@host/?QUERYCANARY", path: /srv/bad, secret_key: KEYCANARY}]}""",
            [
                "1 of 2 failed",
                "burst.restores[1].source: must be s3://bucket/key",
                "burst.restores[1].secret_key: is not",
            ],
        ),
        ("{restores: [], default: {x: KEYCANARY}}", ["burst.restores: must be a list", "burst.default: is not known"]),
        ("[KEYCANARY]", ["burst: must hold `restores`"]),
        (
            "{restores: [{source: /none.zip, path: /srv/a-b}, {source: /none.zip, path: /srv/a/b}]}",
            ["2 of 2 failed", "/none.zip", "the name srv-a-b is taken by /srv/a-b"],
        ),
    ],
)
def test_bad_configuration(machine: Machine, section: str, sentences: list[str]) -> None:
    machine.start()
    machine.write("/etc/cloud/cloud.cfg.d/60_burst.cfg", f"burst: {section}\n")
    done = machine.single()
    assert done.code == 1, done
    for sentence in sentences:
        assert sentence in machine.logs(), machine.logs()[-3000:]
    for canary in CANARIES:
        assert canary not in machine.logs() + done.out + done.err
    assert machine.path("/srv/good/large").exists() == ("good" in section)


def test_absent_volume(machine: Machine) -> None:
    """What belongs on a volume that is not there must not fill the disk below."""
    machine.start()
    machine.write(
        "/etc/cloud/cloud.cfg.d/60_burst.cfg",
        """\
burst:
  defaults: {wait_seconds: 0}
  volumes: [{devices: [vol-0123456789abcdef0], path: /a, wait_seconds: 0}]
  restores:
    - {source: "s3://my-bucket/data.zip", path: /a/sub}
    - {source: "s3://my-bucket/data.zip", path: /b/sub}
    - {source: "s3://my-bucket/data.zip", path: /b, device: /dev/sdz, order: -1}
    - {source: "s3://my-bucket/data.zip", path: /bb}
""",
    )
    assert machine.single().code == 1
    logs = machine.logs()
    assert "burst: 4 of 5 failed: /a: " in logs, logs[-3000:]
    for path in ("/a/sub", "/b/sub"):
        assert f"{path}: not restored, because the volume that it belongs on is not there" in logs
        assert not machine.path(path).exists()
    assert machine.path("/bb/large").exists()


def test_vendor_data(machine: Machine, s3s: Server, listed: Listing) -> None:
    """What an operator says for all machines holds beside a user's own; on a key that both have, the user wins."""
    machine.start()
    section = "{restores: [{source: 's3://my-bucket/data.zip', path: %s, options: {endpoint_url: '%s'}}]}"
    vendor = "#cloud-config\nburst: " + section % ("/srv/vendor", s3s.url) + "\n"
    machine.write("/var/lib/cloud/seed/nocloud/vendor-data", vendor)
    assert machine.boot("#cloud-config\nwrite_files: [{path: /srv/own}]\n")["errors"] == []
    assert listing(machine.path("/srv/vendor")) == listed
    assert machine.path("/srv/own").exists()

    machine.restart()
    assert machine.boot("#cloud-config\nburst: " + section % ("/srv/user", s3s.url) + "\n", "i-2")["errors"] == []
    assert listing(machine.path("/srv/user")) == listed
    jobs = {p.name for p in machine.path("/run/burst").glob("*.json")}
    assert jobs == {"srv-user.json"}


def test_nothing_configured(machine: Machine) -> None:
    machine.start()
    result = machine.boot("#cloud-config\n{}\n")
    assert result["errors"] == [], result
    assert not machine.path("/run/burst").exists()


def test_no_program(machine: Machine) -> None:
    machine.start()
    machine.path("/usr/local/bin/burst").unlink()
    machine.write("/etc/cloud/cloud.cfg.d/60_burst.cfg", "burst: {restores: [{source: /a.zip, path: /srv/a}]}\n")
    assert machine.single().code == 1
    assert "/srv/a: the program `burst` is not installed in " in machine.logs()
