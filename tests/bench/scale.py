"""From ten thousand to a million small files: cost per file, memory, and when the first file is there."""

import random
import re
import shutil
import time
import zipfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import contestants
import trees
import volumes
from common import Run, medians, say, snapshot, table, target
from first_file import FirstFile
from report import RSS_MB

COUNTS = [10_000, 100_000, 1_000_000]
IN_DIRECTORY = 500
SIZES = (100, 2000)


def measure(run: Run, work: Path) -> dict:
    results, rows = {}, []
    for count in [1_000, 10_000] if run.quick else COUNTS:
        (work / str(count)).mkdir()
        with volumes.memory(work / str(count)) as here:
            results[count] = one = one_count(run, count, here)
        middle = medians(one["runs"], "wall", "cpu", "rss", "first_file", "directory_read")
        micro = [1e6 * middle[key] / count for key in ("wall", "cpu")]
        first = [middle["first_file"], middle["directory_read"]]
        sizes = [one["archive"] / 1e6, one["directory"] / 1e6]
        rows.append([count, *sizes, middle["wall"], *micro, middle["rss"] / 1e6, *first])
    say(f"files of {SIZES[0]} to {SIZES[1]} bytes, {IN_DIRECTORY} in a directory; seconds since the start")
    titles = ["files", "archive MB", "directory MB", "wall s", "wall us/file", "CPU us/file", "RSS MB"]
    table([*titles, "first file after s", "whole directory sent after s"], rows)
    for column, what in ((4, "wall"), (5, "CPU")):
        costs = [row[column] for row in rows]
        print(f"{what} time for each file, most / least: {max(costs) / min(costs):.2f} (target: flat)")
    *_, first, whole = rows[-1]
    print(f"first file after {first / whole:.3f} of the time to the whole directory (target: below 1)")
    print(f"memory: {max(row[6] for row in rows):.0f} MB at most (target {RSS_MB})", flush=True)
    return results


def one_count(run: Run, count: int, work: Path) -> dict:
    say(f"{count} files: making them and the archive")
    tree = work / "source"
    tree.mkdir()
    make(tree, count)
    archive = snapshot(run, tree, work)
    # A million files and the restored ones would not fit into memory together.
    shutil.rmtree(tree)
    with zipfile.ZipFile(archive) as file:
        directory = file.start_dir
    length = archive.stat().st_size
    runs = []
    log = work / "access.log"
    with volumes.nginx(work / "nginx", work / "objects", log=log) as url:
        burst = contestants.burst(run.burst, url)
        for _ in range(run.rounds):
            log.write_text("")
            with target(work) as at, FirstFile(at) as first:
                begun = time.time()
                one = burst.run(at)
            one["first_file"] = first.when - begun
            one["directory_read"] = last_answer(log, directory, length) - begun
            runs.append(one)
        say(f"{count} files: wall {medians(runs, 'wall')['wall']:.2f} s")
    return {"archive": length, "directory": length - directory, "runs": runs}


def last_answer(log: Path, directory: int, length: int) -> float:
    """When the last answer with bytes of the directory had been sent."""
    last = 0.0
    for line in log.read_text().splitlines():
        when, asked = line.split(" ", 1)
        found = re.match(r"bytes=(\d*)-(\d*)", asked)
        if found:
            begin, end = found.groups()
            end = length if not begin or not end else int(end) + 1
            if end > directory:
                last = max(last, float(when))
    return last


def make(tree: Path, count: int) -> None:
    """The same names and bytes each time, written by two processes."""
    directories = range(0, count, IN_DIRECTORY)
    half = len(directories) // 2
    with ProcessPoolExecutor(2) as pool:
        for done in [pool.submit(fill, tree, part) for part in (directories[:half], directories[half:])]:
            done.result()


def fill(tree: Path, directories: range) -> None:
    text = trees.text_pool(8 << 20)
    for number in directories:
        order = random.Random(number)
        directory = tree / f"d{number // IN_DIRECTORY:04}"
        directory.mkdir()
        for name in range(IN_DIRECTORY):
            at = int(order.random() * (len(text) - SIZES[1]))
            size = SIZES[0] + int(order.random() * (SIZES[1] - SIZES[0]))
            with open(f"{directory}/f{name:03}", "wb", buffering=0) as file:
                file.write(text[at : at + size])
