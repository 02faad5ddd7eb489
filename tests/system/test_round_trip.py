"""A tree, archived and restored in every way, is the tree it was; and every way gives the same archive."""

import filecmp
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from archives import Archives
from btrfs_volume import Volume
from burst import burst, snapshot
from listing import Listing, assert_same, listing
from s3_server import Server

TREES = [
    "empty",
    "odd",
    "kinds",
    "boundaries",
    pytest.param("tiny", marks=pytest.mark.slow),
    pytest.param("os", marks=pytest.mark.slow),
]
Listed = Callable[[str], Listing]


@pytest.mark.parametrize("name", TREES)
def test_file(name: str, made: Archives, listed: Listed, target: Path):
    burst("restore", made.archive(name), target)
    assert_same(listed(name), listing(target))
    assert not (target / ".burst").exists() or name == "odd"


@pytest.mark.parametrize("name", TREES)
def test_pipe(name: str, made: Archives, listed: Listed, target: Path, tmp: Path):
    with open(tmp / "archive", "wb") as f:
        snapshot(made.tree(name), "-", stdout=f)
    assert filecmp.cmp(tmp / "archive", made.archive(name), shallow=False), "the pipe has other bytes than the file"
    with open(tmp / "archive", "rb") as f:
        burst("restore", "-", target, stdin=f)
    assert_same(listed(name), listing(target))


@pytest.mark.parametrize("name", TREES)
def test_s3(name: str, made: Archives, listed: Listed, target: Path, tmp: Path, s3s: Server):
    where = f"s3://{s3s.bucket}/{name}.zip"
    snapshot(made.tree(name), where, env=s3s.environment)
    s3s.client.download_file(s3s.bucket, f"{name}.zip", str(tmp / "archive"))
    assert filecmp.cmp(tmp / "archive", made.archive(name), shallow=False), "the object has other bytes than the file"
    burst("restore", where, target, env=s3s.environment)
    assert_same(listed(name), listing(target))
    burst("verify", "--content", where, env=s3s.environment)


def test_moto(made: Archives, listed: Listed, target: Path, moto: Server):
    where = f"s3://{moto.bucket}/odd/with%20characters+and=more"
    snapshot(made.tree("odd"), where, env=moto.environment)
    burst("restore", where, target, env=moto.environment)
    assert_same(listed("odd"), listing(target))


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("name", TREES)
def test_workers(name: str, workers: int, made: Archives, tmp: Path):
    """Any number of workers gives the same bytes."""
    snapshot(made.tree(name), tmp / "archive", "--workers", workers)
    assert filecmp.cmp(tmp / "archive", made.archive(name), shallow=False)


@pytest.mark.parametrize("workers", [1, 2])
def test_restore_workers(workers: int, made: Archives, listed: Listed, target: Path):
    burst("restore", "--workers", workers, "--in-flight", 3, "--request-size", 16, made.archive("odd"), target)
    assert_same(listed("odd"), listing(target))


@pytest.mark.parametrize("name", TREES)
def test_verify(name: str, made: Archives):
    burst("verify", "--content", made.archive(name))


@pytest.mark.parametrize("level", [-15, -1, 1, 9, 15])
def test_levels(level: int, made: Archives, listed: Listed, target: Path, tmp: Path):
    snapshot(made.tree("odd"), tmp / "archive", f"--level={level}")
    burst("restore", tmp / "archive", target)
    assert_same(listed("odd"), listing(target))


def test_again(made: Archives, target: Path, tmp: Path):
    """What was restored gives the same archive again (the marker on the root is an attribute like any other)."""
    burst("restore", made.archive("odd"), target)
    os.removexattr(target, "user.burst.restored")
    snapshot(target, tmp / "archive")
    assert filecmp.cmp(tmp / "archive", made.archive("odd"), shallow=False)


