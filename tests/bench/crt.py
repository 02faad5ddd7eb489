"""What the settings of aws-c-s3 do to the CPU time of a download to nowhere."""

import json
import subprocess
from dataclasses import astuple, dataclass
from pathlib import Path

import volumes
from common import Run, medians, programs, say, table


@dataclass(frozen=True)
class Settings:
    """By default what the program uses."""

    in_flight: int = 16
    loops: int = 0
    """Event loops, each a thread; 0: as many as the library chooses."""
    socket_read: int = 128 << 10
    """Bytes read from a socket at once."""
    request_mib: int = 8


VARIANTS = {
    "as the program does it": Settings(),
    "reads of 16 KiB, the library's own": Settings(socket_read=16 << 10),
    "reads of 64 KiB": Settings(socket_read=64 << 10),
    "reads of 256 KiB": Settings(socket_read=256 << 10),
    "reads of 512 KiB": Settings(socket_read=512 << 10),
    "1 event loop": Settings(loops=1),
    "2 event loops": Settings(loops=2),
    "4 event loops": Settings(loops=4),
    "4 requests in flight": Settings(in_flight=4),
    "8 requests in flight": Settings(in_flight=8),
    "32 requests in flight": Settings(in_flight=32),
    "requests of 16 MiB, 8 in flight": Settings(in_flight=8, request_mib=16),
    "requests of 32 MiB, 4 in flight": Settings(in_flight=4, request_mib=32),
}


def measure(run: Run, work: Path) -> dict:
    (fetch,) = programs("bench_fetch")
    size = (64 << 20) if run.quick else (1 << 30)
    object_ = work / "objects/bench/object"
    object_.parent.mkdir(parents=True)
    with object_.open("wb") as file:
        file.truncate(size)
    runs: dict[str, list[dict]] = {name: [] for name in VARIANTS}
    with volumes.nginx(work / "nginx", work / "objects") as url:
        for _ in range(run.rounds):
            for name, settings in VARIANTS.items():
                command = [str(fetch), url, "/bench/object", str(size), *map(str, astuple(settings))]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                runs[name].append(json.loads(done.stdout))
    middle = {name: medians(own, "wall", "cpu") for name, own in runs.items()}
    first = next(iter(middle.values()))["cpu"]
    say(f"{size >> 20} MiB over HTTP from this machine; medians of {run.rounds}, in turn")
    rows = [[name, m["wall"], m["cpu"] * (1 << 30) / size, m["cpu"] / first] for name, m in middle.items()]
    table(["settings", "wall s", "CPU s/GiB", "CPU against the first"], rows)
    return {"bytes": size, "runs": runs, "medians": middle}
