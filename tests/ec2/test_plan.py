"""`burst plan`: what it says about machines, that what is given wins, that it writes nothing; and the report beside it."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from btrfs_volume import Volume, run
from burst import burst
from machine import instance, machine, on_volume

DISABLED = {"AWS_EC2_METADATA_DISABLED": "true"}


def plan(archive: Path, at: Path, *args: object, env: dict[str, str] | None = None, code: int = 0) -> dict:
    done = burst(
        "plan", "--json", "--machine", at, *args, archive, at / "target", env=DISABLED | (env or {}), code=code
    )
    return json.loads(done.out)


def test_what_it_says_about_an_instance(archive: Path, tmp: Path):
    found = plan(archive, on_volume(tmp, "m7i.large"))
    assert found["cpus"] == {"usable": 4, "online": 4, "quota": None}
    assert found["memory"] == {"total": 16 << 30, "available": 12 << 30, "limit": None}
    assert found["target"] == {
        "file_system": "btrfs",
        "mounted_at": "/",
        "devices": [
            {"name": "nvme1n1", "kind": "ebs", "volume": "vol-0123456789abcdef0", "model": None, "rotational": False}
        ],
    }
    assert found["encoded_writes"] is True
    choices = found["choices"]
    assert choices["disk"]["value"] == {"baseline": 81.25e6, "peak": 125e6}
    # The instance gives EBS 1250 MB/s, less than its network: 25 connections and 4 workers.
    assert (choices["target_gbps"]["value"], choices["in_flight"]["value"]) == (10.0, 29)
    assert choices["memory_mib"]["value"] == 6144
    assert all(choice["reason"] and choice["from"] for choice in choices.values())
    expected = found["expected"]
    assert expected["bound"] == "disk"
    assert expected["disk_seconds"] == pytest.approx(found["archive"]["data_bytes"] / 125e6)
    assert expected["seconds"] == expected["disk_seconds"] > expected["network_seconds"]


def test_the_text_says_the_same(archive: Path, tmp: Path):
    at = on_volume(tmp, "m7i.large")
    text = burst("plan", "--machine", at, archive, at / "target", env=DISABLED).out
    for part in (
        "m7i.large",
        "nvme1n1 (EBS vol-0123456789abcdef0)",
        "12.5 Gbit/s while credits last",
        "bound: disk 125",
    ):
        assert part in text, text
    assert not any(line.endswith(" ") for line in text.splitlines())


def test_a_machine_that_is_no_instance(archive: Path, tmp: Path):
    found = plan(archive, machine(tmp, {}))
    assert found["expected"]["bound"] is None and found["instance"] is None
    values = {name: (choice["value"], choice["from"]) for name, choice in found["choices"].items()}
    assert values == {
        "in_flight": (16, "default"),
        "workers": (4, "detected"),
        "request_size_mib": (8, "default"),
        "upload_part_mib": (8, "default"),
        "log": ("warn", "default"),
        "log_format": ("text", "default"),
    }


@pytest.mark.parametrize("kind", ["zz9.huge", "m7i.huge"])
def test_an_unknown_type(kind: str, archive: Path, tmp: Path):
    found = plan(archive, instance(tmp, kind))
    assert found["instance"]["type"] == kind and kind in found["notes"][0]
    assert found["choices"]["in_flight"]["value"] == 16 and found["choices"]["most_in_flight"]["value"] == 64
    # It has a budget of memory like every instance.
    assert found["choices"]["memory_mib"]["from"] == "detected"


def test_limits_of_a_control_group(archive: Path, tmp: Path):
    at = instance(
        tmp,
        "c7gn.4xlarge",
        {
            "proc/self/cgroup": "0::/a\n",
            "sys/fs/cgroup/a/cpu.max": "200000 100000\n",
            "sys/fs/cgroup/a/memory.max": str(512 << 20),
            "sys/fs/cgroup/a/memory.current": str(112 << 20),
        },
    )
    found = plan(archive, at)
    assert (found["cpus"]["usable"], found["choices"]["workers"]["value"]) == (2, 2)
    # Half of 400 MiB, less 56 for the program: 144 / 9.
    assert (found["choices"]["memory_mib"]["value"], found["choices"]["in_flight"]["value"]) == (200, 16)


def test_what_is_given_wins(archive: Path, tmp: Path):
    """Flag over environment over file over what is detected over default."""
    at, config = instance(tmp / "m", "m7i.large"), tmp / "config.toml"
    config.write_text("# mine\nin_flight = 50\nworkers = 5\nnetwork_gbps = 1.0\n")
    file, variable = {"BURST_CONFIG": str(config)}, {"BURST_IN_FLIGHT": "40"}

    def chosen(name: str, *args: object, env: dict[str, str]) -> tuple[object, str]:
        choice = plan(archive, at, *args, env=env)["choices"][name]
        return choice["value"], choice["from"]

    assert chosen("in_flight", env={}) == (36, "detected")
    assert chosen("in_flight", env=file) == (50, "config file")
    assert chosen("in_flight", env=file | variable) == (40, "environment")
    assert chosen("in_flight", "--in-flight", 30, env=file | variable) == (30, "flag")
    assert chosen("in_flight", "--no-detect", env={}) == (16, "default")
    assert chosen("workers", env=file | variable) == (5, "config file")
    assert chosen("network", env=file) == ({"baseline": 125e6, "peak": 125e6}, "config file")
    assert chosen("memory_mib", "--memory", 256, env={}) == (256, "flag")
    assert chosen("in_flight", "--memory", 256, env={}) == (22, "flag")
    assert chosen("request_size_mib", env={"BURST_REQUEST_SIZE_MIB": "32"}) == (32, "environment")


WRONG_FILES = {
    "unknown": ("workers = 2\n\nin_fligt = 3\n", "config.toml, line 3: unknown field `in_fligt`"),
    "table": ("[tuning]\nworkers = 2\n", "config.toml, line 1: unknown field `tuning`"),
    "type": ('workers = "two"\n', "config.toml, line 1: invalid type"),
    "range": ("in_flight = 4097\n", "config.toml: in_flight 4097: must be 1 to 4096"),
    "size": ("request_size_mib = 12\n", "must be 8 times a power of two"),
    "text": ("workers\n", "config.toml, line 1"),
}


@pytest.mark.parametrize("what", WRONG_FILES)
@pytest.mark.parametrize("command", ["plan", "restore", "verify"])
def test_wrong_files(what: str, command: str, archive: Path, tmp: Path):
    """Refused by every command that would heed it, before anything is done."""
    text, message = WRONG_FILES[what]
    (tmp / "config.toml").write_text(text)
    where = [] if command == "verify" else [tmp / "target"]
    done = burst(command, archive, *where, env={"BURST_CONFIG": str(tmp / "config.toml")}, code=2)
    assert message in done.err and len(done.err.splitlines()) == 1, done.err
    assert not (tmp / "target").exists()


def test_wrong_values_elsewhere(archive: Path, tmp: Path):
    done = burst("plan", archive, tmp, env={"BURST_WORKERS": "many"}, code=2)
    assert "BURST_WORKERS" in done.err
    done = burst("plan", archive, tmp, env={"BURST_DISK_MBPS": "-5"}, code=2)
    assert "BURST_DISK_MBPS -5: must be more than 0" in done.err
    done = burst("plan", archive, tmp, "--request-size", 24, code=2)
    assert "--request-size 24" in done.err
    done = burst("plan", archive, tmp, env={"BURST_CONFIG": str(tmp / "absent")}, code=10)
    assert "absent" in done.err
    done = burst("plan", archive, tmp, env={"BURST_MEMORY_MIB": "64"}, code=2)
    assert "at least 65 MiB" in done.err


def test_sources(archive: Path, tmp: Path):
    burst("plan", tmp / "absent", tmp, code=10)
    burst("plan", "-", tmp, code=2)
    (tmp / "other").write_bytes(b"not an archive" * 1000)
    burst("plan", tmp / "other", tmp, code=13)


def test_nothing_is_written(archive: Path, volume: Callable[..., Volume], tmp: Path):
    """Neither where the target is, nor where it will be."""
    at = volume().path
    run("sync", "-f", at)
    before = at.stat().st_mtime_ns, Path(at).stat().st_ctime_ns, os.listdir(at)
    for target in (at, at / "absent", at / "absent/too"):
        found = json.loads(burst("plan", "--json", archive, target).out)
        assert found["target"]["file_system"] == "btrfs" and found["target"]["mounted_at"] == str(at)
        assert [d["name"][:4] for d in found["target"]["devices"]] == ["loop"]
        assert found["encoded_writes"] is True
    assert (at.stat().st_mtime_ns, at.stat().st_ctime_ns, os.listdir(at)) == before


def test_other_file_systems_and_users(archive: Path, tmp: Path):
    found = json.loads(burst("plan", "--json", archive, "/proc").out)
    assert found["target"]["file_system"] == "proc" and "proc" in found["not_encoded"]
    archive.chmod(0o644)
    found = json.loads(burst("plan", "--json", "--machine", on_volume(tmp, "m7i.large"), archive, "/", user=65534).out)
    assert found["encoded_writes"] is True  # by the capabilities of the machine that is shown
    at = on_volume(tmp / "user", "m7i.large")
    (at / "proc/self/status").write_text("CapEff:\t0000000000000000\nCpus_allowed_list:\t0\n")
    assert "CAP_SYS_ADMIN" in plan(archive, at)["not_encoded"]


def test_the_report_says_the_bound(archive: Path, volume: Callable[..., Volume]):
    at = volume().path
    done = burst("restore", "--network-gbps", 0.001, archive, at / "a")
    # 125 kB/s cannot have been what held up a file on this machine: more than all was achieved.
    assert "bound: network 0.001 Gbit/s, achieved" in done.err
    assert "workers: " in done.err and "waiting for data" in done.err and "to finish" in done.err
    # What the CPU takes is an estimate, of which no share is told.
    done = burst("restore", "--network-gbps", 1000, archive, at / "c")
    assert "bound: CPU (an estimate) of 0.0" in done.err, done.err
    report = json.loads(burst("restore", "--json", "--disk-mbps", 100, "--network-gbps", 400, archive, at / "b").out)
    expected = report["expected"]
    assert expected["disk_seconds"] == pytest.approx(report["archive_bytes"] / 100e6)
    assert expected["bound"] == "disk"
    assert report["achieved"] == pytest.approx(expected["seconds"] / report["seconds"], rel=0.5)
    spent = report["seconds_of_workers"]
    parts = [spent[name] for name in ("waiting_for_data", "at_work", "waiting_for_disk", "waiting_for_cpu")]
    assert min(parts) >= 0 and 0 < sum(parts) <= spent["total"] * 1.000001


def test_no_bound_without_speeds(archive: Path, volume: Callable[..., Volume]):
    done = burst("restore", "--no-detect", archive, volume().path / "t")
    assert "bound:" not in done.err and "workers: " in done.err
    report = json.loads(burst("restore", "--no-detect", "--json", archive, volume().path / "t").out)
    assert report["achieved"] is None and report["expected"]["bound"] is None


def test_onto_a_blank_device(archive: Path, tmp: Path):
    """A plan knows a device when it sees one; the report of a file system that is made says the bound too."""
    with open(tmp / "disk", "wb") as f:
        f.truncate(600 << 20)
    device = run("losetup", "--find", "--show", tmp / "disk").strip()
    try:
        found = json.loads(burst("plan", "--json", archive, device).out)
        assert found["target"]["file_system"] is None and found["encoded_writes"] is True
        assert found["target"]["devices"][0]["name"] == Path(device).name
        report = json.loads(burst("restore", "--json", "--device", device, "--disk-mbps", 100, archive).out)
        assert report["expected"]["disk_seconds"] > 0 and report["seconds_of_workers"]["total"] > 0
        done = burst("restore", "--force", "--device", device, "--disk-mbps", 0.01, archive)
        assert "bound: disk 10.00 kB/s, achieved" in done.err and "workers: " in done.err
    finally:
        run("losetup", "--detach", device)