def test_hard_links_copied(made: Archives, listed: Listed, target: Path, tmp: Path):
    snapshot(made.tree("odd"), tmp / "archive", "--hardlinks", "copy")
    burst("restore", tmp / "archive", target)
    assert not any("links" in facts for facts in listing(target).values())
    assert_same(listed("odd"), listing(target), ignore=("links",))


def test_several_sources(made: Archives, listed: Listed, target: Path, tmp: Path):
    """Each under its own name."""
    odd = made.tree("odd")
    burst("snapshot", odd / "links", odd / "sparse", odd / "sizes/compressible", tmp / "archive")
    burst("restore", tmp / "archive", target)
    found = listing(target)
    assert {p for p in found if "/" not in p} == {".", "links", "sparse", "compressible"}

    def inside(whole: Listing) -> Listing:
        kept = {p: dict(f) for p, f in whole.items() if p.split("/")[0] in ("links", "sparse")}
        for facts in kept.values():
            facts.pop("links", None)
        return kept

    assert_same(inside(listed("odd")), inside(found))


def test_ext4(made: Archives, listed: Listed, volume: Callable[..., Volume], tmp: Path):
    """Without encoded writes the same comes out, and the user is told."""
    target = volume(kind="ext4").path / "t"
    # ext4 has room for a hundred attributes of one file only in theory.
    snapshot(made.tree("odd"), tmp / "archive", "--exclude", "/attributes/many")
    said = burst("restore", tmp / "archive", target)
    assert "notice: everything was decompressed" in said.err
    want = {p: f for p, f in listed("odd").items() if p != "attributes/many"}
    found = listing(target)
    for path in [p for p in want if "1901" in p]:  # the first moment that ext4 knows is 1901-12-13 20:45:52
        want.pop(path), found.pop(path)
    assert_same(want, found)


def test_no_encoded_writes(made: Archives, listed: Listed, target: Path):
    burst("restore", "--no-encoded-writes", made.archive("odd"), target)
    assert_same(listed("odd"), listing(target))


def test_mount_root(made: Archives, listed: Listed, volume: Callable[..., Volume]):
    """The usual case: the target is a new, mounted file system."""
    target = volume().path
    burst("restore", made.archive("odd"), target)
    assert_same(listed("odd"), listing(target))


def test_unprivileged(made: Archives, listed: Listed, volume: Callable[..., Volume]):
    """Another user gets the content, and a notice for each kind of thing that only root can restore."""
    home = volume().path
    (home / "user").mkdir()
    (home / "user").chmod(0o777)
    target = home / "user/t"
    made.archive("odd").chmod(0o644)
    made.directory.chmod(0o755)
    said = burst("restore", made.archive("odd"), target, user=1000)
    assert "notice: owner not restored" in said.err
    want, found = listed("odd"), listing(target)
    missing = {p for p in want if p not in found}
    assert all(want[p]["type"] in ("char", "block") for p in missing), missing
    for path in want.keys() & found.keys():
        for fact in ("type", "mtime_ns", "size", "sha256", "holes", "target"):
            if path != ".":
                assert want[path].get(fact) == found[path].get(fact), f"{path!r}: {fact}"
        assert found[path]["uid"] == 1000


def test_unprivileged_attributes(tmp: Path, volume: Callable[..., Volume]):
    """Who owns a file may set its user attributes, also if nobody may write to it."""
    source, home = tmp / "source", volume().path
    (source / "directory").mkdir(parents=True)
    (source / "file").write_text("file")
    for path, mode in ((source / "file", 0o444), (source / "directory", 0o555), (source, 0o555)):
        os.setxattr(path, "user.name", b"value")
        path.chmod(mode)
    archive = tmp / "archive.zip"
    snapshot(source, archive)
    archive.chmod(0o644)
    tmp.chmod(0o755)
    home.chmod(0o777)
    said = burst("restore", archive, home / "t", user=1000)
    assert "extended attribute" not in said.err
    assert_same(listing(source), listing(home / "t"), ("uid", "gid"))
