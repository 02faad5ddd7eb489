"""What is compared: how each object is made, how each is restored, and what is measured."""

import json
import os
import resource
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import volumes

SIZE = 8 << 30
"""Of a target, in bytes."""


@dataclass
class Contestant:
    mount_options: str
    pipeline: list[list[str]]
    """Commands joined by pipes; `{}` stands for the mount point, `{device}` for the device of a blank one."""
    directory: str = ""
    """Made below the mount point before the clock starts."""
    blank: bool = False
    """It begins with a blank device, and makes and mounts the file system within the time that is taken."""
    tree: str = "tree"
    """Where the tree is, below the mount point."""
    reports: bool = False
    """It prints what it did as JSON."""

    @contextmanager
    def place(self, work: Path) -> Iterator[tuple[Path, str]]:
        """What it begins with, new: where that is or will be mounted, and its device if it is blank."""
        image, target = work / "target.img", work / "target"
        if self.blank:
            with volumes.blank(image, target, SIZE) as device:
                yield target, device
        else:
            with volumes.mounted(image, target, SIZE, self.mount_options):
                yield target, ""

    def run(self, target: Path, device: str = "") -> dict:
        """Restores onto an empty mounted file system or a blank device; wall and CPU in seconds, RSS in bytes."""
        if self.directory:
            (target / self.directory).mkdir()
        commands = [
            [part.replace("{}", str(target)).replace("{device}", device) for part in command]
            for command in self.pipeline
        ]
        machine, begun = machine_cpu(), time.monotonic()
        with tempfile.TemporaryFile("w+") as printed:
            cpu, rss = run_pipeline(commands, printed)
            printed.seek(0)
            report = {"report": json.load(printed)} if self.reports else {}
        ended, before = time.monotonic(), own_system_time()
        volumes.sync(target)
        wall = time.monotonic() - begun
        cpu += own_system_time() - before
        return {
            "wall": wall,
            "exit": ended - begun,
            "cpu": cpu,
            "machine_cpu": machine_cpu() - machine,
            "rss": rss,
            "disk": volumes.used(target),
        } | report


def burst(program: Path, url: str, *options: object) -> Contestant:
    """A restore of the archive that make_archive or make_objects made."""
    source = ["s3://bench/tree.zip", "--endpoint-url", url, "--no-sign-request"]
    command = [str(program), "restore", "-q", "--json", *map(str, options), *source, "{}/tree"]
    return Contestant("", [command], reports=True)


def burst_device(program: Path, url: str) -> Contestant:
    """The same onto a blank device."""
    source = ["s3://bench/tree.zip", "--endpoint-url", url, "--no-sign-request"]
    command = [str(program), "restore", "-q", "--device", "{device}", *source, "{}"]
    return Contestant("", [command], blank=True, tree=".")


def all_of(program: Path, url: str) -> dict[str, Contestant]:
    curl = ["curl", "-sSf"]
    return {
        "burst": burst(program, url),
        "image": burst_device(program, url),
        "receive": Contestant("", [[*curl, f"{url}/bench/tree.stream"], ["btrfs", "-q", "receive", "{}"]]),
        "tar": Contestant(
            "compress=zstd:3",
            [
                [*curl, f"{url}/bench/tree.tar.zst"],
                ["zstd", "-dcq"],
                ["tar", "-x", "-p", "--numeric-owner", "--xattrs", "--acls", "-f-", "-C", "{}/tree"],
            ],
            "tree",
        ),
    }


def make_objects(program: Path, tree: Path, to: Path) -> dict[str, int]:
    """The three forms of the tree; their sizes in bytes."""
    volumes.run(program, "snapshot", "-q", tree, to / "tree.zip")
    volumes.run("btrfs", "-q", "property", "set", "-ts", tree, "ro", "true")
    volumes.run("btrfs", "-q", "send", "--proto", "2", "--compressed-data", "-f", to / "tree.stream", tree)
    tar = ["tar", "-c", "--sort=name", "--numeric-owner", "--xattrs", "--acls", "-C", str(tree), "."]
    with (to / "tree.tar.zst").open("wb") as out:
        first = subprocess.Popen(tar, stdout=subprocess.PIPE)
        subprocess.run(["zstd", "-3", "-q", "-T0"], stdin=first.stdout, stdout=out, check=True)
        if first.wait():
            raise RuntimeError("tar failed")
    return {file.name: file.stat().st_size for file in sorted(to.iterdir())}


def timed(commands: list[list[str]], out: IO[str] | None = None) -> tuple[float, float, int]:
    """Wall and CPU seconds and peak RSS of a pipeline that needs no file system."""
    begun = time.monotonic()
    cpu, rss = run_pipeline(commands, out)
    return time.monotonic() - begun, cpu, rss


def run_pipeline(commands: list[list[str]], out: IO[str] | None = None) -> tuple[float, int]:
    """CPU seconds of all processes, and the sum of their peak RSS in bytes; a failing one is an error. `out` gets what
    the last one prints."""
    with tempfile.TemporaryDirectory() as directory:
        notes = [Path(directory, str(number)) for number in range(len(commands))]
        processes: list[subprocess.Popen] = []
        for number, (command, note) in enumerate(zip(commands, notes, strict=True)):
            last = number == len(commands) - 1
            stdin = processes[-1].stdout if processes else subprocess.DEVNULL
            # A session of its own, so that all of it can be stopped.
            # A child begins with the peak RSS of what started it: let that be a small program, not this one.
            timed = ["/usr/bin/time", "-q", "-f", "%M", "-o", str(note), *command]
            stdout = out if last else subprocess.PIPE
            processes.append(subprocess.Popen(timed, stdin=stdin, stdout=stdout, start_new_session=True))
            if number:
                # Only the next command holds the pipe, so that its end is noticed.
                processes[number - 1].stdout.close()
        cpu, failed = 0.0, []
        try:
            for process, command in zip(processes, commands, strict=True):
                _, status, usage = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
                cpu += usage.ru_utime + usage.ru_stime
                if process.returncode:
                    failed.append(f"{' '.join(command)}: exit code {process.returncode}")
        finally:
            # This program was told to stop.
            for process in processes:
                if process.returncode is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        if failed:
            raise RuntimeError("; ".join(failed))
        return cpu, sum(int(note.read_text()) * 1024 for note in notes)


def own_system_time() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_stime


def machine_cpu() -> float:
    """CPU seconds of the whole machine so far, without idle, waiting and what a host took."""
    user, nice, system, _idle, _wait, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
