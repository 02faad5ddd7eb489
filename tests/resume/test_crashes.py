"""A run that ends at any moment without a word: kill -9 here, power cuts in test_power.py. Then either the target says
that it is not complete, or it is exactly what it should be; and the same command makes it so."""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
from btrfs_volume import run
from burst import program
from conftest import FULL, SEED
from listing import assert_same, listing
from scene import COMPLETE, NOTHING, PATIENCE, UNFINISHED, Scene, calls_of, traced
from trees import MIB

# Where a run is killed is told by what it has done: bytes asked for, names created, calls made.
KILLS = 340 if FULL else 16
# In a row, before it may end.
MOST_IN_A_ROW = 4
CALLS = [
    "mkdirat", "openat", "openat2", "pwrite64", "ioctl", "fchown", "fchmod", "utimensat", "fsetxattr", "symlinkat", "linkat",
    "fchownat", "mknodat", "ftruncate", "unlinkat", "syncfs", "fremovexattr", "newfstatat", "setxattr",
]  # fmt: skip
# The calls of the end, all of which are tried.
LAST = [
    "symlinkat", "linkat", "fchown", "fchmod", "utimensat", "fsetxattr", "fremovexattr", "unlinkat", "syncfs", "fchownat",
    "setxattr",
]  # fmt: skip


def after(scene: Scene, target: Path, tree: str, killed: bool) -> str:
    """What a run that was killed leaves must be true."""
    code, status = scene.status(target)
    if code == COMPLETE:
        scene.check(target, tree)
    elif code == UNFINISHED:
        assert status["running"] in (False, None), status
        assert status["can_continue"] or not set(os.listdir(target)) - {".burst"}, status
    else:
        assert code == NOTHING and not (target.exists() and os.listdir(target)), (code, status)
    assert killed or code == COMPLETE, status
    return status["state"]


def names_in(target: Path) -> int:
    return sum(len(directories) + len(files) for _, directories, files in os.walk(target))


def kill_by_bytes(scene: Scene, target: Path, rng: random.Random) -> bool:
    _, status = scene.status(target)
    left = len(scene.archives["big"]) - status.get("parts_done", 0) * 8 * MIB
    code, _ = scene.kill_after(target, rng.randrange(1, max(2, left)))
    return code == -signal.SIGKILL


def kill_by_names(scene: Scene, target: Path, rng: random.Random) -> bool:
    wanted = rng.randrange(1, len(scene.trees["big"]))
    process = scene.start(target)
    while process.poll() is None and names_in(target) < wanted:
        time.sleep(0.001)
    process.kill()
    process.communicate()
    return process.returncode == -signal.SIGKILL


def kill_by_calls(scene: Scene, target: Path, rng: random.Random) -> bool:
    call = rng.choice(CALLS)
    number = int(2 ** rng.uniform(0, 9))
    code, _ = traced(
        scene.command(target), "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={number}",
        env=scene.server.environment,
    )  # fmt: skip
    return code != 0


def test_kill(scene: Scene):
    """Killed at random moments, up to four times in a row."""
    rng = random.Random(f"{SEED} kill")
    scene.server.serves(scene.archives["big"])
    kills, ends, skipped = Counter(), Counter(), scene.skipped
    while kills.total() < KILLS:
        target = scene.new_target()
        for _ in range(rng.randint(1, MOST_IN_A_ROW)):
            how = rng.choice([kill_by_bytes, kill_by_bytes, kill_by_names, kill_by_calls])
            killed = how(scene, target, rng)
            kills[how.__name__] += killed
            ends[after(scene, target, "big", killed)] += 1
        scene.restore(target)
        scene.check(target, "big")
        scene.remove(target)
    print(f"{dict(kills)} kills; then: {dict(ends)}; {scene.skipped - skipped} parts were not fetched again")
    assert scene.skipped > skipped, "no run found anything of the one before"


