"""Burst snapshot against tar | zstd -3 -T2 on the same tree: time, from memory and from a cold disk, and size."""

import zipfile
from pathlib import Path

import contestants
import limits
import trees
import volumes
from common import Run, forget_source, medians, say, source, table

ENTRY_BYTES = 200
"""What an entry may cost beyond its frames and two times its name."""

COLD_READS = 3000
"""A second: what an EBS volume of type gp3 does unless more is paid for."""

TARGETS = {"os": "tar.zst 1.15", "big": "", "small": "content + names 1.03"}


def measure(run: Run, work: Path) -> dict:
    results, rows, cold_rows = {}, [], []
    if not limits.blkio():
        say(f"a cold disk is not measured: {limits.NO_BLKIO}")
    for name in run.trees:
        (work / name).mkdir()
        with volumes.memory(work / name) as here:
            results[name] = one = one_tree(run, name, here)
        burst, tar = (medians(one[who], "wall", "cpu", "size") for who in ("burst", "tar"))
        ratios = [burst[key] / tar[key] for key in ("wall", "cpu", "size")]
        sizes = [burst["size"] / 1e6, tar["size"] / 1e6]
        walls = [burst["wall"], tar["wall"], ratios[0]]
        cpus = [burst["cpu"], tar["cpu"], ratios[1]]
        rows.append([name, *walls, *cpus, *sizes, ratios[2], one["size / allowed"], TARGETS[name]])
        if one["cold"]["burst"]:
            cold = [medians(one["cold"][who], "wall")["wall"] for who in ("burst", "tar")]
            cold_rows.append([name, *cold, cold[0] / cold[1]])
    say("burst snapshot against tar | zstd -3 -T2; the target for the time is 1.0")
    titles = ["tree", "wall s", "tar wall s", "ratio", "CPU s", "tar CPU s", "ratio", "MB", "tar MB", "ratio"]
    table([*titles, f"size / (frames + {ENTRY_BYTES} B + 2 names)", "target of size"], rows)
    if cold_rows:
        say(f"the same with nothing in memory, from a disk that answers {COLD_READS} reads a second")
        table(["tree", "wall s", "tar wall s", "ratio"], cold_rows)
    return results


def one_tree(run: Run, name: str, work: Path) -> dict:
    archive, tarball = work / "tree.zip", work / "tree.tar.zst"
    runs: dict = {"burst": [], "tar": [], "cold": {"burst": [], "tar": []}}
    say(f"{name}: making the tree")
    with source(work, lambda tree: trees.TREES[name](tree, run.quick)) as tree:
        runs["tree"] = trees.facts(tree)
        packed = ["tar", "-c", "--numeric-owner", "--xattrs", "--acls", "-C", str(tree), "."]
        commands = {
            "burst": [[str(run.burst), "snapshot", "-q", "--overwrite", str(tree), str(archive)]],
            "tar": [packed, ["zstd", "-3", "-T2", "-q", "-f", "-o", str(tarball)]],
        }
        # Once before, so that both find the tree in memory.
        contestants.timed([packed, ["sh", "-c", "exec cat >/dev/null"]])
        for _ in range(run.rounds):
            for who, made in (("burst", archive), ("tar", tarball)):
                wall, cpu, rss = contestants.timed(commands[who])
                runs[who].append({"wall": wall, "cpu": cpu, "rss": rss, "size": made.stat().st_size})
        for _ in range(run.rounds if limits.blkio() else 0):
            for who in ("burst", "tar"):
                forget_source(work)
                with limits.limited_reads(limits.device_of(work / "source"), COLD_READS):
                    wall, cpu, _ = contestants.timed(commands[who])
                runs["cold"][who].append({"wall": wall, "cpu": cpu})
    runs["size / allowed"] = archive.stat().st_size / allowed(archive)
    return runs


def allowed(archive: Path) -> int:
    """Bytes of frames, and a fixed sum and two names for each entry."""
    with zipfile.ZipFile(archive) as file:
        entries = file.infolist()
    # Names that are not marked as UTF-8 are given with one character for each byte.
    names = [len(e.orig_filename.encode() if e.flag_bits & 0x800 else e.orig_filename) for e in entries]
    return sum(e.compress_size + ENTRY_BYTES + 2 * name for e, name in zip(entries, names, strict=True))
