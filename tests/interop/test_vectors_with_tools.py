"""The vectors of the format, given to the program as a user runs it, and to both builds of 7-Zip."""

import json
from pathlib import Path

import pytest
from burst import burst
from extractors import seven_zip_test, seven_zips
from listing import listing

VECTORS = Path(__file__).resolve().parents[2] / "spec/vectors"
MANIFEST = json.loads((VECTORS / "manifest.json").read_text())
VALID = MANIFEST["valid"] + MANIFEST["valid_by_hand"]


def by_file(rows: list[dict]) -> dict:
    return {"argnames": "row", "argvalues": rows, "ids": [row["file"] for row in rows]}


@pytest.mark.parametrize(**by_file(VALID))
@pytest.mark.parametrize("which", ["debian", "upstream"])
def test_7zip(which: str, row: dict):
    seven_zip_test(seven_zips()[which], VECTORS / row["file"])


@pytest.mark.parametrize(**by_file(VALID))
def test_valid(row: dict, target: Path):
    path = VECTORS / row["file"]
    burst("verify", "--content", path)
    paths = [e["path"] for e in row["entries"]]
    lines = burst("ls", "--json", path).out.splitlines()
    assert len(lines) == len(paths)
    fits = all(len(c) <= 255 for p in paths for c in p.replace("\\x", "").split("/"))
    code = 0 if fits else 14
    burst("restore", path, target, code=code)
    with open(path, "rb") as f:
        burst("restore", "-", target.with_name("piped"), stdin=f, code=code)
    if fits:
        for tree in (target, target.with_name("piped")):
            assert sum(1 for path in listing(tree) if path != ".") == len([p for p in paths if p != "."])


@pytest.mark.parametrize(**by_file(MANIFEST["refuse"]))
def test_refused(row: dict, target: Path):
    """With the exit code that the manifest says, one line, and no panic."""
    path = VECTORS / row["file"]
    done = burst("verify", "--content", path, code=row["exit_code"])
    assert len(done.err.splitlines()) == 1, done.err
    if row["found"] == "content":
        return  # a restore need not decompress it
    # What two entries of one name do to each other, a restore may learn from the file system.
    codes = {row["exit_code"], 14} if row["anchor"] in ("names", "entry-order") else {row["exit_code"]}
    done = burst("restore", path, target, code=None)
    assert done.code in codes and len(done.err.splitlines()) == 1, (done.code, done.err)
