"""`burst run`: a job has the same outcome at every boot."""

import json
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import s3_server
from archives import Archives
from btrfs_volume import Volume, run
from burst import burst, program, start
from disks import EBS, INSTANCE_STORE, Machine, mount_of
from listing import Listing, assert_same, listing

Listed = Callable[[str], Listing]


@pytest.fixture
def job(tmp: Path) -> Callable[..., Path]:
    """Writes a job file."""

    def write(**keys: object) -> Path:
        value = {"version": 1, "name": "data", **keys}
        (tmp / "job.json").write_text(json.dumps(value, default=str))
        return tmp / "job.json"

    return write


def done(*args: object, **kw) -> dict:
    return json.loads(burst("run", "--json", *args, **kw).out)


def test_onto_a_blank_disk(machine: Machine, made: Archives, listed: Listed, job, loop, tmp: Path):
    disk, at = loop(), tmp / "data"
    machine.add("nvme1n1", disk, EBS, "vol0123456789abcdef0", ec2_name="sdf")
    file = job(
        source=made.archive("kinds"), path=at, device="/dev/sdf", label="data", mount_options="noatime,compress=zstd:1"
    )
    first = done(*machine.flags, file)
    assert (first["state"], first["volume"]["made"], first["volume"]["label"]) == ("restored", True, "data")
    assert first["report"]["complete"] and first["report"]["files"] > 0
    assert_same(listed("kinds"), listing(at))
    for boots in range(2):
        if boots:
            run("umount", at)
        # Not even the archive is needed.
        again = done(*machine.flags, file, env={"AWS_ENDPOINT_URL": "http://127.0.0.1:1"})
        assert (again["state"], again["report"], again["volume"]["made"]) == ("nothing to do", None, False)
        assert mount_of(at)[0] == disk.device
        assert_same(listed("kinds"), listing(at))
    assert "nothing to do" in burst("run", *machine.flags, file).err
    # Another archive into the same place.
    file = job(source=made.archive("empty"), path=at, device="/dev/sdf", label="data")
    assert "kinds.zip" in burst("run", *machine.flags, file, code=19).err
    assert_same(listed("kinds"), listing(at))


def test_instance_store(machine: Machine, made: Archives, listed: Listed, job, loop, tmp: Path):
    """Empty after a stop: everything is restored again."""
    disks, at = [loop(), loop()], tmp / "scratch"
    for n, disk in enumerate(disks):
        machine.add(f"nvme{n + 1}n1", disk, INSTANCE_STORE, f"AWS{n:017}")
    file = job(source=made.archive("kinds"), path=at, device="instance-store")
    for _ in range(2):
        assert done(*machine.flags, file)["state"] == "restored"
        assert_same(listed("kinds"), listing(at))
        assert done(*machine.flags, file)["state"] == "nothing to do"
        run("umount", at)
        for disk in disks:
            disk.erase()


def test_sink_device(made: Archives, listed: Listed, job, loop, tmp: Path):
    """The file system itself is written; it is one of ours."""
    disk, at = loop(), tmp / "data"
    file = job(source=made.archive("kinds"), path=at, device=disk.device, sink="device", label="data")
    first = done(file)
    assert first["state"] == "restored" and first["volume"]["uuid"] == first["report"]["uuid"]
    assert (disk.probe()["LABEL"], disk.probe()["UUID"]) == ("data", first["volume"]["uuid"])
    assert_same(listed("kinds"), listing(at))
    assert done(file)["state"] == "nothing to do"
    run("umount", at)
    assert (done(file)["state"], at.stat().st_mode & 0o022) == ("nothing to do", 0)
    run("umount", at)
    assert at.stat().st_mode & 0o777 == 0o755
    run("btrfs", "check", "--readonly", disk.device)
    # A disk that holds something else, and two disks.
    other = loop()
    run("mkfs.ext4", "-q", other.device)
    before = other.digest()
    file = job(source=made.archive("kinds"), path=tmp / "other", device=other.device, sink="device", label="data")
    assert "ext4" in burst("run", file, code=19).err
    assert other.digest() == before


def test_sink_device_is_not_for_a_volume_without_a_restore(made: Archives, job, loop, tmp: Path):
    """Its file system would have to be written over; the exit code does not come without a word."""
    disk, at = loop(), tmp / "data"
    burst("volume", "prepare", disk.device, "--label", "data", "--mount", at)
    file = job(source=made.archive("kinds"), path=at, device=disk.device, sink="device", label="data")
    assert "without a complete restore" in burst("run", file, code=21).err


