"""What is seen of a run that goes on. It reads from a pipe that stays open until it was seen."""

import os
import pty
import select
import socket
import subprocess
import threading
from pathlib import Path

import pytest
import s3_server
from burst import program
from gate import Gate


def held(archive: Path, target: Path, *flags: str, env: dict[str, str] | None = None, stderr: int = subprocess.PIPE):
    """A restore that has got half of an archive, and that half and more to come."""
    process = subprocess.Popen(
        [program(), "restore", *flags, "-", target],
        env={k: v for k, v in {**os.environ, **(env or {})}.items() if k != "NO_COLOR"},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
    )
    content = archive.read_bytes()
    half = len(content) // 2
    process.stdin.write(content[:half])
    process.stdin.flush()
    return process, content[half:]


def finish(process: subprocess.Popen, rest: bytes) -> None:
    process.stdin.write(rest)
    process.stdin.close()
    process.stdin = None
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err


def test_lines_where_there_is_no_terminal(archive: Path, tmp: Path) -> None:
    process, rest = held(archive, tmp / "t", "--progress-interval", "1")
    line = process.stderr.readline().decode()
    assert line.startswith("restoring: (") and "B so far), " in line and line.endswith("/s\n")
    finish(process, rest)


def test_a_bar_on_a_terminal(archive: Path, tmp: Path) -> None:
    ours, theirs = pty.openpty()
    process, rest = held(archive, tmp / "t", env={"TERM": "xterm"}, stderr=theirs)
    os.close(theirs)
    seen = b""
    while b"B/s" not in seen:
        assert select.select([ours], [], [], 120)[0], f"no bar, but {seen!r}"
        seen += os.read(ours, 4096)
    # It may draw more than a terminal holds that nobody reads.
    drain = threading.Thread(target=read_to_end, args=(ours,))
    drain.start()
    finish(process, rest)
    drain.join()


@pytest.mark.parametrize(("environment", "colour"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_the_bar_has_no_colour_where_none_is_wanted(
    environment: dict[str, str], colour: bool, archive: Path, tmp: Path, s3s: s3_server.Server
) -> None:
    s3s.client.upload_file(str(archive), s3s.bucket, "held.zip")
    gate, (ours, theirs) = Gate(s3s.url), pty.openpty()
    gate.hold("held.zip")
    clean = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE")}
    there = {**s3s.environment, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{gate.port}", "TERM": "xterm"}
    command = [program(), "restore", f"s3://{s3s.bucket}/held.zip", tmp / "t"]
    process = subprocess.Popen(command, env={**clean, **there, **environment}, stderr=theirs)
    os.close(theirs)
    seen = b""
    while b" of " not in seen:
        assert select.select([ours], [], [], 120)[0], f"no bar, but {seen!r}"
        seen += os.read(ours, 4096)
    gate.open()
    drain = threading.Thread(target=read_to_end, args=(ours,))
    drain.start()
    assert process.wait(timeout=300) == 0
    drain.join()
    gate.close()
    assert (b"\x1b[36m" in seen) == colour, seen


def read_to_end(fd: int) -> None:
    try:
        while os.read(fd, 4096):
            pass
    except OSError:
        # Linux says that the other side is closed with EIO.
        pass
    os.close(fd)


def test_systemd_is_told_and_waits_longer_only_while_it_goes_on(archive: Path, tmp: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp / "notify"))
        listener.settimeout(300)
        process, rest = held(archive, tmp / "t", "--quiet", env={"NOTIFY_SOCKET": str(tmp / "notify")})
        told = b""
        while b"EXTEND_TIMEOUT_USEC=300000000" not in told:
            told += listener.recv(65536) + b"\n"
        assert b"STATUS=restoring: (" in told
        # Nothing more comes, and no more time is asked for: systemd ends what hangs.
        told = b""
        while told.count(b"STATUS=") < 3:
            told = (told + listener.recv(65536) + b"\n").rpartition(b"EXTEND_")[2]
        # systemd would go on reading; a full queue holds up who writes.
        reader = threading.Thread(target=drained, args=(listener, process), daemon=True)
        reader.start()
        finish(process, rest)
        reader.join()


def drained(listener: socket.socket, process: subprocess.Popen) -> None:
    listener.settimeout(0.2)
    while process.poll() is None:
        try:
            listener.recv(65536)
        except TimeoutError:
            continue


def test_nothing_if_it_is_quiet(archive: Path, tmp: Path) -> None:
    process, rest = held(archive, tmp / "t", "--quiet", "--progress-interval", "1")
    process.stdin.write(rest)
    process.stdin.close()
    process.stdin = None
    _, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (0, b"")
