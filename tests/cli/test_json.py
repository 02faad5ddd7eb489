"""--json: every field is in spec/json.md, and failures are objects too."""

import json
import os
import re
import stat
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
from burst import burst, snapshot
from disks import EBS, Loop, Machine
from test_progress import held

SPEC = (Path(__file__).parents[2] / "spec" / "json.md").read_text()
KINDS = {kind: int(code) for kind, code in re.findall(r"^\| `([a-z-]+)` \| (\d+) \|$", SPEC, re.MULTILINE)}


def documented(command: str) -> set[str]:
    """Names in the first column of the section of a command."""
    rows = re.findall(r"^\| (`.*?) \|", section_of(command), re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([a-z0-9_]+)`", row)}


def one(out: str) -> dict:
    """The only line of an output."""
    [line] = out.splitlines()
    return json.loads(line)


def section_of(command: str) -> str:
    sections = re.split(r"^## ", SPEC, flags=re.MULTILINE)
    [section] = [s for s in sections if command in s.split("\n", 1)[0].replace("`", "").split(", ")]
    return section


def below(value: object) -> set[str]:
    """Names of fields of what is in a report, at any depth."""
    if isinstance(value, list):
        return set().union(*map(below, value))
    if isinstance(value, dict):
        return set(value) | below(list(value.values()))
    return set()


def assert_documented(command: str, *reports: dict) -> None:
    """Together the reports have all fields that are documented, and no other."""
    fields = set().union(*reports) - {"schema"}
    assert fields == documented(command), command
    words = set(re.findall(r"`([a-z0-9_]+)`", section_of(command)))
    for report in reports:
        nested = {**report, "choices": list(report.get("choices", {}).values()), "xattrs_hex": None}
        # What other sections are about.
        others = {"volume", "report", "disks"} | ({"expected"} if command != "plan" else set())
        nested = {name: value for name, value in nested.items() if name not in others}
        assert below(list(nested.values())) <= words, command


@pytest.mark.parametrize("full", [False, True])
def test_nobody_takes_what_is_printed(full: bool, archive: Path, tmp: Path) -> None:
    """Standard output is a pipe whose reader is gone, or a file on a full disk: an exit code, and no panic."""
    target, missing = tmp / "t", tmp / "missing"
    took = {
        ("restore", "--json", archive, target): None,
        ("status", target): None,
        ("status", "--json", target): None,
        ("verify", archive): None,
        ("verify", "--json", archive): None,
        ("snapshot", "--json", target, tmp / "b.zip"): None,
        ("snapshot", "--dry-run", target, tmp / "c.zip"): None,
        ("volume", "list"): None,
        ("volume", "list", "--json"): None,
        # The code of the failure stays.
        ("verify", "--json", missing): KINDS["not-found"],
        ("restore", "--json"): KINDS["usage"],
    }
    for args, code in took.items():
        if full:
            output = os.open("/dev/full", os.O_WRONLY)
        else:
            reader, output = os.pipe()
            os.close(reader)
        done = burst(*args, stdout=output, code=code or KINDS["no-space" if full else "failure"])
        os.close(output)
        assert code or done.err.splitlines()[-1].startswith("burst: write to standard output: "), done.err


def test_restore_and_image(archive: Path, tmp: Path, loop: Callable[..., Loop]) -> None:
    mounted = one(burst("restore", "--json", archive, tmp / "t").out)
    again = one(burst("restore", "--json", archive, tmp / "t").out)
    device = one(burst("restore", "--json", "--device", loop(512).device, archive).out)
    image = one(burst("image", "--json", archive, tmp / "i.img", "--size", "512M").out)
    assert set(again) == set(mounted) < set(device)
    assert set(image) < set(device)
    assert_documented("restore", mounted, again, device, image)


def test_status(archive: Path, tmp: Path) -> None:
    burst("restore", "--quiet", archive, tmp / "t")
    complete = one(burst("status", "--json", tmp / "t").out)
    process, _ = held(archive, tmp / "u")
    running = {"state": "nothing"}
    while running["state"] != "unfinished":
        running = one(burst("status", "--json", tmp / "u", code=None).out)
    process.kill()
    process.communicate()
    assert_documented("status", complete, running, one(burst("status", "--json", tmp, code=10).out))


def test_verify_and_plan(archive: Path, tmp: Path, loop: Callable[..., Loop]) -> None:
    assert_documented("verify", one(burst("verify", "--json", "--content", archive).out))
    flags = ("--network-gbps", "1", "--disk-mbps", "100", "--memory", "512", "--network-interface", "lo")
    plans = [
        burst("plan", "--json", *more, archive, target).out for more, target in [((), tmp), (flags, loop().device)]
    ]
    assert_documented("plan", *map(one, plans))


def test_snapshot_and_ls(tmp: Path) -> None:
    tree = tmp / "tree"
    tree.mkdir()
    (tree / "file").write_text("content")
    (tree / "name").hardlink_to(tree / "file")
    os.setxattr(tree / "file", "user.a", b"b")
    os.mknod(tree / "device", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    Path(os.fsdecode(os.fsencode(tree) + b"/\xff")).write_bytes(b"")
    made = one(snapshot(tree, tmp / "a.zip", "--json").out)
    survey = one(burst("snapshot", "--json", "--dry-run", tree, tmp / "b.zip").out)
    assert set(survey) < set(made)
    assert_documented("snapshot", made, survey)
    assert_documented("ls", *map(json.loads, burst("ls", "--json", tmp / "a.zip").out.splitlines()))


def test_volume_and_run(archive: Path, machine: Machine, loop: Callable[..., Loop], tmp: Path) -> None:
    disk, at = loop(512), tmp / "data"
    machine.add("nvme1n1", disk, EBS, "vol0123456789abcdef0", ec2_name="sdf")
    [listed] = json.loads(burst("volume", "list", "--json", *machine.flags).out)
    assert_documented("volume list", listed)
    job = {"version": 1, "name": "data", "source": str(archive), "path": str(at), "device": "/dev/sdf", "label": "data"}
    (tmp / "job.json").write_text(json.dumps(job))
    runs = [one(burst("run", "--json", *machine.flags, tmp / "job.json").out) for _ in range(2)]
    assert_documented("run", *runs)
    assert [run["state"] for run in runs] == ["restored", "nothing to do"]
    # What is in it is what the other commands print.
    assert set(runs[0]["report"]) <= documented("restore")
    for command in ("prepare", "mount"):
        arguments = ("--json", *machine.flags, "/dev/sdf", "--label", "data", "--mount", at)
        volume = one(burst("volume", command, *arguments).out)
        assert_documented("volume prepare", volume)
        assert set(volume) - {"schema"} == set(runs[1]["volume"])
        assert all(set(each) <= set(listed) for each in volume["disks"])
    assert_documented("volume status", one(burst("volume", "status", "--json", at).out))


def test_failures_are_documented(tmp: Path) -> None:
    failed = one(burst("verify", "--json", tmp / "absent", code=10).out)
    rows = re.findall(r"^\| `error\.([a-z_]+)` \|", section_of("Failures"), re.MULTILINE)
    assert set(failed["error"]) == set(rows)


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("usage", ["restore", "--no-such-flag"]),
        ("usage", ["restore", "-", "{tmp}/t", "--label", "x"]),
        ("usage", ["restore", "{archive}", "{tmp}/t", "--timeline", "a.png"]),
        ("not-found", ["restore", "{tmp}/absent.zip", "{tmp}/t"]),
        ("not-found", ["restore", "{archive}", "{tmp}/t", "--timeline", "{tmp}/absent/a.svg"]),
        ("not-found", ["verify", "{tmp}/absent.zip"]),
        ("corrupt", ["ls", "{tmp}/garbage"]),
        ("corrupt", ["image", "{tmp}/garbage", "{tmp}/i.img", "--size", "512M"]),
        ("target-in-use", ["restore", "{archive}", "{tmp}"]),
        ("target-in-use", ["snapshot", "{tmp}", "{tmp}/garbage"]),
    ],
)
def test_a_failure_is_an_object(kind: str, arguments: list[str], archive: Path, tmp: Path) -> None:
    (tmp / "garbage").write_bytes(b"garbage" * 10_000)
    done = burst(*(a.format(tmp=tmp, archive=archive) for a in arguments), "--json", code=KINDS[kind])
    report = one(done.out)
    assert set(report) == {"schema", "error"} and report["schema"] == 1
    error = report["error"]
    assert set(error) == {"kind", "exit_code", "message", "causes", "hint"}
    assert (error["kind"], error["exit_code"]) == (kind, KINDS[kind])
    assert error["message"] and error["message"] in done.err
    assert not (tmp / "t").exists()


