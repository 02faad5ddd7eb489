#!/usr/bin/env python3
"""What other tools make of layouts the format could have had: one small ZIP for each, extracted with 7zz and bsdtar.

Needs 7zz and bsdtar, and zstandard from tests/format/requirements.txt. "ok": everything is there, right, and rc 0.
"""

import os
import random
import shutil
import struct
import subprocess
import tempfile
import zlib
from pathlib import Path

import zstandard

GRID, FULL = 8 << 20, 131072
WORDS = random.Random(7)
TEXT = [bytes(WORDS.choices(b"abcdefghijklmnopqrstuvwxyz  \n", k=WORDS.randrange(3, 40))) for _ in range(3000)]


def text(n: int, seed: int) -> bytes:
    rng, out = random.Random(seed), bytearray()
    while len(out) < n:
        out += rng.choice(TEXT)
    return bytes(out[:n])


def skip(n: int, magic: int = 0x184D2A5B) -> bytes:
    return struct.pack("<II", magic, n - 8) + bytes(n - 8)


def frame(content: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=3).compress(content)


def frames(content: bytes) -> list[bytes]:
    return [frame(content[i : i + FULL]) for i in range(0, len(content), FULL)]


class Zip:
    def __init__(self) -> None:
        self.out, self.directory, self.expected, self.count = bytearray(), b"", {}, 0

    def add(
        self,
        name: bytes,
        content: bytes,
        data: bytes | None = None,
        *,
        mode: int = 0o100644,
        flags: int = 0,
        extra: bytes = b"",
        listed: bool = True,
        link: bytes | None = None,
        at: int | None = None,
    ) -> None:
        method = 0 if data is None else 93
        data = content if data is None else data
        crc = zlib.crc32(content)
        flags |= 0 if name.isascii() else 0x800
        fixed = struct.pack("<HHHHH", 63, flags, method, 0, 0x5821)
        sizes = struct.pack("<III", crc, len(data), len(content))
        here = len(self.out) if at is None else at
        if at is None:
            if flags & 8:
                extra = struct.pack("<HHQQ", 1, 16, 0, 0)
            self.out += (
                b"PK\3\4"
                + fixed
                + (struct.pack("<III", 0, 2**32 - 1, 2**32 - 1) if flags & 8 else sizes)
                + struct.pack("<HH", len(name), len(extra))
                + name
                + extra
                + data
            )
            if flags & 8:
                self.out += struct.pack("<IIQQ", 0x08074B50, crc, len(data), len(content))
        if listed:
            self.directory += (
                b"PK\1\2"
                + struct.pack("<H", 0x033F)
                + fixed
                + sizes
                + struct.pack("<HHHHHII", len(name), 0, 0, 0, 0, mode << 16, here)
                + name
            )
            self.count += 1
            self.expected[name] = link or content

    def end(self, before: bytes = b"", between: bytes = b"") -> bytes:
        self.out += before
        at = len(self.out)
        self.out += self.directory + between
        n = self.count
        return bytes(self.out) + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, n, n, len(self.directory), at, 0)


def on_grid(content: bytes, where: str) -> bytes:
    """Data of an entry (header of 34 bytes) with a padding frame at the first grid point."""
    pieces, out, at, done = frames(content), bytearray(), 34, False
    for i, piece in enumerate(pieces):
        following = len(pieces[i + 1]) if i + 1 < len(pieces) else 0
        room = GRID - at - len(out)
        if not done and room - len(piece) < following + 8:
            done, padding = True, skip(room - len(piece))
            out += padding + piece if where == "before" else piece + padding
            out += skip(48, 0x184D2A55)
        else:
            out += piece
    return bytes(out)


