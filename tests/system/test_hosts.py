"""Snapshots of trees that are in use: one moment of a BTRFS, and what goes in."""

import itertools
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from btrfs_volume import Volume, run
from burst import burst, program, snapshot
from listing import assert_same, listing
from trees import MIB, noise, prose

AREA = ".burst-snapshots"
PATIENCE = 120


@pytest.fixture
def live(volume: Callable[..., Volume]) -> Path:
    """The top level of a new BTRFS."""
    return volume(gib=1, options="compress=zstd").path


def names(archive: Path) -> set[str]:
    return {json.loads(line)["path"] for line in burst("ls", "--json", archive).out.splitlines()}


def subvolumes(path: Path) -> list[str]:
    """Of our snapshots."""
    return [line for line in run("btrfs", "subvolume", "list", path).splitlines() if AREA in line]


def assert_clean(path: Path) -> None:
    assert not (path / AREA).exists()
    assert subvolumes(path) == []


def summary(done) -> dict:
    return json.loads(done.out)


def until(what: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.01)


def tree(root: Path) -> None:
    """Every kind of entry, in and beside a nested subvolume."""
    (root / "d/empty").mkdir(parents=True)
    (root / "d/prose").write_bytes(prose(3 * MIB))
    (root / "noise").write_bytes(noise(MIB))
    (root / "large").write_bytes(prose(17 * MIB))
    os.link(root / "d/prose", root / "linked")
    (root / "link").symlink_to("d/prose")
    os.mkfifo(root / "fifo")
    os.setxattr(root / "d", "user.x", b"of d")
    with open(root / "holes", "wb") as f:
        f.truncate(5 * MIB)
        f.seek(MIB)
        f.write(b"data")
    run("btrfs", "subvolume", "create", root / "nested")
    (root / "nested/inside").write_bytes(b"inside")
    os.setxattr(root / "nested", "user.y", b"of nested")
    os.chmod(root / "nested", 0o701)
    os.utime(root / "nested", ns=(1, 1_600_000_000_123_456_789))
    os.chmod(root, 0o750)
    os.setxattr(root, "user.root", b"of the root")
    os.utime(root, ns=(1, 1_500_000_000_987_654_321))
    run("sync", "-f", root)


@pytest.fixture(scope="module")
def still(work: Path) -> Iterator[Path]:
    """A tree in a subvolume, and the same in the top level; something is mounted over a file in it."""
    v = Volume(work / "still", options="compress=zstd")
    run("btrfs", "subvolume", "create", v.path / "s")
    for root in (v.path, v.path / "s"):
        tree(root)
        (root / "mounted").mkdir()
        (root / "mounted/hidden").write_bytes(b"hidden")
        os.utime(root, ns=(1, 1_500_000_000_987_654_321))
        run("sync", "-f", root)
        run("mount", "-t", "tmpfs", "none", root / "mounted")
        (root / "mounted/visible").write_bytes(b"visible")
    yield v.path
    for root in (v.path, v.path / "s"):
        run("umount", root / "mounted")
    v.close()


SOURCES = {
    "top": ([""], 1),
    "subvolume": (["s"], 1),
    "inside": (["s/d"], 1),
    "file": (["s/large"], 1),
    "several": (["s/d", "s/link", "s/nested", "noise"], 3),
    "above-nested": (["s"], 1),
}


@pytest.mark.parametrize("whole", [False, True], ids=["one-file-system", "all"])
@pytest.mark.parametrize("name", SOURCES)
def test_same_bytes(name: str, whole: bool, still: Path, tmp: Path):
    """A tree that holds still gives the same archive either way, and is not changed by it."""
    sources, subvolumes_of = SOURCES[name]
    paths = [still / source if source else still for source in sources]
    flags = (f"--one-file-system={'false' if whole else 'true'}", "--json")
    before = [path.lstat() for path in paths]
    for mode in ("off", "auto"):
        done = snapshot(paths[-1], tmp / mode, "--consistent", mode, *flags, *paths[:-1])
        found = summary(done)["consistent"]
        if mode == "off":
            assert found == {"subvolume_snapshots": 0, "read_only": 0, "frozen": [], "live": []}
        elif not whole:
            assert (found["subvolume_snapshots"], found["live"]) == (subvolumes_of, []), found
    assert (tmp / "off").read_bytes() == (tmp / "auto").read_bytes()
    inside = {"nested/inside", "mounted/visible"} if name == "subvolume" else set()
    assert (inside <= names(tmp / "auto")) == (whole or not inside)
    assert not any("hidden" in path for path in names(tmp / "auto"))
    for path, old in zip(paths, before, strict=True):
        assert path.lstat().st_mtime_ns == old.st_mtime_ns
    assert_clean(still)


