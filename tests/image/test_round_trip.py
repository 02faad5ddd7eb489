"""What burst builds is the tree it was, is clean, and can be used like any other file system."""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from archives import Archives
from btrfs_volume import Volume, run
from burst import burst, program, snapshot
from listing import Listing, assert_same, listing
from made_image import GIB, MIB, SUPERBLOCKS, TIB, Image, edit, superblocks
from s3_server import Server

TREES = ["empty", "odd", "kinds", "boundaries", "tiny", pytest.param("os", marks=pytest.mark.slow)]
Listed = Callable[[str], Listing]


@pytest.fixture
def image(tmp: Path) -> Image:
    return Image(tmp / "image")


@pytest.mark.parametrize("name", TREES)
def test_image(name: str, made: Archives, listed: Listed, image: Image):
    image.make(made.archive(name), "4G")
    assert superblocks(image.path) == [*SUPERBLOCKS[:2]]
    image.check()
    with image.mounted() as root:
        assert_same(listed(name), listing(root))
        assert "archive_id" in os.getxattr(root, "user.burst.restored").decode()
        run("btrfs", "scrub", "start", "-B", root)
    image.check()


@pytest.mark.parametrize("name", ["odd", "boundaries"])
def test_s3_and_pipe(name: str, made: Archives, listed: Listed, image: Image, s3s: Server):
    s3s.client.upload_file(str(made.archive(name)), s3s.bucket, "a")
    image.make(f"s3://{s3s.bucket}/a", "1G", env=s3s.environment)
    image.check()
    with image.mounted("ro") as root:
        assert_same(listed(name), listing(root))
    with open(made.archive(name), "rb") as f:
        image.make("-", "1G", "--metadata", "single", "--force", stdin=f)
    image.check()
    with image.mounted("ro") as root:
        assert_same(listed(name), listing(root))


@pytest.mark.parametrize("profile", ["dup", "single"])
def test_life(profile: str, made: Archives, image: Image):
    """Used, snapshotted, balanced completely, scrubbed: clean, and nothing in it has changed."""
    image.make(made.archive("odd"), "2G", "--metadata", profile, "--label", "burst test")
    with image.mounted() as root:
        assert run("btrfs", "filesystem", "label", root).strip() == "burst test"
        edit(root)
        before = listing(root)
        run("btrfs", "balance", "start", "--full-balance", root)
        run("btrfs", "scrub", "start", "-B", root)
        run("fstrim", root)
    image.check()
    with image.mounted() as root:
        assert_same(before, listing(root))


def test_nearly_full(made: Archives, image: Image):
    """Balance finds room on a small file system that was full once: chunks have the kernel's sizes."""
    image.make(made.archive("boundaries"), "600M")
    with image.mounted() as root:
        with pytest.raises(OSError, match="No space"), open(root / "filler", "wb", buffering=0) as f:
            while True:
                f.write(os.urandom(MIB))
        (root / "filler").unlink()
        run("btrfs", "filesystem", "sync", root)
        run("btrfs", "balance", "start", "-dusage=100", root)
    image.check()


@pytest.mark.parametrize(
    "size", [64 * MIB, 64 * MIB + 1, 100 * MIB + 12_345, 256 * MIB, GIB + 4095, 300 * GIB, 8 * TIB, 64 * TIB]
)
@pytest.mark.parametrize("profile", ["dup", "single"])
def test_sizes(size: int, profile: str, made: Archives, listed: Listed, source: Volume):
    """From the smallest device to the largest; on BTRFS, which allows such sparse files."""
    image = Image(source.path / "sized")
    try:
        image.make(made.archive("empty"), size, "--metadata", profile)
        assert superblocks(image.path) == [at for at in SUPERBLOCKS if at + 4096 <= size]
        image.check()
        # Where metadata has few MiB, Linux 6.18 can wait for space forever: btrfs-cleaner for the reclaim of space, and
        # that for inodes which the cleaner would let go of.
        writable = size >= 256 * MIB
        with image.mounted("" if writable else "ro") as root:
            assert_same(listed("empty"), listing(root))
            if writable:
                for n in range(300):
                    (root / f"{n}").write_bytes(os.urandom(5000))
        image.check()
    finally:
        image.path.unlink(missing_ok=True)


def test_too_small(made: Archives, image: Image):
    """Too small for the archive, or for BTRFS at all: no file is left."""
    for archive, size in (("odd", "64M"), ("kinds", "72M"), ("empty", "63M"), ("empty", "0")):
        done = image.make(made.archive(archive), size, code=15)
        assert len(done.err.splitlines()) == 1, done.err
        assert not image.path.exists()


