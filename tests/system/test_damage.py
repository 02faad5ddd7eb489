"""What is not a whole, unharmed archive: one clear line, the right exit code, and nothing of the bad part written."""

import os
import zipfile
from pathlib import Path

import pytest
from archives import Archives
from burst import Done, burst
from burst_archive import Archive
from burst_frames import GRID
from s3_server import Server
from trees import noise


def one_line(done: Done) -> str:
    lines = done.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("burst: "), done.err
    assert len(lines[0]) < 600
    return lines[0]


def flip(archive: Path, to: Path, at: int) -> Path:
    data = bytearray(archive.read_bytes())
    data[at] ^= 0x10
    to.write_bytes(data)
    return to


def in_part(archive: Path, part: int) -> list[bytes]:
    """Files that lie wholly within a part."""
    return [
        e.path
        for e in Archive(os.open(archive, os.O_RDONLY)).entries
        if e.kind == "file" and e.offset // GRID == part and (e.end - 1) // GRID == part
    ]


@pytest.mark.parametrize("where", ["file", "s3"])
@pytest.mark.parametrize("place", ["first byte", "in a frame", "last byte"])
def test_flipped_bit(place: str, where: str, made: Archives, target: Path, tmp: Path, s3s: Server):
    """Nothing of a part is written if one bit of it is wrong; the message says where it is."""
    archive = made.archive("odd")
    part = next(p for p in range(1, 100) if len(in_part(archive, p)) >= 3)
    offset = part * GRID + {"first byte": 0, "in a frame": 3_000_000, "last byte": GRID - 1}[place]
    source, env = str(flip(archive, tmp / "damaged.zip", offset)), {}
    name = source
    if where == "s3":
        s3s.client.upload_file(source, s3s.bucket, "damaged.zip")
        source, env = f"s3://{s3s.bucket}/damaged.zip", s3s.environment
        name = source
    line = one_line(burst("restore", source, target, env=env, code=13))
    assert name in line, line
    assert f"part {part}" in line, line
    assert str(part * GRID) in line, line
    for path in in_part(archive, part):
        assert not os.path.lexists(os.path.join(os.fsencode(target), path)), f"{path!r} was written"
    line = one_line(burst("verify", source, env=env, code=13))
    assert f"part {part}" in line, line


def test_flipped_bit_in_a_pipe(made: Archives, target: Path, tmp: Path):
    """A pipe's checksums come last: found all the same, and the target stays marked as unfinished."""
    archive = made.archive("kinds")
    stored = next(e for e in Archive(os.open(archive, os.O_RDONLY)).entries if e.path == b"alpha/small")
    with open(flip(archive, tmp / "damaged", stored.data + 2), "rb") as f:
        one_line(burst("restore", "-", target, stdin=f, code=13))
    assert (target / ".burst").exists()
    assert "user.burst.restored" not in os.listxattr(target)


@pytest.mark.parametrize("back", [1, 2, 30, 150, 250, 1000])
def test_flipped_bit_behind_the_data(back: int, made: Archives, target: Path, tmp: Path):
    """Directory, trailer, part map, end records: each has its checksum, or is compared with what has one."""
    archive = made.archive("kinds")
    damaged = flip(archive, tmp / "damaged", archive.stat().st_size - back)
    for command in (("restore", damaged, target), ("ls", damaged), ("verify", damaged)):
        one_line(burst(*command, code=13))


@pytest.mark.parametrize("keep", [0, 1, 21, 100, 1 << 20, GRID, GRID + 1, 20 << 20, -1, -22, -300])
@pytest.mark.parametrize("how", ["file", "pipe", "s3"])
def test_truncated(how: str, keep: int, made: Archives, target: Path, tmp: Path, s3s: Server):
    data = made.archive("kinds").read_bytes()
    data = data[:keep]
    path = tmp / "cut"
    path.write_bytes(data)
    if how == "file":
        done = burst("restore", path, target, code=13)
    elif how == "pipe":
        with open(path, "rb") as f:
            done = burst("restore", "-", target, stdin=f, code=13)
    else:
        s3s.client.put_object(Bucket=s3s.bucket, Key="cut", Body=data)
        done = burst("restore", f"s3://{s3s.bucket}/cut", target, env=s3s.environment, code=13)
    one_line(done)


def foreign(kind: str, path: Path) -> None:
    if kind.startswith("zip"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED if kind == "zip-stored" else zipfile.ZIP_DEFLATED) as z:
            z.writestr("a/b.txt", b"text" * 1000)
            z.writestr("c.bin", noise(9 << 20))
    elif kind == "html":
        path.write_text("<!DOCTYPE html><html><body><h1>503 Service Unavailable</h1></body></html>\n" * 20)
    elif kind == "xml":
        path.write_text('<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>')
    else:
        path.write_bytes({"random": noise(9 << 20), "zeros": bytes(9 << 20), "gzip": b"\x1f\x8b" + noise(5000)}[kind])


@pytest.mark.parametrize("kind", ["zip-stored", "zip-deflated", "html", "xml", "random", "zeros", "gzip"])
def test_foreign(kind: str, target: Path, tmp: Path):
    path = tmp / "foreign"
    foreign(kind, path)
    for command in (("restore", path, target), ("ls", path), ("verify", "--content", path)):
        line = one_line(burst(*command, code=13))
        assert "BURST archive" in line, line
    assert not target.exists(), "the target was touched before the archive was known to be one"
    with open(path, "rb") as f:
        one_line(burst("restore", "-", target, stdin=f, code=13))
    assert not target.exists() or set(os.listdir(target)) <= {".burst"}


def test_rewritten_by_another_tool(made: Archives, target: Path, tmp: Path):
    """A comment added to the ZIP: refused, not guessed."""
    data = made.archive("kinds").read_bytes()
    (tmp / "a").write_bytes(data[:-2] + b"\x05\0hello")
    one_line(burst("restore", tmp / "a", target, code=13))
    (tmp / "b").write_bytes(data + b"x")
    one_line(burst("restore", tmp / "b", target, code=13))
