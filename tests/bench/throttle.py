"""Restore with a slow network or a slow disk, against the least time that these allow."""

import contestants
import volumes
from common import Run, archive_of, medians, programs, restore, say, table, target
from limits import NO_BLKIO, blkio, device_of, enter_private_network, limited_writes, link
from sum import download

NETWORK_GBITS = [1, 5]
DISK_MEGABYTES = [200, 500]
TARGETS = {"big": 1.10, "os": 1.25}
PARTS_IN_FLIGHT = 16


def measure(run: Run, work) -> dict:
    (fetch,) = programs("bench_fetch")
    enter_private_network()
    results, rows = {}, []
    for name in [name for name in run.trees if name in TARGETS]:
        (work / name).mkdir()
        with volumes.memory(work / name) as here:
            results[name] = one_tree(run, name, here, fetch)
        for one in results[name]:
            bound, wall = one["bound"], one["medians"]["wall"]
            nominal = one["nominal bound"]
            rates = [one["network"] / 1e6, one["disk"] / 1e6 if one["disk"] else "not limited"]
            ratios = [wall / bound, wall / nominal]
            rows.append([name, one["limit"], *rates, bound, wall, *ratios, one["medians"]["cpu"], TARGETS[name]])
    say("wall time against archive bytes / network or stored bytes / disk, whichever is more")
    titles = ["tree", "limit", "network MB/s", "disk MB/s", "bound s", "wall s", "wall / bound as measured"]
    table([*titles, "wall / bound by the limit itself", "CPU s", "target"], rows)
    return results


def one_tree(run: Run, name: str, work, fetch) -> list[dict]:
    archive, _ = archive_of(run, name, work)
    length = archive.stat().st_size
    results = []
    with link() as (address, within, limit):
        for gbits in NETWORK_GBITS:
            limit(gbits * 1000)
            with volumes.nginx(work / "nginx", work / "objects", address, within) as url:
                network = rate(fetch, url, length)
                say(f"{name}: {gbits} Gbit/s: a plain download gets {network / 1e6:.0f} MB/s")
                burst = contestants.burst(run.burst, url)
                runs = [restore(burst, work) for _ in range(run.rounds)]
            results.append(result(f"{gbits} Gbit/s", length, network, None, runs))
            results[-1]["nominal bound"] = length / (gbits * 1e9 / 8)
    with volumes.nginx(work / "nginx", work / "objects") as url:
        network = rate(fetch, url, length)
        burst = contestants.burst(run.burst, url)
        if not blkio():
            say(f"{name}: the disk is not measured: {NO_BLKIO}")
        for megabytes in DISK_MEGABYTES if blkio() else []:
            disk = disk_rate(work, megabytes, run.quick)
            say(f"{name}: {megabytes} MB/s: a plain write gets {disk / 1e6:.0f} MB/s")
            runs = []
            for _ in range(run.rounds):
                with target(work) as at, limited_writes(device_of(at), megabytes * 1_000_000):
                    runs.append(burst.run(at))
            results.append(result(f"{megabytes} MB/s", length, network, disk, runs))
            results[-1]["nominal bound"] = results[-1]["stored"] / (megabytes * 1e6)
    return results


def rate(fetch, url: str, length: int) -> float:
    """Bytes per second of a download to nowhere, the better of two."""
    return length / min(download(fetch, url, length, 0, PARTS_IN_FLIGHT)["wall"] for _ in range(2))


def disk_rate(work, megabytes: int, quick: bool) -> float:
    """Bytes per second of a large file's plain write, on the same kind of disk."""
    size = megabytes << (19 if quick else 21)
    with target(work) as at, limited_writes(device_of(at), megabytes * 1_000_000):
        count = f"count={size >> 20}"
        dd = ["dd", "if=/dev/zero", f"of={at}/plain", "bs=1M", count, "conv=fsync", "status=none"]
        wall, _, _ = contestants.timed([dd])
    return size / wall


def result(limit: str, length: int, network: float, disk: float | None, runs: list[dict]) -> dict:
    stored = max(r["disk"] for r in runs)
    bound = max(length / network, stored / disk if disk else 0)
    middle = medians(runs, "wall", "cpu", "rss")
    return {
        "limit": limit,
        "archive": length,
        "stored": stored,
        "network": network,
        "disk": disk,
        "bound": bound,
        "runs": runs,
        "medians": middle,
    }
