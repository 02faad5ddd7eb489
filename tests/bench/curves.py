"""Time of a restore against size, entries, requests in flight, workers and level; numbers, and a plot of each."""

from collections.abc import Callable
from pathlib import Path

import contestants
import scale
import svg
import trees
import volumes
from common import Run, archive_of, medians, restore, say, snapshot, source, table

IN_FLIGHT = [1, 2, 4, 8, 16, 32]
WORKERS = [1, 2, 4]
LEVELS = [-5, 1, 3, 6, 9]
MEGABYTES = [64, 256, 1024, 2048]
ENTRIES = [1_000, 10_000, 100_000]


def measure(run: Run, work: Path) -> dict:
    results = {
        "size": over_trees(run, work, [32, 64] if run.quick else MEGABYTES, big),
        "entries": over_trees(run, work, [500, 2_000] if run.quick else ENTRIES, scale.make),
        **over_options(run, work, "os"),
        **over_options(run, work, "big"),
        "level": over_levels(run, work),
    }
    show("size", results["size"], "MB of content in one file", run.plots, log=True)
    show("entries", results["entries"], "files of 100 to 2000 bytes", run.plots, log=True)
    for name, tree in (("os", "/usr"), ("big", "one large file")):
        for option, words in (("in-flight", "requests in flight"), ("workers", "workers")):
            show(f"{option}-{name}", results[f"{option}-{name}"], f"{words}, {tree}", run.plots, log=True)
    show("level", results["level"], "zstd level, /usr", run.plots, log=False)
    if run.plots:
        print(f"plots: {run.plots}/restore-*.svg", flush=True)
    return results


def big(tree: Path, megabytes: int) -> None:
    trees.big_file(tree / "big", megabytes << 20)


def over_trees(run: Run, work: Path, values: list[int], make: Callable[[Path, int], None]) -> dict[int, dict]:
    results = {}
    for value in values:
        with volumes.memory(work):
            with source(work, lambda tree, value=value: make(tree, value)) as tree:
                archive = snapshot(run, tree, work)
            results[value] = {"archive": archive.stat().st_size} | restores(run, work, {value: []})[value]
    return results


def over_options(run: Run, work: Path, name: str) -> dict[str, dict[int, dict]]:
    with volumes.memory(work):
        archive_of(run, name, work)
        in_flight = {n: ["--in-flight", n] for n in ([1, 16] if run.quick else IN_FLIGHT)}
        workers = {n: ["--workers", n] for n in ([1, 2] if run.quick else WORKERS)}
        return {f"in-flight-{name}": restores(run, work, in_flight), f"workers-{name}": restores(run, work, workers)}


def over_levels(run: Run, work: Path) -> dict[int, dict]:
    results = {}
    with volumes.memory(work), source(work, lambda tree: trees.os_tree(tree, run.quick)) as tree:
        for level in [-5, 3] if run.quick else LEVELS:
            archive = work / "objects/bench/tree.zip"
            archive.parent.mkdir(parents=True, exist_ok=True)
            command = [str(run.burst), "snapshot", "-q", "--overwrite", "--level", str(level), str(tree), str(archive)]
            wall, cpu, _ = contestants.timed([command])
            made = {"archive": archive.stat().st_size, "snapshot wall": wall, "snapshot cpu": cpu}
            results[level] = made | restores(run, work, {level: []})[level]
    return results


def restores(run: Run, work: Path, variants: dict[int, list]) -> dict[int, dict]:
    """The variants in turn, several rounds."""
    runs: dict[int, list[dict]] = {value: [] for value in variants}
    with volumes.nginx(work / "nginx", work / "objects") as url:
        for _ in range(run.rounds):
            for value, options in variants.items():
                runs[value].append(restore(contestants.burst(run.burst, url, *options), work))
    return {value: {"runs": own} | medians(own, "wall", "cpu", "rss") for value, own in runs.items()}


def show(name: str, results: dict[int, dict], x_title: str, plots: Path | None, log: bool) -> None:
    say(f"restore over {x_title}")
    keys = ["wall", "cpu"] + [key for key in ("snapshot wall", "snapshot cpu") if key in next(iter(results.values()))]
    rows = []
    for value, one in results.items():
        size = one["archive"] / 1e6 if "archive" in one else ""
        rows.append([value, size, *(one[key] for key in keys), one["rss"] / 1e6])
    table([name, "archive MB", *(f"{key} s" for key in keys), "RSS MB"], rows)
    if plots:
        plots.mkdir(parents=True, exist_ok=True)
        lines = {key.replace("cpu", "CPU"): [(v, one[key]) for v, one in results.items()] for key in keys[:2]}
        svg.plot(plots / f"restore-{name}.svg", "burst restore", x_title, "seconds", lines, log)
