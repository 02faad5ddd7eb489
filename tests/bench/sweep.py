"""Fixed numbers of requests in flight against the policy, over links of several rates and latencies."""

import contestants
import trees
import volumes
from common import Run, medians, programs, restore, say, snapshot, source, table
from latency import proxy
from limits import SERVER, enter_private_network, link

LINKS = [(250, 10), (1000, 0), (1000, 50), (2000, 20)]
"""Mbit/s, and milliseconds that each request waits."""
IN_FLIGHT = [2, 4, 8, 16, 32, 64]
POLICY = "policy"
SECONDS = 2.5
"""How long the link takes for the archive at least."""
TARGET = 1.10


def measure(run: Run, work) -> dict:
    (delay,) = programs("bench_delay")
    enter_private_network()
    results, rows = {}, []
    with link() as (address, within, limit):
        volumes.run(*within, "ip", "link", "set", "lo", "up")
        for megabits, milliseconds in LINKS[:1] + LINKS[2:3] if run.quick else LINKS:
            name = f"{megabits} Mbit/s, {milliseconds} ms"
            with volumes.memory(work):
                length = archive(run, work, megabits)
                limit(megabits)
                with volumes.nginx(work / "nginx", work / "objects", address, within) as url:
                    port = url.rsplit(":", 1)[1]
                    with proxy(delay, port, milliseconds, SERVER, within) as late:
                        runs = one_link(run, work, late, megabits)
            medians_of = {setting: medians(own, "wall", "cpu") for setting, own in runs.items()}
            fixed = {setting: one["wall"] for setting, one in medians_of.items() if setting != POLICY}
            best = min(fixed, key=fixed.get)
            ratio = medians_of[POLICY]["wall"] / fixed[best]
            results[name] = {"archive": length, "runs": runs, "medians": medians_of, "best": best, "ratio": ratio}
            bound = length * 8 / (megabits * 1e6)
            walls = [fixed[n] if n in fixed else "" for n in IN_FLIGHT]
            rows.append([name, length / 1e6, bound, *walls, medians_of[POLICY]["wall"], best, ratio, f"{TARGET}"])
    say("wall seconds of a restore, by requests in flight and by the policy, which is told the rate of the link")
    titles = [*(f"{n} in flight" for n in IN_FLIGHT), POLICY, "best", "policy / best", "target"]
    table(["link", "archive MB", "least s", *titles], rows)
    return results


def archive(run: Run, work, megabits: int) -> int:
    """Of one large file; as long as the link takes SECONDS for, about."""
    size = int(megabits * 1e6 / 8 * (0.3 if run.quick else SECONDS))
    with source(work, lambda tree: trees.big_file(tree / "big", size * 2)) as tree:
        return snapshot(run, tree, work).stat().st_size


def one_link(run: Run, work, url: str, megabits: int) -> dict[object, list[dict]]:
    """The settings in turn, several rounds."""
    settings: dict[object, list] = {n: ["--in-flight", n] for n in (IN_FLIGHT[1:4:2] if run.quick else IN_FLIGHT)}
    settings[POLICY] = ["--network-gbps", megabits / 1000]
    runs: dict[object, list[dict]] = {setting: [] for setting in settings}
    for _ in range(run.rounds):
        for setting, options in settings.items():
            runs[setting].append(restore(contestants.burst(run.burst, url, *options), work))
    return runs