@pytest.mark.parametrize("before", ["at once", "continued"])
def test_between_the_last_steps(before: str, scene: Scene, tmp: Path):
    """Killed before each call that a small restore makes from its first link on; also in a run that continues one."""
    scene.server.serves(scene.archives["small"])

    def begun() -> Path:
        target = scene.new_target()
        if before == "continued":
            code, err = scene.kill_after(target, 17 * MIB, signal.SIGTERM, "--in-flight", "1")
            assert code == 143, err
        return target

    log = tmp / "calls"
    target = begun()
    code, err = traced(
        scene.command(target), "-y", "-o", str(log), "-e", "trace=" + ",".join(LAST), env=scene.server.environment
    )
    assert code == 0, err
    calls = calls_of(log, str(target))
    scene.remove(target)
    assert {"syncfs", "fsetxattr", "unlinkat", "fremovexattr"} <= set(calls), calls
    ends: Counter[str] = Counter()
    # Every second one of a run that continues is a sample.
    step = 2 if before == "continued" and not FULL else 1
    for call, numbers in calls.items():
        for number in numbers[::step]:
            target = begun()
            code, err = traced(
                scene.command(target), "-o", "/dev/null", "-e", f"trace={call}",
                "-e", f"inject={call}:signal=KILL:when={number}", env=scene.server.environment,
            )  # fmt: skip
            where = f"{call} number {number}"
            state = after(scene, target, "small", code != 0)
            if scene.status(target)[1].get("finishing"):
                state = "finishing"
            ends[state] += 1
            # Killed at the same place again: it must not stay there.
            if number == numbers[0]:
                scene.kill_after(target, 1)
                after(scene, target, "small", True)
            done, _ = scene.restore(target, code=None)
            assert done.code == 0, f"{where}: {done.err}"
            scene.check(target, "small")
            scene.remove(target)
    print(f"{ends.total()} calls: {dict(ends)}")
    assert ends["finishing"] > 2 and ends["unfinished"] > 2, ends


@pytest.mark.parametrize("kind", ["flipped", "cut"])
def test_damaged_journal(kind: str, scene: Scene):
    """A journal of which a bit is wrong, or the end is missing: never another tree."""
    scene.server.serves(scene.archives["small"])
    target = scene.new_target(subvolume=True)
    code, err = scene.kill_after(target, 17 * MIB, signal.SIGTERM, "--in-flight", "1")
    assert code == 143, err
    good = (target / ".burst/journal").read_bytes()
    rng = random.Random(f"{SEED} {kind}")
    places = range(len(good)) if FULL else sorted(rng.sample(range(len(good)), 10)) + [len(good) - 1]
    ends: Counter[int] = Counter()
    for place in places:
        copy = scene.new_target()
        run("btrfs", "-q", "subvolume", "snapshot", target, copy)
        bad = bytearray(good)
        if kind == "flipped":
            bad[place] ^= 1 << rng.randrange(8)
        else:
            del bad[place:]
        (copy / ".burst/journal").write_bytes(bad)
        done, report = scene.restore(copy, code=None)
        ends[done.code] += 1
        if done.code != 0:
            assert done.code == 19 and "journal is damaged" in done.err and "--restart" in done.err, done.err
            scene.restore(copy, "--restart")
        scene.check(copy, "small")
        run("btrfs", "-q", "subvolume", "delete", copy)
    run("btrfs", "-q", "subvolume", "delete", target)
    print(f"{kind} at {ends.total()} of {len(good)} places: {dict(ends)}")
    assert ends[0] and ends[19]


def test_as_a_user(scene: Scene):
    """Who is not root has closed directories and files for himself."""
    home = scene.path / "home"
    home.mkdir()
    (home / "big.zip").write_bytes(scene.archives["big"])
    # The build may lie where only its owner may go.
    copied = shutil.copy(program(), home)
    os.chown(home, 1000, 1000)

    def restore(target: Path, *before: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [*before, copied, "restore", "--json", "--checkpoint", "0.01", "--in-flight", "1", "--workers", "2", home / "big.zip", target],
            user=1000, group=1000, extra_groups=[], capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip

    whole = home / "whole"
    assert restore(whole).returncode == 0
    wanted = listing(whole)
    rng = random.Random(f"{SEED} user")
    there, killed = 0, 0
    for n in range(40 if FULL else 3):
        target = home / f"t{n}"
        # The time of a file is set when it is done.
        for call, least, most in (("utimensat", 40, 120), (rng.choice(["fchmod", "pwrite64", "symlinkat"]), 1, 60)):
            number = rng.randint(least, most)
            strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}"]
            killed += restore(target, *strace, "-e", f"inject={call}:signal=KILL:when={number}").returncode != 0
        done = restore(target)
        assert done.returncode == 0, done.stderr
        there += json.loads(done.stdout)["parts_there"]
        assert_same(wanted, listing(target))
        run("rm", "-rf", target)
    print(f"{killed} kills, {there} parts were not fetched again")
    assert killed
    run("rm", "-rf", home)