@pytest.mark.parametrize("sink", [None, "device", "mount"])
def test_what_blank_disks_become(
    sink: str | None, machine: Machine, made: Archives, listed: Listed, job, loop, tmp: Path
):
    """Unless something else is said, the file system is written; on several disks striped, and metadata twice."""
    disks, at = [loop(), loop(mib=420)], tmp / "m"
    for n, disk in enumerate(disks):
        machine.add(f"nvme{n + 1}n1", disk, INSTANCE_STORE, f"AWS{n:017}")
    file = job(source=made.archive("kinds"), path=at, device="instance-store", sink=sink)
    first = done(*machine.flags, file)
    assert (first["state"], first["volume"]["made"]) == ("restored", True)
    assert ("chunks" in first["report"]) == (sink != "mount"), first["report"]
    assert_same(listed("kinds"), listing(at))
    profiles = run("btrfs", "filesystem", "df", at)
    assert "Data, RAID0:" in profiles and "Metadata, RAID1:" in profiles, profiles
    assert done(*machine.flags, file)["state"] == "nothing to do"
    run("umount", at)
    assert done(*machine.flags, file)["state"] == "nothing to do"
    assert json.loads(burst("volume", "status", at, "--json", *machine.flags).out)["disks"] == 2
    run("umount", at)


def test_blank_disk_and_paths(made: Archives, job, loop, tmp: Path):
    """Only whole archives can be written as a file system; nothing that was asked for is lost."""
    disk, at = loop(), tmp / "data"
    file = job(source=made.archive("kinds"), path=at, device=disk.device, options={"paths": ["beta/deep"]})
    report = done(file)["report"]
    assert "chunks" not in report and sorted(p.name for p in at.iterdir()) == ["beta"]
    run("umount", at)


def test_a_volume_is_restored_into(made: Archives, listed: Listed, job, loop, tmp: Path):
    """Made before, by whatever: it is not made anew."""
    disk, at = loop(), tmp / "data"
    uuid = json.loads(burst("volume", "prepare", disk.device, "--mount", at, "--json").out)["uuid"]
    first = done(job(source=made.archive("kinds"), path=at, device=disk.device))
    assert (first["volume"]["uuid"], first["volume"]["made"]) == (uuid, False) and "chunks" not in first["report"]
    assert_same(listed("kinds"), listing(at))
    run("umount", at)


def test_into_a_directory(made: Archives, job, volume: Callable[..., Volume]):
    """Without a device: the directories above the target are made, and nothing is mounted."""
    target = volume().path / "a" / "b" / "c"
    file = job(source=made.archive("kinds"), path=target, owner="1234:5678")
    assert done(file)["volume"] is None
    assert (target.stat().st_uid, target.stat().st_gid) == (1234, 5678)
    assert target.parent.stat().st_mode & 0o777 == 0o755
    assert {p.name for p in target.iterdir()} == {"alpha", "beta", "zeta"}
    before = target.stat()
    assert done(file)["state"] == "nothing to do"
    assert target.stat().st_ctime_ns == before.st_ctime_ns
    os.chown(target, 0, 0)
    done(file)
    assert (target.stat().st_uid, target.stat().st_gid) == (1234, 5678)


def test_parts_of_an_archive(made: Archives, job, volume: Callable[..., Volume]):
    target = volume().path / "t"
    done(job(source=made.archive("kinds"), path=target, options={"paths": ["beta/deep"], "in_flight": 2}))
    assert sorted(p.name for p in target.iterdir()) == ["beta"]


def test_s3(s3s: s3_server.Server, made: Archives, listed: Listed, job, loop, tmp: Path):
    """Region and endpoint come from the job; a key that is not there is told before anything is restored."""
    options = {"region": "eu-west-1", "endpoint_url": s3s.url, "in_flight": 4, "memory_mib": 256}
    keys_only = {k: v for k, v in s3s.environment.items() if "KEY" in k or "METADATA" in k}
    s3s.client.upload_file(str(made.archive("kinds")), s3s.bucket, "kinds.zip")
    url = f"s3://{s3s.bucket}/kinds.zip"
    disk = loop()
    keys = {"path": tmp / "data", "device": disk.device, "options": options}
    error = burst("run", job(source=f"{url}.absent", **keys), env=keys_only, code=10).err
    assert "absent" in error and len([line for line in error.splitlines() if line.startswith("burst: ")]) == 1
    file = job(source=url, **keys)
    assert done(file, env=keys_only)["state"] == "restored"
    assert_same(listed("kinds"), listing(tmp / "data"))
    assert done(file)["state"] == "nothing to do"


