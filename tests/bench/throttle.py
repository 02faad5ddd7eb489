"""Restore with a slow network or a slow disk, onto a mounted file system and onto a blank device, against the least time
that these allow."""

from contextlib import nullcontext

import contestants
import volumes
from common import Run, archive_of, medians, programs, say, table, target
from limits import NO_BLKIO, blkio, device_number, device_of, enter_private_network, limited_writes, link, written
from sum import download

NETWORK_GBITS = [1, 5]
DISK_MEGABYTES = [200, 500]
TARGETS = {"big": 1.10, "os": 1.25}
SUSTAINED = 0.95
"""Of a slow disk's rate, onto a blank device."""
PARTS_IN_FLIGHT = 16


def measure(run: Run, work) -> dict:
    (fetch,) = programs("bench_fetch")
    enter_private_network()
    results, rows = {}, []
    for name in [name for name in run.trees if name in TARGETS]:
        (work / name).mkdir()
        with volumes.memory(work / name) as here:
            results[name] = one_tree(run, name, here, fetch)
        for found in results[name]:
            middle = found["medians"]
            rates = [found["network"] / 1e6, found["disk"] / 1e6 if found["disk"] else "not limited"]
            ratios = [middle["wall"] / found["bound"], middle["wall"] / found["nominal bound"]]
            sustained = middle["written"] / middle["wall"] / found["rate"] if found["disk"] else ""
            row = [name, found["who"], found["limit"], *rates, found["bound"], middle["wall"], *ratios, TARGETS[name]]
            rows.append([*row, middle["written"] / 1e6, sustained, middle["cpu"]])
    say("wall time against archive bytes / network or stored bytes / disk, whichever is more")
    say(
        f"sustained: all that was written, metadata too, per second and by the disk's limit; target {SUSTAINED} (image)"
    )
    titles = ["tree", "", "limit", "network MB/s", "disk MB/s", "bound s", "wall s", "wall / bound as measured"]
    table([*titles, "wall / bound by the limit itself", "target", "written MB", "sustained", "CPU s"], rows)
    return results


def one_tree(run: Run, name: str, work, fetch) -> list[dict]:
    archive, _ = archive_of(run, name, work)
    length = archive.stat().st_size
    results = []

    def both(url: str, limit: str, rate: float, network: float, disk: float | None) -> None:
        """In turn onto a mounted file system and a blank device."""
        contest = {"burst": contestants.burst(run.burst, url), "image": contestants.burst_device(run.burst, url)}
        runs: dict[str, list[dict]] = {who: [] for who in contest}
        for _ in range(run.rounds):
            for who, contestant in contest.items():
                runs[who].append(one(contestant, work, rate if disk else 0))
        for who, own in runs.items():
            results.append({"who": who, "limit": limit, "rate": rate} | result(length, network, disk, own))
            results[-1]["nominal bound"] = (results[-1]["stored"] if disk else length) / rate

    with link() as (address, within, limit):
        for gbits in NETWORK_GBITS:
            limit(gbits * 1000)
            with volumes.nginx(work / "nginx", work / "objects", address, within) as url:
                network = rate(fetch, url, length)
                say(f"{name}: {gbits} Gbit/s: a plain download gets {network / 1e6:.0f} MB/s")
                both(url, f"{gbits} Gbit/s", gbits * 1e9 / 8, network, None)
    with volumes.nginx(work / "nginx", work / "objects") as url:
        network = rate(fetch, url, length)
        if not blkio():
            say(f"{name}: the disk is not measured: {NO_BLKIO}")
        for megabytes in DISK_MEGABYTES if blkio() else []:
            disk = disk_rate(work, megabytes, run.quick)
            say(f"{name}: {megabytes} MB/s: a plain write gets {disk / 1e6:.0f} MB/s")
            both(url, f"{megabytes} MB/s", megabytes * 1e6, network, disk)
    return results


def one(contestant: contestants.Contestant, work, limit: float) -> dict:
    """One run onto a disk that takes so many bytes per second; 0 for no limit."""
    with contestant.place(work) as (at, device):
        number = device_number(device) if device else device_of(at)
        with limited_writes(number, int(limit)) if limit else nullcontext():
            before = written(number)
            done = contestant.run(at, device)
            return done | {"written": written(number) - before}


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


def result(length: int, network: float, disk: float | None, runs: list[dict]) -> dict:
    stored = max(r["disk"] for r in runs)
    bound = max(length / network, stored / disk if disk else 0)
    middle = medians(runs, "wall", "cpu", "rss", "written")
    return {
        "archive": length,
        "stored": stored,
        "network": network,
        "disk": disk,
        "bound": bound,
        "runs": runs,
        "medians": middle,
    }
