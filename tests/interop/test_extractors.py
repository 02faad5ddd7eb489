"""Every archive of the tests, read by programs that know nothing of BURST."""

import os
import subprocess
import sys
from pathlib import Path

import check_grid
import extractors
import pytest
from archives import Archives
from burst import burst, snapshot
from extractors import compare, compare_flat, seven_zip_test, seven_zips, spans_parts, zip_extract
from mini_writer import Item, build

SEVEN_ZIPS = ("debian", "upstream")
# Extracted and compared. "odd" without its hole of 100 GiB, which other programs write out as zeros.
EXTRACTED = [
    "empty",
    "odd",
    "kinds",
    "boundaries",
    pytest.param("tiny", marks=pytest.mark.slow),
    pytest.param("os", marks=pytest.mark.slow),
]
# Only tested: an entry and an archive of more than 4 GiB.
TESTED = [pytest.param("holes", marks=pytest.mark.slow), pytest.param("large", marks=pytest.mark.slow)]


def archive(made: Archives, name: str) -> Path:
    if name != "odd":
        return made.archive(name)
    path = made.directory / "odd-without-100-gib.zip"
    if not path.exists():
        snapshot(made.tree("odd"), path, "--exclude", "/sparse/hole-of-100-gib")
    return path


@pytest.mark.parametrize("name", EXTRACTED + TESTED)
@pytest.mark.parametrize("which", SEVEN_ZIPS)
def test_7zip_tests(which: str, name: str, made: Archives):
    seven_zip_test(seven_zips()[which], archive(made, name))


@pytest.mark.parametrize("name", EXTRACTED)
@pytest.mark.parametrize("which", SEVEN_ZIPS)
def test_7zip_extracts(which: str, name: str, made: Archives, tmp: Path):
    """-snld20: also links that lead out of the directory, or to other links."""
    path = archive(made, name)
    code, said = extractors.run(seven_zips()[which], "x", "-y", "-snld20", f"-o{tmp / 'x'}", path)
    assert code == 0, said[-2000:]
    assert "WARNING" not in said and "ERROR" not in said
    (tmp / "x").mkdir(exist_ok=True)
    found = compare(path, made.tree(name), tmp / "x")
    found = [d for d in found if not (d.what == "link" and absolute_link(tmp / "x", d.path, made.tree(name)))]
    assert not found, found[:20]


def absolute_link(extracted: Path, path: bytes, source: Path) -> bool:
    """7-Zip puts the directory it extracts into in front of an absolute link, whatever it is told."""
    text = os.readlink(os.path.join(os.fsencode(source), path))
    return text.startswith(b"/") and os.readlink(os.path.join(os.fsencode(extracted), path)) == (
        os.fsencode(extracted) + text
    )


@pytest.mark.parametrize("name", EXTRACTED)
def test_zip_crate_extracts(name: str, made: Archives, tmp: Path):
    path = archive(made, name)
    code, said = extractors.run(zip_extract(), path, tmp)
    assert code == 0, said[-2000:]
    found = compare_flat(path, made.tree(name), tmp, said)
    assert not found, found[:20]


@pytest.mark.parametrize("name", TESTED)
def test_zip_crate_tests(name: str, made: Archives):
    code, said = extractors.run(zip_extract(), archive(made, name))
    assert code == 0, said[-2000:]


# What bsdtar of Debian 12 (libarchive 3.6.2) cannot read, each with the reason; anything else must come out right.
BSDTAR = {
    "spans parts": "it ends the data of a method-93 entry at a skippable frame that ends one of its read buffers, "
    "which happens at part boundaries",
    "backslash": "it takes a backslash in a name for a separator",
    "decomposed": "it composes the characters of UTF-8 names (NFC)",
}


@pytest.mark.parametrize("name", EXTRACTED)
def test_bsdtar_extracts(name: str, made: Archives, tmp: Path):
    path = archive(made, name)
    code, said = extractors.run("bsdtar", "-P", "-C", tmp, "-xf", path)
    facts = {e.path: e for e in extractors.entries(path)}
    bad = [d for d in compare(path, made.tree(name), tmp) if not bsdtar_deviates(d, facts)]
    assert not bad, (bad[:20], said[-2000:])
    excused = any(spans_parts(e) or b"\\" in e.path for e in facts.values())
    assert code == 0 or excused, said[-2000:]


def bsdtar_deviates(d: extractors.Difference, facts: dict) -> str | None:
    e = facts.get(d.path)
    if e is not None and spans_parts(e):
        return BSDTAR["spans parts"]
    if b"\\" in d.path or (d.what == "not in the archive" and b"back" in d.path):
        return BSDTAR["backslash"]
    if b" decomposed" in d.path:
        return BSDTAR["decomposed"]
    return None


@pytest.mark.parametrize("name", EXTRACTED + TESTED)
def test_layout(name: str, made: Archives):
    """Every part boundary is a clean point, says a checker that knows only the format's text."""
    # Its CRC-32C is written in Python: the archives of many bytes are left to `burst verify`.
    fast = [] if name in ("empty", "odd", "kinds") else ["--no-crc"]
    done = subprocess.run(
        [sys.executable, check_grid.__file__, *fast, archive(made, name)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:]
    burst("verify", archive(made, name))


@pytest.mark.parametrize("name", TESTED)
def test_large_restores(name: str, made: Archives, listed, volume):
    from listing import assert_same, listing

    target = volume(gib=8).path / "t"
    burst("restore", archive(made, name), target)
    assert_same(listed(name), listing(target))


LONG = {
    "component-255": b"n" * 255,
    "component-256": b"n" * 256,
    "component-4095": b"n" * 4095,
    "path-4000": b"/".join(b"p" * 249 for _ in range(16)),
}


@pytest.mark.parametrize("which", LONG)
def test_long_names(which: str, tmp: Path):
    """Listing and testing work for every name that the format allows; what Linux cannot hold is not restored."""
    name = LONG[which]
    parents = [name[: n + 1] for n in range(len(name)) if name[n : n + 1] == b"/"]
    path = tmp / "archive.zip"
    path.write_bytes(build([*(Item(p, 0o40755) for p in parents), Item(name, content=b"content")]))
    for program in seven_zips().values():
        seven_zip_test(program, path)
    code, said = extractors.run(zip_extract(), path)
    assert code == 0 and said.splitlines()[-1].endswith(name.hex()), said[-500:]
    assert name.decode() in burst("ls", path).out
    burst("verify", "--content", path)
    fits = max(map(len, name.split(b"/"))) <= 255
    done = burst("restore", path, tmp / "t", code=0 if fits else 14)
    assert fits or "255" in done.err or "name too long" in done.err.lower()
    if fits:
        fd = os.open(tmp / "t", os.O_RDONLY)
        for component in name.split(b"/"):
            fd = os.open(component, os.O_RDONLY, dir_fd=fd)
        assert os.read(fd, 100) == b"content"