def test_too_large(made: Archives, tmp: Path):
    """Larger than a file can be there: a new one is not left, one that was there stays."""
    (tmp / "m").mkdir()
    with open(tmp / "disk", "wb") as f:
        f.truncate(256 * MIB)
    run("mkfs.ext4", "-q", tmp / "disk")
    run("mount", "-o", "loop", tmp / "disk", tmp / "m")
    try:
        image = Image(tmp / "m/image")
        assert "too large" in image.make(made.archive("kinds"), "20T", code=1).err
        assert not image.path.exists()
        image.make(made.archive("kinds"), "128M")
        assert "too large" in image.make(made.archive("kinds"), "20T", "--force", code=1).err
        image.check()
    finally:
        run("umount", tmp / "m")


def test_refusals(made: Archives, image: Image, tmp: Path):
    image.path.write_bytes(b"something")
    image.make(made.archive("empty"), "128M", code=19)
    assert image.path.read_bytes() == b"something"
    image.make(made.archive("empty"), "128M", "--force")
    image.check()
    image.make(made.archive("empty"), "128M", "--label", "x" * 256, "--force", code=2)
    burst("image", made.archive("empty"), tmp, "--size", "128M", code=2)
    burst("restore", "--label", "x", made.archive("empty"), tmp / "t", code=2)


@pytest.mark.parametrize("user", [0, 1000])
def test_attached(user: int, made: Archives, tmp: Path):
    """A file that is a loop device is refused, also with --force, under any name and to anybody."""
    made.archive("kinds").chmod(0o644)
    made.directory.chmod(0o755)
    tmp.chmod(0o777)
    image = Image(tmp / "image")
    image.make(made.archive("kinds"), "128M", user=user)
    (tmp / "other").hardlink_to(image.path)
    with image.mounted() as root:
        device = run("findmnt", "-no", "SOURCE", root).strip()
        before = listing(root)
        for path in (image.path, tmp / "other"):
            # Who may not ask the device knows only one name.
            if user == 0 or path == image.path:
                err = burst("image", made.archive("kinds"), path, "--size", "128M", "--force", code=19, user=user).err
                assert f"{path} is the loop device {device}: " in err, err
        assert_same(before, listing(root))
    image.check()
    image.make(made.archive("kinds"), "128M", "--force", user=user)


def test_after_a_killed_run(made: Archives, image: Image):
    """The same command takes what a run left that was killed, but not what another one is making."""
    strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=pwrite64"]
    command = [program(), "image", "-q", "--workers", "1", "--size", "1G", made.archive("boundaries"), image.path]
    killed = [*strace, "-e", "inject=pwrite64:signal=SIGKILL:when=4", *command]
    assert subprocess.run(killed, check=False, timeout=120).returncode == -signal.SIGKILL
    assert image.path.exists() and superblocks(image.path) == []
    with open(image.path, "rb") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        assert "another run" in image.make(made.archive("kinds"), "256M", code=19).err
    image.make(made.archive("kinds"), "256M")
    assert image.path.stat().st_size == 256 * MIB
    image.check()


def test_uuid(made: Archives, image: Image):
    uuid = "12345678-1234-4234-8234-123456789abc"
    done = image.make(made.archive("kinds"), "256M", "--uuid", uuid, "--json")
    assert f'"uuid":"{uuid}"' in done.out
    assert uuid in run("blkid", "-p", image.path)


def test_unprivileged(made: Archives, listed: Listed, tmp: Path):
    """Anybody can make an image, with owners and devices as they are in the archive."""
    made.archive("odd").chmod(0o644)
    made.directory.chmod(0o755)
    (tmp / "user").mkdir()
    (tmp / "user").chmod(0o777)
    image = Image(tmp / "user/image")
    image.make(made.archive("odd"), "1G", user=1000)
    image.check()
    with image.mounted("ro") as root:
        assert_same(listed("odd"), listing(root))


def test_workers(made: Archives, listed: Listed, image: Image):
    for workers in (1, 2, 7):
        image.make(made.archive("boundaries"), "1G", "--workers", workers, "--in-flight", 3, "--force")
        image.check(data=False)
        with image.mounted("ro") as root:
            assert_same(listed("boundaries"), listing(root))


def test_memory(made: Archives, image: Image):
    """What is in flight, 9 MiB for each worker, and a little for each entry: here for 70,000 entries and 250 MB."""
    measure = Path(__file__).parents[1] / "system" / "measure.py"
    for name in ("tiny", "boundaries"):
        image.path.unlink(missing_ok=True)
        command = [sys.executable, "-S", measure, program(), "image", "-q", made.archive(name), image.path]
        command += ["--size", "1G", "--workers", "1", "--in-flight", "4"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        mib = int(done.stderr.splitlines()[-1]) / 1024
        print(f"{name}: {mib:.0f} MiB")
        assert mib <= 4 * 8 + 9 + 40, f"{name}: {mib:.0f} MiB"


def test_again(made: Archives, image: Image, tmp: Path):
    """An archive of the file system that an archive made is the same archive."""
    image.make(made.archive("odd"), "1G")
    with image.mounted() as root:
        os.removexattr(root, "user.burst.restored")
        snapshot(root, tmp / "again")
    assert (tmp / "again").read_bytes() == made.archive("odd").read_bytes()
