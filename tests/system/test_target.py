"""In what state a target or destination must be, and what happens to one that is not."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from archives import Archives
from btrfs_volume import Volume, run
from burst import burst, snapshot, start, stop
from listing import Listing, assert_same, listing
from s3_server import Server

MARKER = "user.burst.restored"


def test_absent_and_empty(made: Archives, listed: Callable[[str], Listing], target: Path):
    target.mkdir()
    burst("restore", made.archive("kinds"), target)
    assert_same(listed("kinds"), listing(target))
    assert b"000102030405060708090a0b0c0d0e0f" in os.getxattr(target, MARKER)
    assert not (target / ".burst").exists()


def test_parent_absent(made: Archives, tmp: Path):
    burst("restore", made.archive("kinds"), tmp / "no/such/parent", code=10)


def test_target_is_a_file(made: Archives, tmp: Path):
    (tmp / "file").touch()
    done = burst("restore", made.archive("kinds"), tmp / "file", code=1)
    assert "file" in done.err


def test_not_empty(made: Archives, target: Path):
    target.mkdir()
    (target / "mine").write_bytes(b"mine")
    done = burst("restore", made.archive("kinds"), target, code=19)
    assert "not empty" in done.err and "--into-existing" in done.err
    assert os.listdir(target) == ["mine"]


def test_into_existing(made: Archives, listed: Callable[[str], Listing], target: Path):
    """Nothing is deleted; files and links of the same name are replaced."""
    (target / "alpha").mkdir(parents=True)
    (target / "alpha/mine").write_bytes(b"mine")
    (target / "alpha/small").write_bytes(b"other content, and longer")
    (target / "beta").mkdir()
    (target / "beta/prose").symlink_to("/etc/passwd")
    burst("restore", "--into-existing", made.archive("kinds"), target)
    found = listing(target)
    assert (target / "alpha/mine").read_bytes() == b"mine"
    found.pop("alpha/mine")
    assert_same(listed("kinds"), found)


def test_into_existing_takes_nothing_from_what_is_there(tmp: Path, volume: Callable[..., Volume]):
    """Owners, groups and ACLs are the archive's, whatever the directories hand down that are there already."""
    source, target = tmp / "source", volume().path / "t"
    for name in ("etc", "share/sub"):
        (source / name).mkdir(parents=True)
    for name in ("share/b", "share/sub/c"):
        (source / name).write_text(name)
        (source / name).chmod(0o640)
    os.mkfifo(source / "share/fifo", 0o640)
    archive = tmp / "archive.zip"
    snapshot(source, archive)
    wanted = listing(source)

    (target / "etc").mkdir(parents=True)
    os.chown(target / "etc", 1000, 1000)
    (target / "share").mkdir()
    os.chown(target / "share", 0, 100)
    (target / "share").chmod(0o2775)
    run("setfacl", "-d", "-m", "u:1234:rwx", target / "share")
    burst("restore", "--into-existing", archive, target)
    found = listing(target)
    # What an administrator gave the directory itself stays.
    assert found["share"].pop("xattrs").keys() == {"system.posix_acl_default"}
    assert not wanted["share"].pop("xattrs")
    assert_same(wanted, found)


@pytest.mark.parametrize("what", ["directory", "fifo"])
def test_into_existing_replaces_nothing_else(what: str, made: Archives, target: Path):
    """A directory where the archive has a file: refused, kept."""
    place = target / "alpha/small"
    place.parent.mkdir(parents=True)
    place.mkdir() if what == "directory" else os.mkfifo(place)
    done = burst("restore", "--into-existing", made.archive("kinds"), target, code=14)
    assert "alpha/small" in done.err
    assert place.is_dir() if what == "directory" else place.is_fifo()


def test_unfinished(made: Archives, target: Path, tmp: Path):
    """A restore that failed leaves a target that says so, and no marker."""
    damaged = bytearray(made.archive("kinds").read_bytes())
    damaged[25 << 20] ^= 1
    (tmp / "damaged").write_bytes(damaged)
    burst("restore", tmp / "damaged", target, code=13)
    assert (target / ".burst").is_dir()
    assert MARKER not in os.listxattr(target)
    for options in ((), ("--into-existing",)):
        done = burst("restore", *options, made.archive("empty"), target, code=19)
        assert "unfinished" in done.err and "--restart" in done.err
    # The archive as it should be: what is in place is right, and what was damaged is not.
    burst("restore", made.archive("kinds"), target)
    assert not (target / ".burst").exists()
    assert MARKER in os.listxattr(target)


def test_running(made: Archives, target: Path):
    """Two restores into one target: the second is refused, also with --into-existing."""
    first = start("restore", "-", target)
    try:
        with open(made.archive("kinds"), "rb") as f:
            first.stdin.write(f.read(1 << 20))
            first.stdin.flush()
        while not (target / ".burst/lock").exists():
            assert first.poll() is None
        for options in ((), ("--into-existing",)):
            done = burst("restore", *options, made.archive("kinds"), target, code=19)
            assert "running" in done.err
    finally:
        stop(first)
    done = burst("restore", made.archive("kinds"), target, code=19)
    assert "unfinished" in done.err


def test_destination_exists(made: Archives, tmp: Path):
    dest = tmp / "archive"
    dest.write_bytes(b"mine")
    done = snapshot(made.tree("empty"), dest, code=19)
    assert "--overwrite" in done.err
    assert dest.read_bytes() == b"mine"
    snapshot(made.tree("empty"), dest, "--overwrite")
    assert dest.read_bytes() == made.archive("empty").read_bytes()
    assert os.listdir(tmp) == ["archive"], "something was left beside it"


def test_object_exists(made: Archives, s3s: Server):
    s3s.client.put_object(Bucket=s3s.bucket, Key="exists", Body=b"mine")
    where = f"s3://{s3s.bucket}/exists"
    done = snapshot(made.tree("empty"), where, env=s3s.environment, code=19)
    assert "--overwrite" in done.err
    assert s3s.client.get_object(Bucket=s3s.bucket, Key="exists")["Body"].read() == b"mine"
    snapshot(made.tree("empty"), where, "--overwrite", env=s3s.environment)
    assert s3s.client.get_object(Bucket=s3s.bucket, Key="exists")["Body"].read() == made.archive("empty").read_bytes()


def test_failed_snapshot_leaves_nothing(made: Archives, tmp: Path):
    """A source that is not there: no archive, nothing beside it."""
    burst("snapshot", tmp / "absent", tmp / "archive", code=10)
    assert os.listdir(tmp) == []


def test_absent_sources(tmp: Path, s3s: Server):
    burst("restore", tmp / "absent", tmp / "t", code=10)
    burst("restore", f"s3://{s3s.bucket}/absent", tmp / "t", env=s3s.environment, code=10)
    burst("restore", "s3://no-such-bucket/absent", tmp / "t", env=s3s.environment, code=10)
    assert os.listdir(tmp) == []


def test_wrong_key(tmp: Path, s3s: Server):
    env = {**s3s.environment, "AWS_SECRET_ACCESS_KEY": "wrong"}
    done = burst("ls", f"s3://{s3s.bucket}/exists", env=env, code=11)
    assert len(done.err.splitlines()) == 1