def test_restored_as_it_was(still: Path, tmp: Path, target: Path):
    snapshot(still / "s", tmp / "a", "--consistent", "require")
    burst("restore", tmp / "a", target)
    found, wanted = listing(target), listing(still / "s")
    for below in ("nested/inside", "mounted/visible"):
        del wanted[below]
    assert_same(wanted, found)


class Pair:
    """Changes two files all the time, always the first one before the second."""

    def __init__(self, path: Path):
        self.path, self.ending, self.rounds = path, threading.Event(), 0
        (path / "a").write_bytes(b"")
        (path / "z").write_bytes(b"")
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        for n in itertools.count(1):
            if self.ending.is_set():
                return
            for name in ("a", "z"):
                with open(self.path / name, "r+b") as f:
                    f.write(b"%09d" % n)
                    os.fsync(f.fileno())
            self.rounds = n

    def __enter__(self) -> "Pair":
        until(lambda: self.rounds > 3)
        return self

    def __exit__(self, *_: object) -> None:
        self.ending.set()
        self.thread.join()


def numbers(path: Path) -> tuple[int, int]:
    first, second = ((path / name).read_bytes() for name in ("a", "z"))
    return int(first), int(second)


def slow_tree(root: Path) -> None:
    """Takes a while to read, between the two files of a pair."""
    for n in range(6):
        (root / f"m{n}").write_bytes(noise(15 * MIB, n))
    run("sync", "-f", root)


def test_one_moment(live: Path, tmp: Path):
    """Whenever it is taken: the second file is as new as the first, or one round behind."""
    slow_tree(live)
    with Pair(live) as pair:
        for n in range(4):
            done = snapshot(live, tmp / f"{n}.zip", "--json")
            assert summary(done)["consistent"]["subvolume_snapshots"] == 1
            assert summary(done)["changed"] == 0
            reached = pair.rounds
            until(lambda reached=reached: pair.rounds > reached)
    for n in range(4):
        burst("restore", "--path", "a", "--path", "z", tmp / f"{n}.zip", tmp / f"{n}")
        first, second = numbers(tmp / f"{n}")
        assert second <= first <= second + 1, "two moments"
    assert_clean(live)


def test_not_one_moment(live: Path):
    """Off: what changes while it is read is found out."""
    slow_tree(live)
    process = start_piped("snapshot", "--consistent", "off", "--workers", 1, live, "-")
    first = process.stdout.read(1 << 16)
    # It waits for the pipe, and cannot have read this yet.
    (live / "m5").unlink()
    rest, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 20, err
    assert f"{live}/m5 vanished" in err.decode()
    assert len(first + rest) > 5 * 15 * MIB


