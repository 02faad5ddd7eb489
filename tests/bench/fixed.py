"""What a small restore costs: 1 MiB, from start to exit."""

import random
from pathlib import Path

import contestants
import volumes
from common import Run, medians, say, snapshot, source, table, target

TARGET_MS = 150


def measure(run: Run, work: Path) -> dict:
    rounds = 5 if run.quick else 21
    with source(work, make) as tree:
        archive = snapshot(run, tree, work)
    runs: dict[str, list[dict]] = {"burst": [], "curl": []}
    with volumes.nginx(work / "nginx", work / "objects") as url, target(work) as at:
        for number in range(rounds):
            (at / str(number)).mkdir()
            runs["burst"].append(contestants.burst(run.burst, url).run(at / str(number)))
            curl = ["curl", "-sSf", "-o", "/dev/null", f"{url}/bench/tree.zip"]
            wall, cpu, rss = contestants.timed([curl])
            runs["curl"].append({"exit": wall, "cpu": cpu, "rss": rss})
    say(f"a restore of {archive.stat().st_size} bytes, from start to exit; {rounds} runs")
    rows = []
    for who, own in runs.items():
        middle = medians(own, "exit", "cpu", "rss")
        walls = [1000 * middle["exit"], 1000 * min(r["exit"] for r in own), 1000 * max(r["exit"] for r in own)]
        rows.append([who, *walls, 1000 * middle["cpu"], middle["rss"] / 1e6, TARGET_MS if who == "burst" else ""])
    table(["", "median ms", "least ms", "most ms", "CPU ms", "RSS MB", "target ms"], rows)
    return {"archive": archive.stat().st_size, "runs": runs}


def make(tree: Path) -> None:
    """Some files, 1 MiB that does not compress."""
    order = random.Random(4)
    for number in range(16):
        (tree / f"f{number:02}").write_bytes(order.randbytes(1 << 16))
