"""What fleets need: a random wait, and file systems that take no ACLs."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

from archives import Archives
from btrfs_volume import Volume, run
from burst import burst, snapshot, start, stop
from listing import Listing, assert_same, listing

ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"


def test_start_jitter(made: Archives, listed: Callable[[str], Listing], target: Path):
    done = burst("restore", "--start-jitter", "1s", made.archive("kinds"), target)
    assert "begins in " in done.err and "(--start-jitter 1 s)" in done.err
    assert_same(listed("kinds"), listing(target))


def test_start_jitter_is_before_anything_is_asked(made: Archives, target: Path):
    """Of a week; it can be broken off, and nothing was done."""
    process = start("restore", "--start-jitter", "168h", made.archive("kinds"), target)
    try:
        assert process.stderr.readline().startswith(b"begins in ")
        assert not target.exists()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=120)
        assert process.returncode == 143
        assert not target.exists()
    finally:
        stop(process)


def test_start_jitter_usage(tmp: Path):
    for wrong in ("-1", "1d", "x"):
        burst("restore", f"--start-jitter={wrong}", tmp / "a.zip", tmp / "t", code=2)


def test_acls_refused(tmp: Path, volume: Callable[..., Volume]):
    source, without = tmp / "source", volume(options="noacl").path
    source.mkdir()
    (source / "file").write_text("file")
    (source / "directory").mkdir()
    run("setfacl", "-m", "u:1234:r", source / "file")
    run("setfacl", "-m", "u:1234:rx,d:u:1234:rx", source / "directory", source)
    archive = tmp / "acls.zip"
    snapshot(source, archive)

    done = burst("restore", archive, without / "t", code=17)
    assert "takes no ACLs" in done.err and "--acl warn" in done.err
    # The same command with the flag goes on.
    done = burst("restore", "--acl", "warn", "--json", archive, without / "t")
    assert json.loads(done.out)["notices"] == [
        "ACL not restored: the file system takes none (3 times)",
        "the target itself: ACL not restored: the file system takes none (2 times)",
    ]
    wanted, found = listing(source), listing(without / "t")
    assert set(wanted) == set(found) and (without / "t/file").read_text() == "file"
    for path in ("file", "directory", ""):
        assert not {ACCESS, DEFAULT} & set(os.listxattr(without / "t" / path))

    # Where ACLs are taken, the flag changes nothing.
    good = volume().path / "t"
    burst("restore", "--acl", "warn", archive, good)
    assert_same(wanted, listing(good))