def start_piped(*args: object) -> subprocess.Popen:
    command = [program(), *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_files_deleted_meanwhile(live: Path, tmp: Path):
    """From the snapshot, what is gone by then is still there."""
    slow_tree(live)
    before = listing(live)
    process = start_piped("snapshot", "--workers", 1, live, "-")
    first = process.stdout.read(1 << 16)
    (live / "m5").unlink()
    (live / "m4").write_bytes(b"else")
    rest, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    (tmp / "a.zip").write_bytes(first + rest)
    burst("restore", tmp / "a.zip", tmp / "t")
    assert_same(before, listing(tmp / "t"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_ended_midway(number: signal.Signals, live: Path, tmp: Path):
    """The snapshot goes with the run; after SIGKILL, with the next one. That of a run that still works stays."""
    slow_tree(live)
    other = start_piped("snapshot", "--workers", 1, live / "m0", "-")
    try:
        assert other.stdout.read(1)
        process = start_piped("snapshot", "--workers", 1, live, "-")
        assert process.stdout.read(1)
        assert len(subvolumes(live)) == 2
        process.send_signal(number)
        # Whoever waits for a pipe sees the signal once it moves.
        _, err = process.communicate(timeout=PATIENCE)
        expected = -number if number == signal.SIGKILL else 128 + number
        assert process.returncode == expected, err
        assert len(subvolumes(live)) == (2 if number == signal.SIGKILL else 1)
        snapshot(live / "m1", tmp / "next", "--consistent", "require")
        assert len(subvolumes(live)) == 1
        assert oct((live / AREA).stat().st_mode & 0o777) == "0o700"
        assert not any(AREA in name for name in names_of(live, tmp))
    finally:
        _, err = other.communicate(timeout=PATIENCE)
    assert other.returncode == 0, err
    assert_clean(live)


def names_of(path: Path, tmp: Path) -> set[str]:
    """Of an archive that is made without a snapshot."""
    snapshot(path, tmp / "names", "--consistent", "off", "--overwrite", "--exclude", "m*")
    return names(tmp / "names")


def test_failed_midway(live: Path):
    """No room for the archive."""
    (live / "f").write_bytes(noise(9 * MIB))
    with open("/dev/full", "wb") as full:
        burst("snapshot", live, "-", stdout=full, code=15)
    assert_clean(live)


def test_elsewhere(tmp: Path):
    (tmp / "t").mkdir()
    (tmp / "t/f").write_bytes(b"x")
    run("mount", "-t", "tmpfs", "none", tmp / "t")
    try:
        done = snapshot(tmp / "t", tmp / "a")
        assert f"{tmp}/t (not on BTRFS)" in done.err
        refused = snapshot(tmp / "t", tmp / "b", "--consistent", "require", code=17)
        assert "not on BTRFS" in refused.err
        assert not (tmp / "b").exists()
    finally:
        run("umount", tmp / "t")


def test_as_a_user(live: Path, tmp: Path):
    (live / "f").write_bytes(b"x")
    tmp.chmod(0o777)
    done = snapshot(live, tmp / "a", user=1000)
    assert "root is needed" in done.err
    burst("snapshot", "--consistent", "require", live, tmp / "b", user=1000, code=11)
    assert_clean(live)


def test_what_is_read_only_holds_still(live: Path, tmp: Path, volume: Callable[..., Volume]):
    run("btrfs", "subvolume", "create", live / "s")
    (live / "s/f").write_bytes(b"x")
    run("btrfs", "subvolume", "snapshot", "-r", live / "s", live / "r")
    done = snapshot(live / "r", tmp / "a", "--consistent", "require", "--json")
    assert summary(done)["consistent"] == {"subvolume_snapshots": 0, "read_only": 1, "frozen": [], "live": []}
    v = volume(gib=1)
    (v.path / "f").write_bytes(b"x")
    v.remount("ro")
    done = snapshot(v.path, tmp / "b", "--consistent", "require", "--json")
    assert summary(done)["consistent"]["read_only"] == 1
    # Nor has it become writable.
    with pytest.raises(OSError, match="Read-only"):
        (v.path / "g").touch()
    # A read-only view of what changes.
    run("mount", "--bind", live, tmp)
    try:
        run("mount", "-o", "remount,bind,ro", tmp)
        done = snapshot(tmp / "s", live / "c", "--consistent", "require", "--json")
        assert summary(done)["consistent"]["subvolume_snapshots"] == 1
    finally:
        run("umount", tmp)


def test_someone_elses_directory(live: Path, tmp: Path):
    """What has the name already, and is not root's own, is not used, and not touched."""
    (live / AREA).mkdir(mode=0o755)
    (live / AREA / "f").write_bytes(b"kept")
    done = snapshot(live, tmp / "a")
    assert "not root's own" in done.err
    assert f"{AREA}/f" in names(tmp / "a")
    (live / AREA / "f").unlink()
    (live / AREA).rmdir()
    (live / AREA).symlink_to("/")
    snapshot(live, tmp / "b", "--consistent", "require", code=1)


def test_full_disk(volume: Callable[..., Volume], tmp: Path):
    """Archived in any case: from a snapshot if there is room for one."""
    v = volume(gib=1)
    (v.path / "wanted").write_bytes(b"wanted")
    with pytest.raises(OSError, match="No space"), open(v.path / "fill", "wb") as f:
        while True:
            f.write(bytes(MIB))
    done = snapshot(v.path, tmp / "a", "--exclude", "fill", "--json")
    found = summary(done)["consistent"]
    assert found["subvolume_snapshots"] + len(found["live"]) == 1, found
    assert names(tmp / "a") == {"wanted"}
    assert_clean(v.path)


def test_the_archive_that_is_replaced_is_left_out(live: Path):
    (live / "f").write_bytes(b"x")
    (live / "old.zip").write_bytes(b"old")
    done = snapshot(live, live / "old.zip", "--overwrite", "--json")
    assert summary(done)["consistent"]["subvolume_snapshots"] == 1
    assert names(live / "old.zip") == {"f"}


def test_excluding_what_is_mounted(tmp: Path):
    """Leaves out nothing else: not what comes after it in its directory either."""
    (tmp / "t/m").mkdir(parents=True)
    for name in ("a", "z"):
        (tmp / "t" / name).touch()
    run("mount", "-t", "tmpfs", "none", tmp / "t/m")
    try:
        snapshot(tmp / "t", tmp / "out", "--exclude", "/m")
        assert names(tmp / "out") == {"a", "z"}
        snapshot(tmp / "t", tmp / "out", "--overwrite")
        assert names(tmp / "out") == {"a", "m", "z"}
    finally:
        run("umount", tmp / "t/m")


def test_preset_host(tmp: Path):
    root = tmp / "t"
    kept = ["etc/passwd", "etc/ssh/sshd_config", "var/lib/dpkg/status", "home/u/f", "boot/vmlinuz", "keep.o"]
    gone = ["etc/machine-id", "etc/ssh/ssh_host_rsa_key", "var/lib/cloud/instance", "swapfile", "proc/1/stat"]
    gone += ["var/log/syslog", "var/log/journal/0/j", "run/x", "tmp/x", "var/cache/apt/archives/a.deb", "x.o"]
    back = ["var/lib/apt/lists/back/f"]
    for name in kept + gone + back:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    (tmp / "patterns").write_text("# objects\n*.o\n!keep.o\n")
    flags = ["--preset", "host", "--exclude-from", tmp / "patterns", "--include", "/var/lib/apt/lists/back"]
    snapshot(root, tmp / "out", *flags)
    found = names(tmp / "out")
    assert found >= {*kept, *back, "proc", "run", "tmp", "var/log", "var/lib/cloud"}
    assert not found & {*gone, "proc/1", "var/log/journal/0"}

    done = burst("snapshot", "--dry-run", *flags, root, tmp / "dry")
    assert f"{root}/etc/machine-id is excluded" in done.out
    assert f"would archive {len(kept) + len(back)} files" in done.out
    assert not (tmp / "dry").exists()
    told = summary(burst("snapshot", "--dry-run", "--json", *flags, root, tmp / "dry"))
    made = summary(snapshot(root, tmp / "out", "--json", "--overwrite", *flags))
    for key in told:
        assert told[key] == made[key], key
    assert told["files"] == len(kept) + len(back)
    assert told["skipped"]["excluded"] == len(gone)
    assert told["content_bytes"] == sum(map(len, kept + back))
    assert made["archive_bytes"] == (tmp / "out").stat().st_size


def test_files_from(tmp: Path):
    root = tmp / "t"
    for name in ("a/b/c", "a/b/d", "a/x", "new\nline", "z"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (tmp / "list").write_text("/a/b\n./z\n\n")
    snapshot(root, tmp / "out", "--files-from", tmp / "list")
    assert names(tmp / "out") == {"a", "a/b", "a/b/c", "a/b/d", "z"}
    (tmp / "list").write_bytes(b"new\nline\0a/x\0")
    with open(tmp / "list", "rb") as stdin:
        snapshot(root, tmp / "out", "--files-from", "-", "--null", "--overwrite", stdin=stdin)
    assert names(tmp / "out") == {"a", "a/x", "new\nline"}
    (tmp / "list").write_text("a/x\nnothing\n")
    done = snapshot(root, tmp / "out", "--files-from", tmp / "list", "--overwrite", code=20)
    assert "nothing is not there" in done.err
    assert names(tmp / "out") == {"a", "a/x"}
    (tmp / "list").write_text("../x\n")
    snapshot(root, tmp / "none", "--files-from", tmp / "list", code=2)
    (tmp / "list").write_text("x\n")
    burst("snapshot", "--files-from", tmp / "list", root / "a", root / "z", tmp / "none", code=2)
    assert not (tmp / "none").exists()


def test_json_beside_a_pipe(tmp: Path):
    (tmp / "f").write_bytes(b"x")
    with open(tmp / "out", "wb") as out:
        done = burst("snapshot", "--json", tmp / "f", "-", stdout=out)
    assert json.loads(done.err)["archive_bytes"] == (tmp / "out").stat().st_size


def test_relative(tmp: Path, target: Path):
    """The path is the name, and the directories above come along with what they are."""
    root = tmp / "t"
    for name in ("etc/ssh/config", "etc/other", "srv/data/x/f", "srv/data/g", "home/u/skip.o"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    (root / "short").symlink_to("srv/data")
    os.chmod(root / "etc", 0o751)
    os.setxattr(root / "srv", "user.x", b"of srv")
    os.utime(root / "etc", ns=(1, 1_500_000_000_987_654_321))
    given = [f"{root}/./etc/ssh", f"{root}/srv/./data/x/", f"{root}/./short/g", f"{root}/./home"]
    patterns = ["--exclude", "/home/u/*.o"]
    burst("snapshot", "--relative", *patterns, *given, tmp / "out")
    found = names(tmp / "out")
    assert found == {"etc", "etc/ssh", "etc/ssh/config", "data", "data/x", "data/x/f", "short", "short/g"} | {
        "home",
        "home/u",
    }
    burst("restore", tmp / "out", target)
    assert (target / "etc").stat().st_mode & 0o777 == 0o751
    assert (target / "etc").stat().st_mtime_ns == 1_500_000_000_987_654_321
    assert (target / "short/g").read_bytes() == b"srv/data/g"
    burst("snapshot", "--relative", root / "srv/data/x", tmp / "full")
    assert f"{str(root)[1:]}/srv/data/x/f" in names(tmp / "full")
    done = burst("snapshot", "--relative", root / "etc", root / "etc/ssh", tmp / "none", code=2)
    assert "lies within another source" in done.err
    burst("snapshot", "--relative", root / "etc/../srv", tmp / "none", code=2)
    assert not (tmp / "none").exists()


def test_swap_in_use(volume: Callable[..., Volume], tmp: Path):
    """Is left out, and said to be, whatever its name is and without a preset."""
    path = volume(gib=1, kind="ext4").path
    (path / "f").write_bytes(b"x")
    for name in ("paged out", "not-in-use"):
        (path / name).write_bytes(bytes(MIB))
        (path / name).chmod(0o600)
        run("mkswap", path / name)
    run("swapon", "--priority", "0", path / "paged out")
    try:
        done = snapshot(path, tmp / "out", "--exclude", "lost+found")
    finally:
        run("swapoff", path / "paged out")
    assert "paged out is a swap file in use" in done.err
    assert "1 archive or swap file" in done.err
    assert names(tmp / "out") == {"f", "not-in-use"}


def test_level_auto(tmp: Path, s3s):
    """Says what it chose and why; a slow network gets small archives, a fast one fast compression."""
    root = tmp / "t"
    root.mkdir()
    (root / "f").write_bytes(prose(MIB))
    where = f"s3://{s3s.bucket}/level.zip"
    chosen = {}
    for speed in ("0.001", "10000"):
        flags = ["--level", "auto", "--network-gbps", speed]
        told = summary(burst("snapshot", "--dry-run", "--json", *flags, root, where, env=s3s.environment))
        assert "CPUs compress" in told["level_reason"]
        chosen[speed] = told["level"]
    assert chosen["0.001"] == 9 and chosen["10000"] < 3, chosen
    done = burst("snapshot", *flags, root, where, env=s3s.environment)
    assert "the CPUs are the limit" in done.err
    assert "level 3: the default" in snapshot(root, tmp / "file", "--level", "auto").err
    made = summary(snapshot(root, tmp / "file", "--overwrite", "--json", "--level", "7"))
    assert (made["level"], made["level_reason"]) == (7, None)


def test_the_upload_begins_before_all_is_read(tmp: Path, moto):
    """S3 has some of it while most of the source is not even read."""
    root, size = tmp / "t", 40 * 12 * MIB
    root.mkdir()
    piece = noise(12 * MIB)
    for n in range(40):
        (root / str(n)).write_bytes(n.to_bytes(8, "big") + piece[8:])
    command = [program(), "snapshot", "--workers", "1", str(root), f"s3://{moto.bucket}/overlap.zip"]
    process = subprocess.Popen(command, env={**os.environ, **moto.environment}, stderr=subprocess.PIPE)

    def parts() -> int:
        uploads = moto.client.list_multipart_uploads(Bucket=moto.bucket).get("Uploads", [])
        mine = [{"Key": u["Key"], "UploadId": u["UploadId"]} for u in uploads if u["Key"] == "overlap.zip"]
        return sum(len(moto.client.list_parts(Bucket=moto.bucket, **upload).get("Parts", [])) for upload in mine)

    until(lambda: parts() > 0 or process.poll() is not None)
    read = int(Path(f"/proc/{process.pid}/io").read_text().split()[1])
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    print(f"with the first part in S3, {read / size:.2f} of the content had been read")
    assert read < size / 2


@pytest.mark.parametrize("kind", ["btrfs", "xfs"])
def test_flags_of_inodes_are_left_out(kind: str, volume: Callable[..., Volume], tmp: Path):
    """The choice that --help and README tell: the content comes back, what its file system thought of it does not."""
    trees = [volume(gib=1, kind=kind).path / "t" for _ in range(2)]
    source, target = trees
    source.mkdir()
    flags = {"fixed": "i", "added": "a", "quick": "A", "kept": "d"} | ({"nocow": "C"} if kind == "btrfs" else {})
    for name, flag in flags.items():
        (source / name).touch()
        if flag == "C":
            run("chattr", "+C", source / name)
        (source / name).write_bytes(prose(MIB, len(name)))
        run("chattr", f"+{flag}", source / name)
    if kind == "btrfs":
        run("btrfs", "property", "set", source / "quick", "compression", "zlib")
    else:
        run("chattr", "-p", "7", source / "quick")
    try:
        snapshot(source, tmp / "a.zip")
        burst("restore", tmp / "a.zip", target)
        assert_same(listing(source), listing(target))
        for name, flag in flags.items():
            before, after = (run("lsattr", "-p", tree / name).split()[:2] for tree in trees)
            assert flag in before[1] and flag not in after[1], (name, before, after)
            assert after[0] == "0"
        if kind == "btrfs":
            assert run("btrfs", "property", "get", target / "quick", "compression") == ""
        else:
            assert run("lsattr", "-p", source / "quick").split()[0] == "7"
    finally:
        run("chattr", "-ia", source / "fixed", source / "added")
    # What the target's directory passes on, its files have.
    if kind == "btrfs":
        into = target.parent / "nocow"
        into.mkdir()
        run("chattr", "+C", into)
        burst("restore", tmp / "a.zip", into)
        assert "C" in run("lsattr", into / "added").split()[0]
        assert_same(listing(source), listing(into))


def test_progress_on_a_terminal(tmp: Path):
    """How far it is, and how long it will take."""
    root = tmp / "t"
    root.mkdir()
    for n in range(4):
        (root / str(n)).write_bytes(noise(24 * MIB, n))
    ours, theirs = os.openpty()
    out, into = os.pipe()
    process = subprocess.Popen([program(), "snapshot", str(root), "-"], stdout=into, stderr=theirs)
    os.close(theirs)
    os.close(into)
    seen = bytearray()

    def listen() -> None:
        # The end of a terminal is an error.
        while (read := read_or_end(ours)) and len(seen) < 1 << 20:
            seen.extend(read)

    listener = threading.Thread(target=listen)
    listener.start()
    os.read(out, 1)
    until(lambda: b" left" in seen)
    while os.read(out, MIB):
        pass
    assert process.wait(PATIENCE) == 0
    listener.join()
    os.close(ours)
    os.close(out)
    said = seen.decode(errors="replace")
    assert "of 96.00 MiB" in said, said[-2000:]
    assert "% " in said and "4 files" in said


def read_or_end(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""