@pytest.mark.parametrize(
    ("arguments", "stdin", "code", "hint"),
    [
        (["verify", "{tmp}/absent.zip"], None, 10, "spelling of the path"),
        (["restore", "{tmp}/garbage", "{tmp}/t"], None, 13, "check the name"),
        (["restore", "-", "{tmp}/t"], "garbage", 13, "what writes into the pipe"),
        (["restore", "-", "{tmp}/t"], "empty", 13, "what writes into the pipe"),
        (["restore", "{tmp}/damaged", "{tmp}/t"], None, 13, "`burst verify`"),
        (["verify", "{tmp}/damaged"], None, 13, "copy it anew"),
        (["restore", "{archive}", "{tmp}/t", "--path", "absent"], None, 10, "`burst ls`"),
        (["volume", "prepare", "vol-00000000000000000", "--label", "x"], None, 10, "wait_seconds"),
        (["image", "{archive}", "{tmp}/image", "--size", "1M"], None, 15, "--size"),
    ],
)
def test_a_hint_is_about_what_was_given(
    arguments: list[str], stdin: str | None, code: int, hint: str, archive: Path, tmp: Path
) -> None:
    """Where there is no object, nothing is said of regions; where there is no archive, nothing of verifying it."""
    damaged = bytearray(archive.read_bytes())
    damaged[20 << 20] ^= 1
    for name, content in {"garbage": b"garbage" * 10_000, "empty": b"", "damaged": damaged}.items():
        (tmp / name).write_bytes(content)
    with (tmp / stdin).open() if stdin else nullcontext() as given:
        done = burst(*(a.format(tmp=tmp, archive=archive) for a in arguments), "--json", stdin=given, code=code)
    said = one(done.out)["error"]["hint"]
    assert hint in said and said in done.err
    assert "region" not in said and ("verify" in said) == ("verify" in hint)


def test_status_answers_once(tmp: Path) -> None:
    assert one(burst("status", "--json", tmp, code=10).out) == {"schema": 1, "state": "nothing"}


def test_without_json_a_failure_prints_nothing_on_standard_output(tmp: Path) -> None:
    done = burst("verify", tmp / "--json", code=10)
    assert done.out == "" and done.err.count("\n") == 1
    assert done.err.startswith("burst: open ") and "Hint: check the spelling" in done.err


def test_an_archive_on_standard_output_stays_one(tmp: Path) -> None:
    done = burst("snapshot", "--json", tmp / "absent", "-", code=10)
    assert done.out == ""
    assert json.loads(done.err.splitlines()[-1])["error"]["kind"] == "not-found"