def test_missing(made: Archives, job, tmp: Path, machine: Machine):
    burst("run", tmp / "absent.json", code=10)
    burst("run", job(source=tmp / "absent.zip", path=tmp / "t"), code=10)
    keys = {"source": made.archive("kinds"), "path": tmp / "t", "device": "vol-0123456789abcdef0"}
    assert "within 1 s" in burst("run", *machine.flags, job(**keys, wait_seconds=1), code=16).err
    assert not (tmp / "t").exists()


def test_waits(machine: Machine, made: Archives, listed: Listed, job, loop, tmp: Path):
    disk = loop()
    file = job(source=made.archive("kinds"), path=tmp / "t", device="vol-0123456789abcdef0")
    process = start("run", *machine.flags, file)
    assert b"data: waiting up to 300 s for vol-0123456789abcdef0" in process.stderr.readline()
    machine.add("nvme1n1", disk, EBS, "vol0123456789abcdef0")
    _, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert_same(listed("kinds"), listing(tmp / "t"))


def test_unfinished(made: Archives, listed: Listed, job, loop, tmp: Path):
    """Killed after some files: the next run goes on."""
    disk, at = loop(mib=600), tmp / "data"
    file = job(source=made.archive("boundaries"), path=at, device=disk.device)
    # So that the writes that are counted are not those of mkfs.btrfs.
    burst("volume", "prepare", disk.device, "--mount", at)
    strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=pwrite64"]
    inject = ["-e", "inject=pwrite64:signal=SIGKILL:when=40"]
    killed = subprocess.run([*strace, *inject, program(), "run", file], capture_output=True, check=False, timeout=120)
    assert killed.returncode == -9, killed.stderr
    assert (at / ".burst").is_dir()
    burst("run", file)
    assert_same(listed("boundaries"), listing(at))


def test_bad_jobs(made: Archives, job, loop, tmp: Path):
    """Nothing is touched, and the message names the key."""
    disk = loop()
    before = disk.digest()
    good = {"source": made.archive("kinds"), "path": tmp / "t", "device": disk.device}
    bad = {
        "version": 2,
        "name": "a/b",
        "source": "kinds.zip",
        "path": "t",
        "device": "disk 1",
        "wait_seconds": "long",
        "label": "x" * 256,
        "mount_options": 7,
        "sink": "tape",
        "owner": "no-such-user:root",
        "options": {"in_flght": 1},
        "options.in_flight": {"in_flight": 0},
        "options.memory_mib": {"memory_mib": "1G"},
        "options.paths": {"paths": [1]},
        "options.acl": {"acl": "drop"},
        "options.start_jitter_seconds": {"start_jitter_seconds": 100000},
        "surce": "x",
    }
    for key, value in bad.items():
        error = burst("run", job(**{**good, key.split(".")[0]: value}), code=2).err
        assert key.removeprefix("options.") in error or "in_flght" in error, error
        assert len(error.splitlines()) == 1 and "Hint: spec/job.md" in error, error
    for text in ("", "[]", "{", '{"version": 1', "\0", "null"):
        (tmp / "bad.json").write_text(text)
        assert "bad.json" in burst("run", tmp / "bad.json", code=2).err
    assert disk.digest() == before and not (tmp / "t").exists()
    assert mount_of(tmp / "t") is None


def test_systemd(made: Archives, job, tmp: Path, volume: Callable[..., Volume]):
    """READY=1 when all is done; what went wrong stands in the status, and then there is no READY."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp / "notify"))
        listener.settimeout(60)

        def told(code: int, **keys: object) -> list[str]:
            burst("run", job(**keys), env={"NOTIFY_SOCKET": str(tmp / "notify")}, code=code)
            found = []
            listener.setblocking(False)
            while True:
                try:
                    found.append(listener.recv(65536).decode().strip())
                except BlockingIOError:
                    return found

        target = volume().path / "t"
        good = told(0, source=made.archive("kinds"), path=target)
        assert good[-1] == "READY=1" and any("restoring" in line for line in good)
        bad = told(10, source=tmp / "absent\nREADY=1", path=tmp / "t")
        assert "absent" in bad[-1] and not any("READY" in line.splitlines()[-1][:5] for line in bad)
