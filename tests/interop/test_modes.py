"""Archives of every mode of `burst snapshot`, read by programs that know nothing of BURST."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import extractors
import pytest
import trees
from archives import many_kinds
from btrfs_volume import Volume, run
from burst import burst, snapshot
from extractors import compare, compare_flat, seven_zip_test, seven_zips, zip_extract
from trees import KIB, MIB


@pytest.fixture(scope="module")
def compressed(work: Path) -> Iterator[Path]:
    """A tree of frames that can be taken as they are, and the few things that a host has."""
    v = Volume(work / "modes", gib=1, options="compress-force=zstd")
    root = v.path / "tree"
    root.mkdir()
    fill(root)
    run("sync", "-f", root)
    yield root
    v.close()


def fill(root: Path) -> None:
    many_kinds(root)
    for name in ("etc/machine-id", "etc/hosts", "var/log/syslog", "usr/lib/x"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(trees.prose(300 * KIB, len(name)))
    (root / "usr/bin").mkdir()
    (root / "usr/bin/tool").hardlink_to(root / "usr/lib/x")
    with open(root / "usr/holes", "wb") as f:
        f.truncate(3 * MIB)
        f.seek(MIB)
        f.write(b"data")


MODES: dict[str, list[str]] = {
    "verbatim": [],
    "recompress": ["--recompress"],
    "smallest": ["--recompress", "--level", "15"],
    "fastest": ["--recompress", "--level", "-15"],
    "level-auto": ["--level", "auto"],
    "live": ["--consistent", "off"],
    "copies": ["--hardlinks", "copy"],
    "host": ["--preset", "host"],
    "excluded": ["--exclude", "*.d", "--include", "/beta/deep"],
}
# Those that change what is in it, or how it gets out.
OTHERS = ("files-from", "relative", "several", "frozen", "pipe", "object")


def make(mode: str, root: Path, out: Path, work: Path, s3s) -> Path:
    """Makes the archive, and gives the directory that its names are relative to."""
    if mode in MODES:
        snapshot(root, out, *MODES[mode])
    elif mode == "files-from":
        (work / "list").write_text("alpha\nusr/lib\nusr/holes\n")
        snapshot(root, out, "--files-from", work / "list")
    elif mode == "relative":
        burst("snapshot", "--relative", f"{root}/./beta/deep", f"{root}/./usr/lib", out)
    elif mode == "several":
        burst("snapshot", root / "alpha", root / "usr", root / "beta/prose", out)
        (work / "several").mkdir()
        for path in (root / "alpha", root / "usr"):
            shutil.copytree(path, work / "several" / path.name, symlinks=True)
        shutil.copy(root / "beta/prose", work / "several")
        return work / "several"
    elif mode == "pipe":
        with open(out, "wb") as f:
            burst("snapshot", root, "-", stdout=f)
    else:
        where = f"s3://{s3s.bucket}/modes.zip"
        snapshot(root, where, env=s3s.environment)
        s3s.client.download_file(s3s.bucket, "modes.zip", str(out))
    return root


@pytest.mark.parametrize("mode", [*MODES, *OTHERS])
def test_reads(mode: str, compressed: Path, tmp: Path, s3s, volume: Callable[..., Volume]):
    root, out = compressed, tmp / "a.zip"
    if mode == "frozen":
        root = volume(gib=1, kind="ext4").path / "tree"
        root.mkdir()
        fill(root)
        snapshot(root, out, "--freeze")
    else:
        root = make(mode, compressed, out, tmp, s3s)
    for program in seven_zips().values():
        seven_zip_test(program, out)
    flat, tree = tmp / "flat", tmp / "x"
    flat.mkdir()
    tree.mkdir()
    code, said = extractors.run(zip_extract(), out, flat)
    assert code == 0, said[-2000:]
    assert compare_flat(out, root, flat, said) == []
    code, said = extractors.run(seven_zips()["debian"], "x", "-y", "-snld20", f"-o{tree}", out)
    assert code == 0, said[-2000:]
    assert compare(out, root, tree) == []
    bsdtar(out, root, tmp / "bsdtar")


def bsdtar(out: Path, root: Path, into: Path) -> None:
    """It ends an entry at a skippable frame, as there is one wherever an entry spans parts (test_extractors.py)."""
    into.mkdir()
    _, said = extractors.run("bsdtar", "-P", "-C", into, "-xf", out)
    spanning = {e.path for e in extractors.entries(out) if extractors.spans_parts(e)}
    bad = [d for d in compare(out, root, into) if d.path not in spanning]
    assert bad == [], (bad[:20], said[-2000:])
