"""Burst against what else puts a tree on BTRFS over HTTP."""

import os
import subprocess
import time
from pathlib import Path

import contestants
import report
import trees
import volumes
from common import Run, say


def measure(run: Run, work: Path) -> dict:
    results = {}
    for name in run.trees:
        (work / name).mkdir()
        with volumes.memory(work / name) as here:
            results[name] = one_tree(run, name, here)
        report.print_tree(name, results[name])
    return results


def one_tree(run: Run, name: str, work: Path) -> dict:
    source = work / "source"
    objects = work / "objects"
    (objects / "bench").mkdir(parents=True)
    say(f"{name}: making the tree")
    with volumes.mounted(work / "source.img", source, 8 << 30, "compress-force=zstd:3"):
        tree = source / "tree"
        subprocess.run(["btrfs", "-q", "subvolume", "create", tree], check=True)
        trees.TREES[name](tree, run.quick)
        facts = trees.facts(tree)
        say(f"{name}: {facts['entries']} entries, {facts['bytes'] / 1e6:.0f} MB; making the three objects")
        objects_made = contestants.make_objects(run.burst, tree, objects / "bench")
        runs: list[dict] = []
        with volumes.nginx(work / "nginx", objects) as url:
            restored = contestants.all_of(run.burst, url)
            say(f"{name}: one restore by burst, to compare")
            one(restored["burst"], work, tree)
            one(restored["image"], work, tree)
            for turn in range(run.rounds):
                # The order changes, so that none always follows the same one.
                order = list(restored)[turn % len(restored) :] + list(restored)[: turn % len(restored)]
                for who in order:
                    runs.append({"who": who, "load": os.getloadavg()[0]} | one(restored[who], work))
                    report.print_run(name, turn, runs[-1])
    return {"tree": facts, "objects": objects_made, "runs": runs}


def one(contestant: contestants.Contestant, work: Path, tree: Path | None = None) -> dict:
    """One restore; compared with the tree if one is given."""
    with contestant.place(work) as (target, device):
        time.sleep(0.2)
        found = contestant.run(target, device)
        if tree:
            trees.compare(tree, target / contestant.tree)
        return found
