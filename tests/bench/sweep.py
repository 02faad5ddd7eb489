"""Fixed numbers of requests in flight against the policy, which is told the rate of the link, and against the measuring
that is done where nothing is known of it; over links of several rates and latencies. With the last, each connection has a
limit, a tenth of S3's: the policy, which counts with S3's, says nothing there."""

import contestants
import trees
import volumes
from common import Run, medians, programs, restore, say, snapshot, source, table
from latency import proxy
from limits import SERVER, enter_private_network, link

LINKS = [(250, 10, 0), (1000, 0, 0), (1000, 50, 0), (2000, 20, 0), (2000, 20, 8)]
"""Mbit/s, milliseconds that each request waits, and MB/s of each connection (0: no limit)."""
IN_FLIGHT = [2, 4, 8, 16, 32, 64]
POLICY, MEASURED = "policy", "measured"
SECONDS = 2.5
"""How long the link takes for the archive at least; three times that with a limit for each connection."""
TARGET = 1.10


def measure(run: Run, work) -> dict:
    (delay,) = programs("bench_delay")
    enter_private_network()
    results, rows = {}, []
    with link() as (address, within, limit):
        volumes.run(*within, "ip", "link", "set", "lo", "up")
        for megabits, milliseconds, each in LINKS[:1] + LINKS[2:3] + LINKS[4:] if run.quick else LINKS:
            name = f"{megabits} Mbit/s, {milliseconds} ms" + (f", {each} MB/s each" if each else "")
            with volumes.memory(work):
                length = archive(run, work, megabits * (3 if each else 1))
                limit(megabits)
                served = volumes.nginx(work / "nginx", work / "objects", address, within, rate=each * 1_000_000)
                with served as url:
                    port = url.rsplit(":", 1)[1]
                    with proxy(delay, port, milliseconds, SERVER, within) as late:
                        runs = one_link(run, work, late, 0 if each else megabits)
            medians_of = {setting: medians(own, "wall", "cpu") for setting, own in runs.items()}
            fixed = {n: one["wall"] for n, one in medians_of.items() if n in IN_FLIGHT}
            best = min(fixed, key=fixed.get)
            own = {name: medians_of[name]["wall"] if name in medians_of else "" for name in (POLICY, MEASURED)}
            ratios = {name: wall / fixed[best] if wall else "" for name, wall in own.items()}
            results[name] = {"archive": length, "runs": runs, "medians": medians_of, "best": best, "ratios": ratios}
            bound = length * 8 / (megabits * 1e6)
            walls = [fixed.get(n, "") for n in IN_FLIGHT]
            rows.append([name, length / 1e6, bound, *walls, *own.values(), best, *ratios.values(), f"{TARGET}"])
    say(
        "wall seconds of a restore, by requests in flight, by the policy, which is told the rate of the link, and measured"
    )
    ratios = ["policy / best", "measured / best", "target"]
    titles = [*(f"{n} in flight" for n in IN_FLIGHT), POLICY, MEASURED, "best", *ratios]
    table(["link", "archive MB", "least s", *titles], rows)
    return results


def archive(run: Run, work, megabits: int) -> int:
    """Of one large file; as long as the link takes SECONDS for, about."""
    size = int(megabits * 1e6 / 8 * (0.3 if run.quick else SECONDS))
    with source(work, lambda tree: trees.big_file(tree / "big", size * 2)) as tree:
        return snapshot(run, tree, work).stat().st_size


def one_link(run: Run, work, url: str, megabits: int) -> dict[object, list[dict]]:
    """The settings in turn, several rounds; 0 Mbit/s: not told."""
    fixed = IN_FLIGHT[1:4:2] if run.quick else IN_FLIGHT
    settings: dict[object, list] = {n: ["--in-flight", n] for n in fixed}
    if megabits:
        settings[POLICY] = ["--network-gbps", megabits / 1000]
    else:
        # Fewer take minutes.
        settings = {n: ["--in-flight", n] for n in IN_FLIGHT[3:]}
    # More are tried only within a budget of memory.
    settings[MEASURED] = ["--memory", 1024]
    runs: dict[object, list[dict]] = {setting: [] for setting in settings}
    for _ in range(run.rounds):
        for setting, options in settings.items():
            runs[setting].append(restore(contestants.burst(run.burst, url, *options), work))
    return runs
