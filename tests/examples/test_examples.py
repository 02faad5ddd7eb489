"""The crate as an application uses it: what the examples make is what the program would have made."""

import re
import zipfile
from collections.abc import Callable
from pathlib import Path

from archives import Archives
from burst import burst, snapshot
from listing import Listing, assert_same, listing
from s3_server import Server

Listed = Callable[[str], Listing]
Example = Callable[..., bytes]


def test_restore(example: Example, made: Archives, listed: Listed, target: Path) -> None:
    lines = example("restore", made.archive("odd"), target).decode().splitlines()
    assert_same(listed("odd"), listing(target))
    parts = [line for line in lines if re.fullmatch(r"part \d+ is in place, \d+ bytes", line)]
    assert len(parts) == -(-made.archive("odd").stat().st_size // (8 << 20)), lines
    # In the order in which it happens.
    assert [line for line in lines if line in ("links and directories", "waiting for the disk")] == lines[-3:-1]
    assert re.fullmatch(r"restored \d+ files, [1-9]\d* frames as they are", lines[-1])


def test_restore_from_s3(example: Example, made: Archives, listed: Listed, target: Path, s3s: Server) -> None:
    where = f"s3://{s3s.bucket}/example.zip"
    s3s.client.upload_file(str(made.archive("odd")), s3s.bucket, "example.zip")
    example("restore", where, target, env=s3s.environment)
    assert_same(listed("odd"), listing(target))


def test_snapshot(example: Example, made: Archives, listed: Listed, target: Path, tmp: Path) -> None:
    tree = made.tree("kinds")
    lines = example("snapshot", tree, tmp / "a.zip").decode().splitlines()
    burst("restore", tmp / "a.zip", target)
    assert_same(listed("kinds"), listing(target))
    assert re.fullmatch(r"found \d+ entries, \d+ bytes", lines[0])
    steps = [int(line.split()[0]) for line in lines if line.endswith(" bytes are in the archive")]
    assert steps and steps == sorted(steps)
    assert lines[-2] == "directory and end"
    assert lines[-1].endswith(f" in {(tmp / 'a.zip').stat().st_size} bytes")


def test_snapshot_leaves_out(example: Example, tmp: Path) -> None:
    (tmp / "tree").mkdir()
    for name in ("a", "b.tmp"):
        (tmp / "tree" / name).write_text(name)
    lines = example("snapshot", tmp / "tree", tmp / "a.zip").decode().splitlines()
    assert f"left out: {tmp}/tree/b.tmp (Excluded)" in lines
    assert zipfile.ZipFile(tmp / "a.zip").namelist() == ["a"]


def test_list(example: Example, tmp: Path) -> None:
    tree = tmp / "tree"
    (tree / "d").mkdir(parents=True)
    (tree / "d").chmod(0o750)
    # A name need not be text.
    (tmp / "tree").joinpath("d", b"x\xff".decode(errors="surrogateescape")).write_bytes(b"123")
    (tree / "link").symlink_to("d")
    for path in (tree / "d").iterdir():
        path.chmod(0o640)
    snapshot(tree, tmp / "a.zip")
    lines = example("list", tmp / "a.zip").splitlines()
    assert lines[0].startswith(b"1 parts of 8 MiB, archive [00, 01, 02")
    assert lines[1:] == [b"040750%13d d" % 0, b"100640%13d d/x\xff" % 3, b"120777%13d link" % 1]
