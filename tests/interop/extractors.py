"""Other programs that read ZIP, run on an archive, and what they must make of it."""

import filecmp
import os
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from burst_archive import Archive, Entry
from burst_frames import GRID

TIMEOUT = 300


def run(*command: object) -> tuple[int, str]:
    program = shutil.which(str(command[0]))
    assert program, f"{command[0]} is not installed"
    done = subprocess.run(
        [program, *map(os.fspath, map(str, command[1:]))],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=TIMEOUT,
        check=False,
    )
    return done.returncode, done.stdout.decode(errors="replace")


def seven_zips() -> dict[str, str]:
    """Debian's, and the author's own build."""
    return {"debian": "7zz", "upstream": os.environ.get("BURST_7ZZ_UPSTREAM", "7zz-upstream")}


def zip_extract() -> str:
    """The program around the Rust crate `zip`, of this directory."""
    if program := os.environ.get("BURST_ZIP_EXTRACT"):
        return program
    root = Path(__file__).resolve().parents[2]
    build = ["cargo", "build", "--quiet", "--locked", "--release", "--no-default-features", "--example", "zip_extract"]
    subprocess.run(build, cwd=root, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", root / "target"))
    program = os.environ["BURST_ZIP_EXTRACT"] = str(target / "release/examples/zip_extract")
    return program


def seven_zip_test(program: str, archive: Path) -> None:
    """`7zz t` and `7zz l`: no error, no warning, nothing it could not make sense of."""
    for command in ("t", "l"):
        code, said = run(program, command, "-slt" if command == "l" else "-bb0", archive)
        assert code == 0, f"{program} {command}: exit code {code}\n{said[-2000:]}"
        # A path may well have one of these words in it.
        lines = [line for line in said.splitlines() if not line.startswith(("Path = ", "Symbolic Link = "))]
        said = "\n".join(lines)
        for word in ("WARNING", "ERROR", "Warnings:", "Errors:", "Headers Error", "Unconfirmed", "Minor_Extra"):
            assert word not in said, f"{program} {command} says {word}:\n{said[:2000]}"
        assert command == "l" or "Everything is Ok" in said


@dataclass
class Difference:
    path: bytes
    what: str


def entries(archive: Path) -> list[Entry]:
    return Archive(os.open(archive, os.O_RDONLY)).entries


def compare(archive: Path, source: Path, extracted: Path) -> list[Difference]:
    """Entry by entry: type, content, link text. Hard links come out as symbolic links, nodes not or as empty files."""
    found, expected = [], set()
    read = Archive(os.open(archive, os.O_RDONLY))
    for e in read.entries:
        expected.add(e.path)
        one, two = os.path.join(os.fsencode(source), e.path), os.path.join(os.fsencode(extracted), e.path)
        if e.kind in ("char", "block", "fifo"):
            if os.path.lexists(two) and os.lstat(two).st_size:
                found.append(Difference(e.path, "a node with content"))
            continue
        if not os.path.lexists(two):
            found.append(Difference(e.path, "missing"))
            continue
        mode = os.lstat(two).st_mode
        if e.kind in ("symlink", "hardlink"):
            text = read.read(e.data, e.usize)
            if e.kind == "symlink":
                assert text == os.readlink(one)
            if not stat.S_ISLNK(mode) or os.readlink(two) != text:
                found.append(Difference(e.path, "link"))
        elif e.kind == "dir":
            if not stat.S_ISDIR(mode):
                found.append(Difference(e.path, "not a directory"))
        elif not stat.S_ISREG(mode) or not filecmp.cmp(one, two, shallow=False):
            found.append(Difference(e.path, "content"))
    for base, dirs, files in os.walk(os.fsencode(extracted)):
        for name in dirs + files:
            path = os.path.relpath(os.path.join(base, name), os.fsencode(extracted))
            if path not in expected:
                found.append(Difference(path, "not in the archive"))
    return found


def compare_flat(archive: Path, source: Path, extracted: Path, said: str) -> list[Difference]:
    """What zip_extract wrote: the content of entry N in the file N. (The crate hides set-id and sticky bits.)"""
    found, all_entries = [], entries(archive)
    lines = said.splitlines()
    if len(lines) != len(all_entries):
        found.append(Difference(b"", f"{len(lines)} entries, not {len(all_entries)}"))
    for e, line in zip(all_entries, lines, strict=False):
        number, mode, size, name = line.split(" ")
        if (int(number), int(mode, 8), int(size), bytes.fromhex(name)) != (
            e.ordinal,
            e.mode & ~0o7000,
            e.usize,
            e.name,
        ):
            found.append(Difference(e.path, f"other facts: {line}"))
        one = os.path.join(os.fsencode(source), e.path)
        if e.kind == "file" and not filecmp.cmp(one, extracted / number, shallow=False):
            found.append(Difference(e.path, "content"))
        if e.kind == "symlink" and os.readlink(one) != (extracted / number).read_bytes():
            found.append(Difference(e.path, "link"))
    return found


def spans_parts(e: Entry) -> bool:
    return e.method == 93 and e.data // GRID != (e.end - 1) // GRID
