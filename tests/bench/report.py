"""How the numbers are shown."""

from statistics import median

COLUMNS = [("wall s", "wall", 1), ("CPU s", "cpu", 1), ("machine CPU s", "machine_cpu", 1), ("RSS MB", "rss", 1e6)]


TARGETS = {
    ("burst", "receive"): {
        "os": {"wall": 0.55, "cpu": 0.55},
        "big": {"wall": 0.45, "cpu": 0.68},
        "small": {"wall": 0.55, "cpu": 0.55},
    },
    ("burst", "tar"): {"os": {"wall": 0.35}},
    ("image", "receive"): {
        "os": {"wall": 0.13, "cpu": 0.15},
        "big": {"wall": 0.42, "cpu": 0.65},
        "small": {"wall": 0.06, "cpu": 0.06},
    },
}
"""What a restore may take of what another takes."""

QUEUE_WAIT = 3
"""Percent of the wall time that parts may wait while a worker is idle; so said of the large file."""

RSS_MB = 256


def print_run(tree: str, turn: int, run: dict) -> None:
    print(
        f"{tree} round {turn + 1} {run['who']:8} wall {run['wall']:7.2f} s  CPU {run['cpu']:6.2f} s  "
        f"RSS {run['rss'] / 1e6:6.1f} MB  load before {run['load']:.2f}",
        flush=True,
    )


def print_tree(name: str, result: dict) -> None:
    """Medians, what burst took of what the others took, and the targets."""
    facts, runs = result["tree"], result["runs"]
    print(f"\n### {name}: {facts['entries']} entries, {facts['files']} files, {facts['bytes'] / 1e6:.0f} MB")
    print(", ".join(f"{file} {size / 1e6:.0f} MB" for file, size in result["objects"].items()))
    print(f"load before the runs: {min(r['load'] for r in runs):.2f} to {max(r['load'] for r in runs):.2f}\n")
    print("| | " + " | ".join(title for title, _, _ in COLUMNS) + " | wall range | on disk MB | content MB/s |")
    print("|---" * (len(COLUMNS) + 4) + "|")
    medians = {}
    for who in dict.fromkeys(r["who"] for r in runs):
        own = [r for r in runs if r["who"] == who]
        medians[who] = {key: median(r[key] for r in own) for _, key, _ in COLUMNS}
        cells = [f"{medians[who][key] / unit:.2f}" for _, key, unit in COLUMNS]
        cells.append(f"{min(r['wall'] for r in own):.2f}–{max(r['wall'] for r in own):.2f}")
        cells.append(f"{median(r['disk'] for r in own) / 1e6:.0f}")
        cells.append(f"{facts['bytes'] / 1e6 / medians[who]['wall']:.0f}")
        print(f"| {who} | " + " | ".join(cells) + " |")
    result["medians"] = medians
    result["ratios"] = ratios = []
    print()
    for (who, other), targets in TARGETS.items():
        cells = []
        for key, words in (("wall", "wall"), ("cpu", "CPU")):
            ratio, target = medians[who][key] / medians[other][key], targets.get(name, {}).get(key)
            ratios.append({"who": who, "than": other, "what": key, "ratio": ratio, "target": target})
            cells.append(f"{ratio:.3f}x {words}" + (f" (target {target:.2f})" if target else ""))
        print(f"{who} / {other}: " + ", ".join(cells))
    waits = [100 * r["report"]["seconds_parts_waited"] / r["wall"] for r in runs if r["who"] == "burst"]
    result["queue_wait_percent"] = median(waits)
    wanted = f" (target {QUEUE_WAIT} %)" if name == "big" else ""
    print(f"parts waited while a worker was idle: {median(waits):.2f} % of the wall time{wanted}")
    print(f"memory: {medians['burst']['rss'] / 1e6:.0f} MB (target {RSS_MB})")
    print(flush=True)
