"""--json: every field is in spec/json.md, and failures are objects too."""

import json
import re
from pathlib import Path

import pytest
from burst import burst, snapshot

SPEC = (Path(__file__).parents[2] / "spec" / "json.md").read_text()
KINDS = {kind: int(code) for kind, code in re.findall(r"^\| `([a-z-]+)` \| (\d+) \|$", SPEC, re.MULTILINE)}


def documented(command: str) -> set[str]:
    """Names in the first column of the section of a command."""
    sections = re.split(r"^## ", SPEC, flags=re.MULTILINE)
    [section] = [s for s in sections if command in s.split("\n", 1)[0].replace("`", "").split(", ")]
    rows = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([a-z0-9_]+)`", row)}


def one(out: str) -> dict:
    """The only line of an output."""
    [line] = out.splitlines()
    return json.loads(line)


def test_every_field_is_documented(archive: Path, tmp: Path) -> None:
    reports = {
        "restore": one(burst("restore", "--json", archive, tmp / "t").out),
        "status": one(burst("status", "--json", tmp / "t").out),
        "verify": one(burst("verify", "--json", "--content", archive).out),
        "plan": one(burst("plan", "--json", archive, tmp / "u").out),
        "snapshot": one(snapshot(tmp / "t" / "d0", tmp / "b.zip", "--json").out),
        "image": one(burst("image", "--json", archive, tmp / "i.img", "--size", "512M").out),
    }
    for command, report in reports.items():
        assert report["schema"] == 1, command
        assert set(report) - {"schema"} <= documented(command), command
    for line in burst("ls", "--json", archive).out.splitlines():
        assert set(json.loads(line)) <= documented("ls")
    # What has to be there for these to be what the specification says.
    assert {"seconds", "parts", "archive_bytes"} <= set(reports["restore"])


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


def test_status_answers_once(tmp: Path) -> None:
    assert one(burst("status", "--json", tmp, code=10).out) == {"schema": 1, "state": "nothing"}


def test_without_json_a_failure_prints_nothing_on_standard_output(tmp: Path) -> None:
    done = burst("verify", tmp / "--json", code=10)
    assert done.out == "" and done.err.count("\n") == 1


def test_an_archive_on_standard_output_stays_one(tmp: Path) -> None:
    done = burst("snapshot", "--json", tmp / "absent", "-", code=10)
    assert done.out == ""
    assert json.loads(done.err.splitlines()[-1])["error"]["kind"] == "not-found"
