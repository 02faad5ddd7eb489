"""`burst snapshot` has the kernel read ahead what is not in memory, and leaves alone what is."""

from collections.abc import Callable
from pathlib import Path

from btrfs_volume import Volume, run
from burst import program
from trees import MIB, noise, prose

SMALL = 300


def asked_ahead(tree: Path, archive: Path, *args: str) -> int:
    """How often the kernel was told what will be needed."""
    log = archive.with_suffix(".strace")
    run("strace", "-qq", "-f", "-e", "trace=fadvise64", "-o", log, program(), "snapshot", *args, tree, archive)
    return log.read_text().count("POSIX_FADV_WILLNEED")


def fill(tree: Path) -> None:
    tree.mkdir()
    for n in range(SMALL):
        (tree / f"{n}").write_bytes(prose(20_000, n))
    (tree / "large").write_bytes(noise(40 * MIB, 1))


def test_what_is_not_in_memory(volume: Callable[..., Volume], tmp: Path):
    disk = volume(kind="ext4")
    fill(disk.path / "tree")
    assert asked_ahead(disk.path / "tree", tmp / "warm.zip") < 0.1 * SMALL
    disk.remount()
    # Each small file, and the large one in pieces of 4 MiB; but where the first file of a batch comes at once, the others are
    # left to it as well.
    assert asked_ahead(disk.path / "tree", tmp / "cold.zip") >= 0.5 * SMALL


def test_compressed_extents_are_not_read_twice(volume: Callable[..., Volume], tmp: Path):
    """Their frames are read past the page cache."""
    disk = volume(options="compress-force=zstd:3")
    fill(disk.path / "tree")
    (disk.path / "tree/large").write_bytes(prose(40 * MIB, 1))
    live = ("--consistent", "off")
    # In a snapshot small files are read in yet another way; the large one in pieces of 4 MiB.
    for args, expected in (
        ((), range(1)),
        (live, range(1)),
        ((*live, "--recompress"), range(SMALL // 2, SMALL + 100)),
        (("--recompress",), range(5, 20)),
    ):
        disk.remount("compress-force=zstd:3")
        archive = tmp / f"{'-'.join(args)}.zip"
        assert asked_ahead(disk.path / "tree", archive, *args) in expected, args
