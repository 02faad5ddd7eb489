"""-v, --log-format: what a run decides and does, as lines for people or for a log collector, and never a secret."""

import json
import re
import subprocess
import threading
from datetime import datetime
from pathlib import Path

import pytest
import s3_server
from burst import burst
from test_json import documented
from test_progress import finish, held

SECRET = "c2VjcmV0LW9mLXRoZS1sb2c"
JSON = {"BURST_LOG_FORMAT": "json"}


def lines(err: str) -> list[dict]:
    """Standard error, of which each line must be an object of the documented form."""
    found = [json.loads(line) for line in err.splitlines()]
    for line in found:
        assert list(line)[:3] == ["timestamp", "level", "message"], line
        assert line["timestamp"].endswith("Z") and datetime.fromisoformat(line["timestamp"][:-1])
        assert line["level"] in {"ERROR", "WARN", "INFO", "DEBUG"} and line["message"]
        assert set(line) <= documented("Log lines"), line
    return found


def test_decisions_and_parts(archive: Path, tmp: Path) -> None:
    once, twice = burst("restore", "-v", archive, tmp / "a"), burst("-vv", "restore", archive, tmp / "b")
    for what in ["workers", "in_flight", "request_size_mib", "a fresh restore", "decompressed", "all parts"]:
        assert what in once.err and what in twice.err
    for what in ["parts requested", "parts arrived", "part done"]:
        assert what not in once.err and what in twice.err
    assert re.search(r"^\d{4}-\d\d-\d\dT[0-9:.]+Z INFO ", once.err, re.MULTILINE)
    assert once.out == twice.out == ""
    again = burst("restore", "-v", archive, tmp / "a").err
    assert "all of it is there" in again
    # None of it where nobody asks.
    assert "INFO" not in burst("restore", archive, tmp / "c").err


def test_each_line_is_an_object(archive: Path, tmp: Path) -> None:
    garbage = tmp / "garbage"
    garbage.write_bytes(b"garbage" * 10_000)
    tree = tmp / "tree"
    tree.mkdir()
    (tree / "f").write_bytes(b"x" * 100_000)
    (tree / "left\nout").write_bytes(b"")
    runs = [
        (0, ["restore", archive, tmp / "t"]),
        (0, ["restore", archive, tmp / "t"]),
        (0, ["restore", "--start-jitter", "1s", "--path", "d0", archive, tmp / "v"]),
        (0, ["verify", archive]),
        (0, ["image", archive, tmp / "i.img", "--size", "512M"]),
        (0, ["snapshot", "--exclude", "left*", tree, tmp / "b.zip"]),
        (0, ["snapshot", tree, "-"]),
        (0, ["snapshot", "--dry-run", tree, "-"]),
        (0, ["plan", archive, tmp / "u"]),
        (0, ["ls", archive]),
        (0, ["volume", "list"]),
        (0, ["status", tmp / "t"]),
        (10, ["status", "--json", tmp]),
        (10, ["restore", tmp / "absent", tmp / "w"]),
        (13, ["ls", garbage]),
        (19, ["snapshot", tree, garbage]),
        (2, ["restore", "--no-such-flag"]),
        (2, ["run", garbage]),
    ]
    for code, arguments in runs:
        found = lines(burst("-vv", "--log-format", "json", *arguments, code=code).err)
        failed = [line for line in found if line["level"] == "ERROR"]
        assert [line["exit_code"] for line in failed] == [code] * bool(code), arguments
    warned = lines(burst("restore", archive, tmp / "x", env=JSON).err)
    assert any(line["level"] == "WARN" and "decompressed" in line["message"] for line in warned)
    assert lines(burst("restore", "--log-format", "json", "--help").err) == []


def test_progress_is_an_object_too(archive: Path, tmp: Path) -> None:
    process, rest = held(archive, tmp / "t", "--progress-interval", "1", env=JSON)
    [line] = lines(process.stderr.readline().decode())
    assert line["message"].startswith("restoring: (") and line["bytes_done"] > 0
    finish(process, rest)


