"""Runs the program. BURST names its executable."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

ARCHIVE_ID = "000102030405060708090a0b0c0d0e0f"
TIMEOUT = 600


@dataclass
class Done:
    code: int
    out: str
    err: str


def program() -> str:
    path = os.environ.get("BURST", str(Path(__file__).parents[2] / "target/release/burst"))
    assert os.access(path, os.X_OK), f"no program at {path}: cargo build --release, or name it in BURST"
    return path


def burst(
    *args: object,
    env: dict[str, str] | None = None,
    stdin: IO | None = None,
    stdout: IO | int | None = None,
    code: int | None = 0,
    user: int | None = None,
) -> Done:
    """Runs it and asserts its exit code, and that it never panicked."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    with tempfile.TemporaryFile() as err, tempfile.TemporaryFile() as out, tempfile.TemporaryDirectory() as shared:
        executable = program()
        if user:
            # The build may lie where only its owner may go.
            os.chmod(shared, 0o755)
            executable = shutil.copy(executable, shared)
        process = subprocess.run(
            [executable, *map(os.fspath, map(plain, args))],
            env={**clean, **(env or {})},
            stdin=stdin or subprocess.DEVNULL,
            stdout=stdout or out,
            stderr=err,
            timeout=TIMEOUT,
            check=False,
            user=user,
            group=user,
            extra_groups=[] if user else None,
        )
        done = Done(process.returncode, text(out), text(err))
    shown = " ".join(ascii(plain(a)) for a in args)
    assert "panicked" not in done.err, f"burst {shown}: {done.err}"
    assert code in (None, done.code), f"burst {shown}: exit code {done.code}, not {code}\n{done.err[-3000:]}"
    return done


def plain(argument: object) -> str | bytes:
    return argument if isinstance(argument, bytes) else str(argument)


def text(f: IO) -> str:
    f.seek(0)
    return f.read().decode(errors="replace")


def start(*args: object, env: dict[str, str] | None = None) -> subprocess.Popen:
    """Runs it in the background; the caller ends it."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    return subprocess.Popen(
        [program(), *map(str, args)],
        env={**clean, **(env or {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def stop(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def terminate(process: subprocess.Popen, once: Callable[[], object]) -> None:
    """SIGTERM as soon as `once` says so; it ends as is documented."""
    try:
        while not once():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 128 + signal.SIGTERM
    finally:
        stop(process)


def snapshot(source: Path, dest: object, *args: object, **kw) -> Done:
    """Always with the same archive identifier, so that equal trees give equal bytes."""
    return burst("snapshot", "--archive-id", ARCHIVE_ID, *args, source, dest, **kw)