def cases():
    small, other = text(5000, 2), text(7000, 3)

    def two(gap: bytes = b"", **last: bytes) -> tuple[Zip, bytes]:
        z = Zip()
        z.add(b"a", small, frame(small))
        z.out += gap
        z.add(b"b", other, frame(other))
        return z, z.end(**last)

    yield "no entries, only the end record", Zip(), Zip().end()
    yield "no entries, an index before the directory", Zip(), Zip().end(before=bytes(200))
    yield "index before the directory", *two(before=bytes(500))
    yield "bytes between directory and end record", *two(between=bytes(100))
    yield "100 bytes of gap between entries", *two(bytes(100))
    for title, at_start in (("hidden header at offset 0", True), ("hidden header between entries", False)):
        z = Zip()
        if not at_start:
            z.add(b"a", small, frame(small))
        z.add(b".padding", bytes(100), listed=False)
        z.add(b"b", other, frame(other))
        yield title, z, z.end()
    z = Zip()
    z.add(b"a", small, frame(small), extra=struct.pack("<HH", 0x7562, 65000) + bytes(65000))
    yield "pad field of 65,000 bytes", z, z.end()
    z = Zip()
    z.add(b"a", small, frame(small), flags=8)
    z.add(b"b", other, frame(other))
    yield "data descriptor", z, z.end()
    full = text(FULL, 4)
    for title, tail in (("last frame full", b""), ("last frame full, then 8 bytes of padding", skip(8))):
        z = Zip()
        z.add(b"a", full, frame(full) + tail)
        z.add(b"b", other, frame(other))
        yield title, z, z.end()
    words, noise = text((26 << 20) + 777, 1), random.Random(5).randbytes((9 << 20) + 777)
    for title, content, where in (
        ("after the last frame", words, "after"),
        ("before the last frame", words, "before"),
        ("before the last frame, all frames raw", noise, "before"),
    ):
        z = Zip()
        z.add(b"file", content, on_grid(content, where))
        yield f"padding {title}", z, z.end()
    for title, data in (("symbolic link, STORE", None), ("symbolic link, method 93", frame(b"b"))):
        z = Zip()
        z.add(b"b", other, frame(other))
        z.add(b"link", b"b", data, mode=0o120777, link=b"-> b")
        yield title, z, z.end()
    z = Zip()
    z.add(b"d/b", other, frame(other))
    z.add(b"e/link", b"../d/b", mode=0o120777, link=b"-> ../d/b")
    yield "symbolic link with ..", z, z.end()
    z = Zip()
    z.add(b"a", small, frame(small))
    z.add(b"b", small, frame(small), at=0)
    yield "two directory headers, one local header", z, z.end()
    z = Zip()
    z.add(b"\xff\xfe", small, frame(small), flags=0x800)
    yield "bit 11 on a name that is not UTF-8", z, z.end()


def outcome(rc: int, found: dict, expected: dict) -> str:
    extra = sorted(set(found) - set(expected))
    missing = sorted(set(expected) - set(found))
    wrong = sorted(n for n in expected if n in found and found[n] != expected[n])
    if rc == 0 and not (extra or missing or wrong):
        return "ok"
    parts = [f"rc {rc}"] + [
        f"{len(names)} {what}" for what, names in (("extra", extra), ("missing", missing), ("wrong", wrong)) if names
    ]
    return ", ".join(parts)


def tree(top: bytes) -> dict:
    found = {}
    for where, directories, files in os.walk(top):
        for name in files + [d for d in directories if os.path.islink(os.path.join(where, d))]:
            path = os.path.join(where, name)
            key = os.path.relpath(path, top)
            found[key] = b"-> " + os.readlink(path) if os.path.islink(path) else Path(os.fsdecode(path)).read_bytes()
    return found


def main() -> None:
    tools = {
        "7zz x": "7zz x -y -bso0 -o{out} {zip}",
        "7zz x -snld": "7zz x -y -snld -bso0 -o{out} {zip}",
        "bsdtar file": "bsdtar -xf {zip} -C {out}",
        "bsdtar pipe": "cat {zip} | bsdtar -xf - -C {out}",
    }
    for tool in ("7zz | grep -m1 7-Zip", "bsdtar --version"):
        print(subprocess.run(tool, check=False, shell=True, capture_output=True, text=True).stdout.strip())
    print("\n| layout | " + " | ".join(tools) + " |\n|" + "---|" * (len(tools) + 1))
    for title, z, data in cases():
        row = []
        for command in tools.values():
            with tempfile.TemporaryDirectory() as top:
                path, out = f"{top}/x.zip", f"{top}/out"
                os.mkdir(out)
                with open(path, "wb") as f:
                    f.write(data)
                done = subprocess.run(
                    ["bash", "-o", "pipefail", "-c", command.format(out=out, zip=path)],
                    check=False,
                    capture_output=True,
                    env=os.environ | {"LC_ALL": "C.UTF-8"},
                )
                row.append(outcome(done.returncode, tree(os.fsencode(out)), z.expected))
        print(f"| {title} | " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    assert shutil.which("7zz") and shutil.which("bsdtar"), "7zz and bsdtar are needed"
    main()
