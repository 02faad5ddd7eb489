"""How the numbers are shown."""

from statistics import median

COLUMNS = [("wall s", "wall", 1), ("CPU s", "cpu", 1), ("machine CPU s", "machine_cpu", 1), ("RSS MB", "rss", 1e6)]


def print_run(tree: str, turn: int, run: dict) -> None:
    print(
        f"{tree} round {turn + 1} {run['who']:8} wall {run['wall']:7.2f} s  CPU {run['cpu']:6.2f} s  "
        f"RSS {run['rss'] / 1e6:6.1f} MB  load before {run['load']:.2f}",
        flush=True,
    )


def print_tree(name: str, result: dict) -> None:
    """Medians, and how many times more than burst the others took."""
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
    for who, values in medians.items():
        if who != "burst":
            cells = [f"{values[key] / medians['burst'][key]:.2f}x" for _, key, _ in COLUMNS]
            print(f"| {who} / burst | " + " | ".join(cells) + " | | | |")
    result["medians"] = medians
    print(flush=True)
