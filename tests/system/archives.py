"""The trees of the tests and their archives, each made at most once in a run."""

from collections.abc import Callable
from pathlib import Path

import trees
from burst import snapshot
from trees import GIB, KIB, MIB


def many_kinds(root: Path) -> None:
    """A few directories with a bit of everything, for tests that need several parts but not many bytes."""
    for sub in ("alpha", "beta", "beta/deep"):
        (root / sub).mkdir(parents=True)
    (root / "alpha/first").write_bytes(trees.noise(20 * MIB, 1))
    (root / "alpha/small").write_bytes(b"small")
    (root / "beta/prose").write_bytes(trees.prose(3 * MIB, 2))
    (root / "beta/deep/noise").write_bytes(trees.noise(24 * MIB, 3))
    (root / "beta/deep/link").symlink_to("../prose")
    # The data is in alpha, which comes first; the other name is a hard link.
    (root / "zeta").mkdir()
    (root / "zeta/linked").hardlink_to(root / "alpha/first")
    (root / "zeta/own").write_bytes(b"own")


def holes(root: Path) -> None:
    """An entry of more than 4 GiB, most of it a hole."""
    root.mkdir()
    with open(root / "five-gib", "wb") as f:
        f.truncate(5 * GIB + 5)
        for at in (0, 4 * GIB - 64 * KIB, 4 * GIB + 8 * MIB):
            f.seek(at)
            f.write(trees.prose(128 * KIB, at))
    (root / "after").write_bytes(b"comes after it")


def more_than_4_gib(root: Path) -> None:
    """Incompressible, so that the archive has more than 4 GiB; the names sort so that a small file comes last."""
    root.mkdir()
    piece = trees.noise(64 * MIB, 11)
    with open(root / "big", "wb") as f:
        for n in range(68):  # 4.25 GiB; every 64 MiB begins with its number
            f.write(n.to_bytes(8, "big") + piece[8:])
    (root / "last").write_bytes(trees.prose(100_000, 3))


TREES: dict[str, Callable[[Path], None]] = {
    "odd": trees.odd_tree,
    "os": trees.os_tree,
    "tiny": trees.tiny_files,
    "boundaries": trees.boundaries,
    "kinds": many_kinds,
    "holes": holes,
    "large": more_than_4_gib,
    "empty": Path.mkdir,
}


class Archives:
    def __init__(self, sources: Path, directory: Path):
        self.sources, self.directory = sources, directory
        directory.mkdir()
        self.trees: set[str] = set()

    def tree(self, name: str) -> Path:
        path = self.sources / name
        if name not in self.trees:
            TREES[name](path)
            self.trees.add(name)
        return path

    def archive(self, name: str) -> Path:
        """Made with the options that are the default, but for the identifier."""
        path = self.directory / f"{name}.zip"
        if not path.exists():
            snapshot(self.tree(name), path)
        return path