def test_a_flag_wins_over_the_environment_over_the_file(archive: Path, tmp: Path) -> None:
    config = tmp / "config.toml"
    config.write_text('log = "debug"\nlog_format = "json"\n')
    file = {"BURST_CONFIG": str(config)}

    def log_of(*flags: str, **env: str) -> tuple[dict, dict]:
        done = burst("plan", *flags, "--json", archive, tmp / "t", env={**file, **env})
        choices = json.loads(done.out)["choices"]
        return tuple((choices[name]["value"], choices[name]["from"]) for name in ("log", "log_format"))

    assert log_of() == (("debug", "config file"), ("json", "config file"))
    assert log_of(BURST_LOG="info", BURST_LOG_FORMAT="text") == (("info", "environment"), ("text", "environment"))
    flags = log_of("-v", "--log-format", "json", BURST_LOG="debug", BURST_LOG_FORMAT="text")
    assert flags == (("info", "flag"), ("json", "flag"))
    file["BURST_CONFIG"] = "/dev/null"
    assert log_of() == (("warn", "default"), ("text", "default"))
    [line] = lines(burst("ls", archive, env={**JSON, "BURST_LOG": "loud"}, code=2).err)
    assert line["message"] == 'BURST_LOG: "loud" is not warn, info or debug'


def test_the_file_is_read_once(archive: Path, tmp: Path) -> None:
    """A pipe gives what it has only once: to the log and to the tuning."""
    config = tmp / "config.toml"
    subprocess.run(["mkfifo", config], check=True)
    writer = threading.Thread(target=config.write_text, args=('workers = 3\nlog = "info"\n',), daemon=True)
    writer.start()
    done = burst("plan", "--json", archive, tmp / "t", env={"BURST_CONFIG": str(config)})
    choices = json.loads(done.out)["choices"]
    assert [(choices[name]["value"], choices[name]["from"]) for name in ("workers", "log")] == [
        (3, "config file"),
        ("info", "config file"),
    ]


@pytest.mark.parametrize("command", ["restore", "verify", "snapshot", "image", "run"])
def test_quiet_and_verbose_exclude_each_other(command: str, archive: Path, tmp: Path) -> None:
    arguments = {"run": [archive], "verify": [archive], "image": [archive, tmp / "t", "--size", "512M"]}
    done = burst("-v", command, "--quiet", *arguments.get(command, [archive, tmp / "t"]), code=2)
    assert "'--quiet' cannot be used with '--verbose'" in done.err
    assert not (tmp / "t").exists()


def test_quiet_wins_over_the_environment(archive: Path, tmp: Path) -> None:
    assert burst("restore", "--quiet", archive, tmp / "t", env={"BURST_LOG": "debug"}).err == ""


def test_no_secret_is_logged(archive: Path, tmp: Path, s3s: s3_server.Server) -> None:
    s3s.client.upload_file(str(archive), s3s.bucket, "log.zip")
    name = f"s3://{s3s.bucket}/log.zip"
    signed = f"X-Amz-Credential=AKIA%2Fus-east-1&X-Amz-Security-Token={SECRET}&X-Amz-Signature={SECRET}"
    session = {**s3s.environment, "AWS_SESSION_TOKEN": SECRET}
    nobody = {**session, "AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_SECRET_ACCESS_KEY": SECRET}
    runs = [
        (0, ["restore", name, tmp / "t"], s3s.environment),
        (None, ["verify", name], session),
        (None, ["verify", name], {**session, "AWS_SECRET_ACCESS_KEY": SECRET}),
        (None, ["snapshot", tmp / "t" / "d0", f"s3://{s3s.bucket}/made.zip"], session),
        (None, ["verify", "--stall-timeout", "1", name], nobody),
        (2, ["restore", f"{s3s.url}/{s3s.bucket}/log.zip?{signed}", tmp / "u"], session),
        (2, ["restore", f"{name}?{signed}", tmp / "u"], session),
        (2, ["restore", "--endpoint-url", f"http://user:{SECRET}@127.0.0.1:1", name, tmp / "u"], session),
        (2, ["restore", "--endpoint-url", f"{s3s.url}?{signed}", name, tmp / "u"], session),
    ]
    for log in ["text", "json"]:
        for code, arguments, environment in runs:
            done = burst("-vv", "--log-format", log, *arguments, env=environment, code=code)
            said = done.out + done.err
            assert said and SECRET not in said and s3_server.SECRET not in said, arguments
    assert "the environment" in burst("verify", "-v", name, env=s3s.environment).err


def test_retries_tell_cause_and_delay(archive: Path) -> None:
    dead = {**JSON, "AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": SECRET}
    failed = lines(burst("verify", "-v", "s3://bucket/key", env={**dead, "AWS_MAX_ATTEMPTS": "3"}, code=18).err)
    attempts = [line for line in failed if "attempt" in line]
    assert [line["attempt"] for line in attempts] == [1, 2, 3]
    assert all("refused" in line["cause"] and line["seconds_to_wait_at_most"] > 0 for line in attempts)
