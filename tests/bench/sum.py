"""Restore against the sum of its parts: the same download to nowhere, and the same system calls from memory."""

import json
import subprocess
from pathlib import Path

import contestants
import trees
import volumes
from common import Run, archive_of, medians, programs, restore, say, table, target
from record import record

PARTS_IN_FLIGHT = 16


def measure(run: Run, work: Path) -> dict:
    fetch, replay = programs("bench_fetch", "bench_replay")
    results, rows = {}, []
    for name in run.trees:
        (work / name).mkdir()
        with volumes.memory(work / name) as here:
            results[name] = one = one_tree(run, name, here, fetch, replay)
        middle = one["medians"]
        fetched = min(middle["fetch"]["cpu"], middle["fetch, one loop"]["cpu"])
        floor = fetched + middle["replay"]["cpu"]
        one["ratio"] = middle["burst"]["cpu"] / floor
        walls = [middle[who]["wall"] for who in ("burst", "replay")]
        rows.append([name, middle["burst"]["cpu"], fetched, middle["replay"]["cpu"], one["ratio"], "1.10", *walls])
    say("user + system time of a restore against download + replay")
    columns = [
        "tree",
        "burst CPU s",
        "fetch CPU s",
        "replay CPU s",
        "burst / sum",
        "target",
        "burst wall s",
        "replay wall s",
    ]
    table(columns, rows)
    return results


def one_tree(run: Run, name: str, work: Path, fetch: Path, replay: Path) -> dict:
    archive, facts = archive_of(run, name, work)
    runs: dict[str, list[dict]] = {"burst": [], "fetch": [], "fetch, one loop": [], "replay": []}
    with volumes.nginx(work / "nginx", work / "objects") as url:
        burst = contestants.burst(run.burst, url)
        say(f"{name}: recording a restore")
        calls = work / "calls"
        with target(work) as at:
            # Other paths than those of the replay would have another length.
            command = [part.replace("{}", str(at)) for part in burst.pipeline[0]]
            counts = record(command, at / "tree", calls, work)
            volumes.sync(at)
            wanted = listing(at / "tree")
            on_disk = volumes.used(at)
        say(f"{name}: calls below the target, of {facts['entries']} entries and {facts['files']} files")
        most = sorted(counts.items(), key=lambda item: -item[1])
        table(["call", "number", "for each entry"], [[call, n, n / facts["entries"]] for call, n in most])
        for _ in range(run.rounds):
            runs["burst"].append(restore(burst, work))
            for who, loops in (("fetch", 0), ("fetch, one loop", 1)):
                runs[who].append(download(fetch, url, archive.stat().st_size, loops))
            with target(work) as at:
                done = subprocess.run([replay, calls, at / "tree"], check=True, capture_output=True, text=True)
                volumes.sync(at)
                runs["replay"].append(json.loads(done.stdout))
                check(runs["replay"][-1], counts, listing(at / "tree") == wanted, volumes.used(at), on_disk)
    middle = {who: medians(own, "wall", "cpu") for who, own in runs.items()}
    return {"tree": facts, "archive": archive.stat().st_size, "calls": counts, "runs": runs, "medians": middle}


def download(fetch: Path, url: str, length: int, loops: int = 0, in_flight: int = PARTS_IN_FLIGHT) -> dict:
    command = [str(fetch), url, "/bench/tree.zip", str(length), str(in_flight), str(loops)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


LISTING = trees.LISTING.replace("%m", "%m %s")


def listing(tree: Path) -> bytes:
    return subprocess.run(["sh", "-c", LISTING], cwd=tree, check=True, capture_output=True).stdout


def check(done: dict, counts: dict[str, int], same: bool, on_disk: int, wanted: int) -> None:
    """The replay did the same work, or it is no floor."""
    if done["calls"] != sum(counts.values()):
        raise RuntimeError(f"the replay made {done['calls']} calls of {sum(counts.values())}")
    if not same:
        raise RuntimeError("the replay's names, sizes, modes, owners or times differ from the restore's")
    if abs(on_disk - wanted) > 0.02 * wanted + (4 << 20):
        raise RuntimeError(f"the replay filled {on_disk} bytes, the restore {wanted}")
