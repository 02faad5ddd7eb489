"""Burst snapshot of a compressed BTRFS: frames taken as they are stored, against all compressed again."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import contestants
import trees
import volumes
from common import Run, medians, say, source, table

TARGET = 2.0
"""Times the CPU of taking frames that compressing must cost."""

PLACES = {"burst snapshot": [], "of a tree in memory": ["--consistent", "off"]}
"""A subvolume snapshot's files are not in the page cache: everything is read from the disk. With `off`, what is
compressed again comes decompressed out of memory, which is the best that can happen to it."""


def measure(run: Run, _: Path) -> dict:
    results, rows = {}, []
    for name in run.trees:
        with on_disk() as work:
            results[name] = one = one_tree(run, name, work)
        for place in PLACES:
            keys = ("cpu", "machine", "wall", "size")
            taken, again = (medians(one[f"{place}, {how}"], *keys) for how in ("taken", "compressed"))
            costs = [x for key in ("cpu", "machine", "wall") for x in (taken[key], again[key], again[key] / taken[key])]
            sizes = [taken["size"] / 1e6, again["size"] / 1e6]
            rows.append([name, place, one["share"], *costs, *sizes])
    say(f"frames taken against compressed again (--recompress); the target for the CPU is {TARGET} times")
    costs = [title for what in ("CPU", "machine CPU", "wall") for title in (f"{what} s", "again s", "times")]
    table(["tree", "", "share taken", *costs, "MB", "again MB"], rows)
    return results


@contextmanager
def on_disk() -> Iterator[Path]:
    """Where reading is not copying from memory."""
    with tempfile.TemporaryDirectory(prefix="burst-bench-", dir=os.environ.get("BURST_TEST_DIR", "/var/tmp")) as at:
        yield Path(at)


def one_tree(run: Run, name: str, work: Path) -> dict:
    archive = work / "tree.zip"
    runs: dict = {f"{place}, {how}": [] for place in PLACES for how in ("taken", "compressed")}
    say(f"{name}: making the tree")
    with source(work, lambda tree: trees.TREES[name](tree, run.quick)) as tree:
        runs["tree"] = trees.facts(tree)
        volumes.sync(tree)
        contestants.timed([["tar", "-c", "-C", str(tree), "."], ["sh", "-c", "exec cat >/dev/null"]])
        for _ in range(run.rounds):
            for place, flags in PLACES.items():
                for how, more in (("taken", []), ("compressed", ["--recompress"])):
                    command = [run.burst, "snapshot", "--json", "--overwrite", *flags, *more, tree, archive]
                    result = timed(list(map(str, command)))
                    report = result.pop("report")
                    assert (report["verbatim_share"] == 0) == (how == "compressed"), report
                    runs["share"] = max(runs.get("share", 0), report["verbatim_share"])
                    runs[f"{place}, {how}"].append(result | {"size": report["archive_bytes"]})
    return runs


def timed(command: list[str]) -> dict:
    """Also of the whole machine, as the kernel reads and decompresses in threads of its own."""
    machine = contestants.machine_cpu()
    with tempfile.TemporaryFile("w+") as out:
        wall, cpu, rss = contestants.timed([command], out)
        out.seek(0)
        report = json.load(out)
    return {"wall": wall, "cpu": cpu, "machine": contestants.machine_cpu() - machine, "rss": rss, "report": report}
