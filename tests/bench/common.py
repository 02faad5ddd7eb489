"""What all measurements share: the settings of a run, archives of the trees, restores, tables."""

import argparse
import os
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import trees
import volumes
from contestants import Contestant

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Run:
    burst: Path
    quick: bool
    rounds: int
    trees: list[str]
    plots: Path | None

    @classmethod
    def of(cls, args: argparse.Namespace) -> "Run":
        rounds = args.rounds or (2 if args.quick else 3)
        return cls(args.burst, args.quick, rounds, args.tree or list(trees.TREES), args.plots)


def say(text: str) -> None:
    print(f"== {text}", flush=True)


def programs(*names: str) -> list[Path]:
    """The examples of Cargo.toml that measure, built."""
    wanted = [argument for name in names for argument in ("--example", name)]
    subprocess.run(["cargo", "build", "--quiet", "--release", "--locked", *wanted], cwd=ROOT, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return [target / "release/examples" / name for name in names]


SOURCE_OPTIONS = "compress-force=zstd:3"


@contextmanager
def source(work: Path, make: Callable[[Path], None]) -> Iterator[Path]:
    """A tree on a BTRFS of its own, for as long as it is needed."""
    with volumes.mounted(work / "source.img", work / "source", 12 << 30, SOURCE_OPTIONS):
        tree = work / "source" / "tree"
        tree.mkdir()
        make(tree)
        yield tree


def forget_source(work: Path) -> None:
    """Nothing of the source stays in memory."""
    volumes.unmount(work / "source")
    volumes.mount(work / "source.img", work / "source", SOURCE_OPTIONS)


def archive_of(run: Run, name: str, work: Path, *options: object) -> tuple[Path, dict[str, int]]:
    """A tree's archive, where the server finds it, and what is in it; the tree itself is gone."""
    say(f"{name}: making the tree and its archive")
    with source(work, lambda tree: trees.TREES[name](tree, run.quick)) as tree:
        return snapshot(run, tree, work, *options), trees.facts(tree)


def snapshot(run: Run, tree: Path, work: Path, *options: object) -> Path:
    archive = work / "objects/bench/tree.zip"
    archive.parent.mkdir(parents=True, exist_ok=True)
    volumes.run(run.burst, "snapshot", "-q", "--overwrite", *options, tree, archive)
    return archive


@contextmanager
def target(work: Path, options: str = "") -> Iterator[Path]:
    """A new file system to restore to."""
    with volumes.mounted(work / "target.img", work / "target", 16 << 30, options):
        yield work / "target"


def restore(contestant: Contestant, work: Path) -> dict:
    """One run onto a new file system."""
    load = os.getloadavg()[0]
    with target(work, contestant.mount_options) as at:
        return contestant.run(at) | {"load": load}


def medians(runs: Iterable[dict], *keys: str) -> dict[str, float]:
    runs = list(runs)
    return {key: median(r[key] for r in runs) for key in keys}


def table(titles: list[str], rows: Iterable[list[object]]) -> None:
    """As Markdown; numbers with decimals get two of them."""
    print("\n| " + " | ".join(titles) + " |\n" + "|---" * len(titles) + "|")
    for row in rows:
        print("| " + " | ".join(f"{x:.2f}" if isinstance(x, float) else str(x) for x in row) + " |")
    print(flush=True)
