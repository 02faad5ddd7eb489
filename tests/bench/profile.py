"""Where the CPU time of the whole machine goes during a restore: by perf, over server, kernel threads and all."""

import os
import re
import signal
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import contestants
import volumes
from common import Run, archive_of, say, table

HERTZ = 997
TOP = 6

GROUPS = {
    "event loops of aws-c-s3": r"AwsEventLoop",
    "workers": r"burst-worker",
    "the rest of burst": r"burst|AwsHost|AwsBackground",
    "kernel threads (BTRFS, loop device)": r"kworker|btrfs|loop|ksoftirqd|rcu|kswapd",
    "server": r"nginx",
    "idle": r"swapper",
}
OTHERS = "others (this benchmark, perf)"


@dataclass
class Profile:
    wall: float
    seconds: Counter = field(default_factory=Counter)
    """CPU seconds of each group."""
    symbols: dict[str, Counter] = field(default_factory=dict)

    @property
    def busy(self) -> float:
        return sum(s for group, s in self.seconds.items() if group != "idle")


def measure(run: Run, work: Path) -> dict:
    results = {}
    for name in run.trees:
        (work / name).mkdir()
        with volumes.memory(work / name) as here:
            archive_of(run, name, here)
            with volumes.nginx(here / "nginx", here / "objects") as url:
                found = {
                    "burst restore": one(contestants.burst(run.burst, url), here),
                    "burst restore --device": one(contestants.burst_device(run.burst, url), here),
                }
        results[name] = {who: vars(profile) for who, profile in found.items()}
        for who, profile in found.items():
            show(f"{name}, {who}", profile)
    return results


def one(contestant: contestants.Contestant, work: Path) -> Profile:
    """The second of two runs: the first finds cold caches."""
    with contestant.place(work) as (target, device):
        contestant.run(target, device)
    record = work / "perf.data"
    command = ["perf", "record", "--quiet", "--all-cpus", f"--freq={HERTZ}", "--clockid=CLOCK_MONOTONIC"]
    with contestant.place(work) as (target, device):
        perf = subprocess.Popen([*command, "--output", str(record)], stdout=subprocess.DEVNULL)
        try:
            # perf begins, and nothing of mkfs or of the mount is still to be written.
            time.sleep(2)
            begun = time.monotonic()
            contestant.run(target, device)
            ended = time.monotonic()
        finally:
            perf.send_signal(signal.SIGINT)
            perf.wait()
    return read(record, begun, ended)


def read(record: Path, begun: float, ended: float) -> Profile:
    """What was sampled between two moments of CLOCK_MONOTONIC."""
    fields = ["--fields", "comm,time,ip,sym", "--ns"]
    script = subprocess.run(["perf", "script", "-i", record, *fields], check=True, capture_output=True, text=True)
    samples = [re.match(r"\s*(.*?)\s+(\d+\.\d+):\s+[0-9a-f]+ (.*?)\s*$", line) for line in script.stdout.splitlines()]
    profile = Profile(ended - begun)
    counts = Counter()
    for sample in filter(None, samples):
        comm, when, symbol = sample.groups()
        if begun <= float(when) <= ended:
            group = next((g for g, pattern in GROUPS.items() if re.match(pattern, comm)), OTHERS)
            counts[group] += 1
            profile.symbols.setdefault(group, Counter())[symbol] += 1
    if not counts:
        raise RuntimeError("perf recorded nothing in the time of the run")
    for group, count in counts.items():
        profile.seconds[group] = count / HERTZ
    return profile


def show(title: str, profile: Profile) -> None:
    cpus = os.cpu_count() or 1
    least = profile.busy / cpus
    say(f"{title}: {profile.wall:.2f} s; {profile.busy:.2f} CPU s are no less than {least:.2f} s on {cpus} CPUs")
    rows = []
    for group, seconds in profile.seconds.most_common():
        own = profile.symbols[group]
        most = ", ".join(f"{name} {n / HERTZ:.2f}" for name, n in own.most_common(TOP)) if group != "idle" else ""
        rows.append([group, seconds, most])
    table(["CPU time of the machine", "s", "most of it in"], rows)
