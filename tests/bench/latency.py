"""What it costs if the server takes 30 ms longer for each request."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import contestants
import volumes
from common import Run, archive_of, medians, programs, restore, say, table

MILLISECONDS = 30
TARGET = 5
IN_FLIGHT = [8, 16, 32]


def measure(run: Run, work: Path) -> dict:
    (delay,) = programs("bench_delay")
    results, rows = {}, []
    for name in [name for name in run.trees if name != "small"]:
        (work / name).mkdir()
        with volumes.memory(work / name) as here:
            results[name] = one_tree(run, name, here, delay)
        for in_flight, runs in results[name].items():
            without, late = (medians(runs[wait], "wall", "cpu") for wait in ("0", str(MILLISECONDS)))
            cost = 100 * (late["wall"] / without["wall"] - 1)
            rows.append(
                [name, in_flight, without["wall"], late["wall"], cost, f"{TARGET}", without["cpu"], late["cpu"]]
            )
    say(f"restores through a proxy, without and with {MILLISECONDS} ms for each request")
    table(["tree", "in flight", "wall s", "late wall s", "cost %", "target %", "CPU s", "late CPU s"], rows)
    return results


def one_tree(run: Run, name: str, work: Path, delay: Path) -> dict[int, dict[str, list[dict]]]:
    archive_of(run, name, work)
    results: dict[int, dict[str, list[dict]]] = {}
    with volumes.nginx(work / "nginx", work / "objects") as url:
        port = url.rsplit(":", 1)[1]
        # Both ways go through the proxy: what it costs itself is not counted.
        with proxy(delay, port, 0) as direct, proxy(delay, port, MILLISECONDS) as late:
            for in_flight in IN_FLIGHT[1:2] if run.quick else IN_FLIGHT:
                runs = results[in_flight] = {"0": [], str(MILLISECONDS): []}
                for _ in range(run.rounds):
                    for wait, through in zip(runs, (direct, late), strict=True):
                        burst = contestants.burst(run.burst, through, "--in-flight", in_flight)
                        runs[wait].append(restore(burst, work))
    return results


@contextmanager
def proxy(
    program: Path, port: str, milliseconds: int, address: str = "127.0.0.1", within: tuple[str, ...] = ()
) -> Iterator[str]:
    """Of a server at this address; `within`: the command that runs something where both are."""
    command = [*within, program, port, str(milliseconds), address]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield f"http://{address}:{int(running.stdout.readline())}"
    finally:
        running.kill()
        running.wait()
