"""What the program does in each state that a target can be in, and what `burst status` says of it."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from btrfs_volume import run
from burst import Done, burst, snapshot, start, stop
from listing import assert_same, below, listing
from scene import COMPLETE, IN_USE, NOTHING, PATIENCE, SOURCE, UNFINISHED, Scene
from trees import MIB, noise

HALF = 60 * MIB


@pytest.fixture
def at(scene: Scene):
    """A fresh target, and the server as it should be."""
    scene.server.serves(scene.archives["big"])
    target = scene.new_target()
    yield target
    scene.server.open.set()
    scene.remove(target)


def wait_for(condition: Callable[[], bool], process: subprocess.Popen) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.005)


def broken_off(scene: Scene, target: Path, sent: int = HALF) -> dict:
    """A restore that was stopped by SIGTERM: its status, with at least a part."""
    code, err = scene.kill_after(target, sent, signal.SIGTERM, "--in-flight", "1")
    assert code == 143, (code, err)
    code, status = scene.status(target)
    assert code == UNFINISHED and status["parts_done"] > 0, status
    return status


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_keeps_what_is_there(how: int, scene: Scene, at: Path):
    code, err = scene.kill_after(at, HALF, how)
    assert code == 128 + how, err
    assert err.count("\n") == 1 and "signal" in err
    code, status = scene.status(at)
    assert code == UNFINISHED and not status["running"] and status["can_continue"]
    assert 0 < status["parts_done"] < status["parts"]
    _, report = scene.restore(at)
    assert report["parts_there"] == status["parts_done"] and report["continued"]
    assert report["parts_there"] + report["parts"] == status["parts"]
    scene.check(at, "big")


def test_status_at_each_stage(scene: Scene, at: Path):
    assert scene.status(at) == (NOTHING, {"schema": 1, "state": "nothing"})
    at.mkdir()
    assert scene.status(at)[0] == NOTHING
    scene.server.open.clear()
    process = scene.start(at)
    try:
        wait_for(lambda: (at / "6").exists(), process)
        code, status = scene.status(at)
        assert code == UNFINISHED and status["running"] and status["parts_done"] == 0
        assert status["archive"] == SOURCE and status["begun"] > 1_700_000_000
        text = burst("status", at, code=UNFINISHED)
        assert "being restored" in text.out and SOURCE in text.out and not text.err
        # Nor may the second restore disturb the first.
        for options in ((), ("--into-existing",), ("--restart",)):
            done, _ = scene.restore(at, *options, code=IN_USE)
            assert "running" in done.err
        scene.server.open.set()
        out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, err
    finally:
        stop(process)
    code, status = scene.status(at)
    assert code == COMPLETE and status["state"] == "complete" and status["version"]
    assert status["entries"] == len(scene.trees["big"]) - 1
    text = burst("status", at)
    assert "complete" in text.out and SOURCE in text.out
    scene.check(at, "big")


def untouched(root: Path) -> dict:
    return {p: (s.st_ino, s.st_ctime_ns, s.st_mtime_ns) for p in [root, *root.rglob("*")] for s in [p.lstat()]}


def test_complete_is_left_alone(scene: Scene, at: Path):
    scene.server.serves(scene.archives["small"])
    scene.restore(at)
    before, mark = untouched(at), os.getxattr(at, "user.burst.restored")
    _, report = scene.restore(at)
    assert report["was_complete"] and report["parts"] == 0
    done = burst("restore", scene.path / "small.zip", at)
    assert "complete already" in done.err
    assert before == untouched(at) and mark == os.getxattr(at, "user.burst.restored")
    # Another archive, or another piece of it.
    done, _ = scene.restore(at, "--path", "c", code=IN_USE)
    assert "complete" in done.err
    done = burst("restore", scene.path / "other.zip", at, code=IN_USE)
    assert "complete" in done.err and "--into-existing" in done.err
    burst("restore", "--restart", scene.path / "other.zip", at, code=IN_USE)
    assert before == untouched(at)
    # Merged, it is the other one.
    burst("restore", "--into-existing", scene.path / "other.zip", at)
    scene.check(at, "other")
    # Who empties it wants it filled again.
    for entry in at.iterdir():
        run("rm", "-rf", entry)
    assert scene.status(at)[0] == NOTHING
    scene.restore(at)
    scene.check(at, "small")


def test_another_object_is_refused(scene: Scene, at: Path):
    scene.server.serves(scene.archives["small"])
    broken_off(scene, at, 17 * MIB)
    before = untouched(at)
    scene.server.serves(scene.archives["other"])
    done, _ = scene.restore(at, code=IN_USE)
    assert "part map" in done.err and "--restart" in done.err
    scene.server.serves(scene.archives["big"])
    assert "bytes long" in scene.restore(at, code=IN_USE)[0].err
    scene.server.serves(scene.archives["small"], etag="another")
    assert "ETag" in scene.restore(at, code=IN_USE)[0].err
    for option, named in ((("--path", "c"), "--path"), (("--into-existing",), "--into-existing")):
        scene.server.serves(scene.archives["small"])
        done, _ = scene.restore(at, *option, code=IN_USE)
        assert named in done.err and "--restart" in done.err, done.err
    changed = untouched(at)
    assert {p for p in before if before[p] != changed.get(p)} <= {at / ".burst", at / ".burst/lock"}
    # Begun anew, nothing of it is left.
    scene.server.serves(scene.archives["other"])
    _, report = scene.restore(at, "--restart")
    assert report["parts_there"] == 0 and not report["continued"]
    scene.check(at, "other")


def test_the_same_archive_from_elsewhere_goes_on(scene: Scene, at: Path):
    scene.server.serves(scene.archives["small"])
    status = broken_off(scene, at, 17 * MIB)
    done = burst("restore", "--json", scene.path / "small.zip", at)
    assert json.loads(done.out)["parts_there"] == status["parts_done"]
    scene.check(at, "small")


def test_a_selection_goes_on(scene: Scene, at: Path):
    paths = ("--path", "3", "--path", "5")
    whole = scene.new_target()
    scene.restore(whole, *paths)
    scene.server.serves(scene.archives["big"])
    process = scene.start(at, *paths)
    wait_for(lambda: scene.server.sent >= 30 * MIB, process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE)
    if process.returncode == 143:
        code, status = scene.status(at)
        assert code == UNFINISHED
        _, report = scene.restore(at, *paths)
        assert report["parts_there"] == status["parts_done"]
    found = listing(at)
    for prefix in ("3", "5"):
        assert_same(below(scene.trees["big"], prefix), below(found, prefix))
    assert_same(listing(whole), found, ("mtime_ns",))
    scene.remove(whole)


def test_into_existing_goes_on_and_keeps_what_was_there(scene: Scene, at: Path):
    (at / "3").mkdir(parents=True)
    (at / "3/mine").write_bytes(b"mine")
    (at / "mine").write_bytes(b"mine")
    process = scene.start(at, "--into-existing")
    wait_for(lambda: scene.server.sent >= HALF, process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE)
    if process.returncode == 143:
        # It would empty what is not ours.
        done, _ = scene.restore(at, "--restart", code=IN_USE)
        assert "--restart --into-existing" in done.err
        _, report = scene.restore(at, "--into-existing")
        assert report["parts_there"] > 0
    for name in ("3/mine", "mine"):
        assert (at / name).read_bytes() == b"mine"
        (at / name).unlink()
    found, wanted = listing(at), dict(scene.trees["big"])
    # Their times changed just now.
    for path in (".", "3"):
        found[path], wanted[path] = {}, {}
    assert_same(wanted, found)


def test_restart_into_existing_keeps_what_was_there(scene: Scene, at: Path):
    at.mkdir()
    (at / "mine").write_bytes(b"mine")
    scene.server.serves(scene.archives["small"])
    process = scene.start(at, "--into-existing")
    wait_for(lambda: scene.server.sent >= 9 * MIB, process)
    stop(process)
    scene.server.serves(scene.archives["other"])
    scene.restore(at, "--restart", "--into-existing")
    assert (at / "mine").read_bytes() == b"mine"
    (at / "mine").unlink()
    os.utime(at, ns=(1, scene.trees["other"]["."]["mtime_ns"]))
    scene.check(at, "other")


def test_restart_empties_only_what_is_ours(scene: Scene, at: Path, tmp: Path):
    scene.server.serves(scene.archives["small"])
    at.mkdir()
    (at / "mine").write_bytes(b"mine")
    done, _ = scene.restore(at, "--restart", code=IN_USE)
    assert "not empty" in done.err and os.listdir(at) == ["mine"]
    # The state of another user.
    (at / ".burst").mkdir()
    os.chown(at / ".burst", 1000, 1000)
    done, _ = scene.restore(at, "--restart", code=IN_USE)
    assert "belongs to user 1000" in done.err and (at / "mine").exists()
    scene.remove(at)
    # A file system that is mounted below, and links to elsewhere.
    broken_off(scene, at, 17 * MIB)
    outside = tmp / "outside"
    outside.mkdir()
    (outside / "canary").write_bytes(b"sings")
    (at / "c/to").symlink_to(outside)
    (at / "z-mount").mkdir()
    run("mount", "-t", "tmpfs", "tmpfs", at / "z-mount")
    try:
        (at / "z-mount/kept").write_bytes(b"kept")
        done = burst("restore", "--restart", scene.path / "small.zip", at, code=1)
        assert "mount point" in done.err, done.err
        assert (at / "z-mount/kept").read_bytes() == b"kept"
        # What is half empty is not continued.
        assert "no journal" in scene.restore(at, code=IN_USE)[0].err or os.listdir(at) == [".burst", "z-mount"]
    finally:
        run("umount", at / "z-mount")
    scene.restore(at, "--restart")
    scene.check(at, "small")
    assert (outside / "canary").read_bytes() == b"sings"


def test_a_pipe_begins_anew(scene: Scene, at: Path):
    process = start("restore", "-", at)
    process.stdin.write(scene.archives["small"][: 12 * MIB])
    process.stdin.flush()
    wait_for(lambda: (at / "a").exists(), process)
    stop(process)
    code, status = scene.status(at)
    assert code == UNFINISHED and not status["can_continue"]
    assert "--restart" in burst("status", at, code=UNFINISHED).out

    def pipe(*options: str, code: int) -> Done:
        with open(scene.path / "small.zip", "rb") as f:
            return burst("restore", *options, "-", at, stdin=f, code=code)

    assert "--restart" in pipe(code=IN_USE).err
    scene.server.serves(scene.archives["small"])
    assert "--restart" in scene.restore(at, code=IN_USE)[0].err
    pipe("--restart", code=0)
    scene.check(at, "small")
    assert pipe(code=IN_USE) and scene.status(at)[0] == COMPLETE


def test_begun_but_nothing_done(scene: Scene, at: Path):
    """Broken off before anything was created: whatever comes next may begin."""
    scene.server.serves(scene.archives["small"])
    at.mkdir()
    for left in (b"", b"BURSTJNL"):
        (at / ".burst").mkdir(0o700)
        (at / ".burst/journal").write_bytes(left)
        scene.restore(at)
        scene.check(at, "small")
        scene.remove(at)
        at.mkdir()


@pytest.mark.parametrize("left", [(), ("lock",), ("lock", "journal")], ids=["made", "locked", "begun"])
def test_what_was_there_is_kept_whatever_was_begun(left: tuple[str, ...], scene: Scene, at: Path):
    """Broken off (full disk, kill -9) before anything but its state was created, or not even our state: nothing says that
    the target was empty, so nothing is removed."""
    scene.server.serves(scene.archives["small"])
    (at / "mine").mkdir(parents=True)
    (at / "mine/file").write_bytes(b"mine")
    (at / ".burst").mkdir(0o700)
    for name in left:
        (at / ".burst" / name).touch()
    done, _ = scene.restore(at, "--restart", code=IN_USE)
    assert "--restart --into-existing" in done.err
    done, _ = scene.restore(at, code=IN_USE)
    assert "--restart --into-existing begins anew, and keeps" in done.err
    scene.restore(at, "--restart", "--into-existing")
    assert (at / "mine/file").read_bytes() == b"mine"
    (at / "mine/file").unlink()
    (at / "mine").rmdir()
    os.utime(at, ns=(1, scene.trees["small"]["."]["mtime_ns"]))
    scene.check(at, "small")


def test_a_file_that_was_exchanged_is_not_written(scene: Scene, at: Path, tmp: Path):
    """Someone puts another file where a part of one is in place: refused, and nothing is written to it."""
    scene.server.serves(scene.archives["small"])
    shutil.copy(scene.path / "small.zip", tmp / "a.zip")
    canary = at.parent / "canary"
    for what in ("link", "hard link", "fifo", "nothing"):
        broken_off(scene, at, 9 * MIB)
        canary.write_bytes(b"sings")
        if scene.status(at)[1]["parts_done"] == 1:
            (at / "a").unlink()
            if what == "link":
                (at / "a").symlink_to(canary)
            elif what == "hard link":
                (at / "a").hardlink_to(canary)
            elif what == "fifo":
                os.mkfifo(at / "a")
            done, _ = scene.restore(at, code=IN_USE)
            assert "--restart" in done.err and f"{at}/a" in done.err, done.err
            assert canary.read_bytes() == b"sings"
            scene.restore(at, "--restart")
            scene.check(at, "small")
        scene.remove(at)
        canary.unlink()


def test_a_file_that_is_not_writable_goes_on(scene: Scene, at: Path, tmp: Path):
    """Not as root: it is made writable for that, and has its mode in the end."""
    (tmp / "tree").mkdir()
    (tmp / "tree/a").write_bytes(noise(60 * MIB))
    (tmp / "tree/a").chmod(0o400)
    snapshot(tmp / "tree", tmp / "a.zip")
    scene.server.serves((tmp / "a.zip").read_bytes())
    broken_off(scene, at, 9 * MIB)
    nobody = 65534
    run("chown", "-R", f"{nobody}:{nobody}", at)
    done = burst(*scene.command(at), env=scene.server.environment, user=nobody)
    assert json.loads(done.out)["continued"]
    assert (at / "a").stat().st_mode & 0o7777 == 0o400
    assert (at / "a").read_bytes() == noise(60 * MIB)
