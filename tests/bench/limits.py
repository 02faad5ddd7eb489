"""A network of two namespaces whose link has a rate, and a limit on what is written to a block device."""

import ctypes
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import volumes

CLONE_NEWNET = 0x40000000
NO_BLKIO = "limiting the disk needs the blkio controller of cgroup version 1"
CLIENT, SERVER = "10.77.0.1", "10.77.0.2"


def enter_private_network() -> None:
    """From here on this process has a network of its own, which ends with it."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare: a network namespace of its own")
    volumes.run("ip", "link", "set", "lo", "up")


@contextmanager
def link() -> Iterator[tuple[str, tuple[str, ...], Callable[[int], None]]]:
    """A second network namespace: the address there, the command that runs something there, and what sets the rate of
    what it sends here, in Mbit/s."""
    # It ends when its input does, also if this process is killed; then the namespace and the link are gone.
    holder = subprocess.Popen(
        ["unshare", "--net", "sh", "-c", "echo ready; exec cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        holder.stdout.readline()
        within = ("nsenter", f"--net=/proc/{holder.pid}/ns/net")
        volumes.run("ip", "link", "add", "here", "type", "veth", "peer", "name", "there", "netns", holder.pid)
        for command, device, address in (((), "here", CLIENT), (within, "there", SERVER)):
            volumes.run(*command, "ip", "address", "add", f"{address}/24", "dev", device)
            volumes.run(*command, "ip", "link", "set", device, "up")

        def limit(megabits: int) -> None:
            # What two milliseconds bring may come at once: the timers that refill the bucket are not finer.
            burst = max(256 << 10, megabits * 1_000_000 // 8 // 500)
            bucket = ["rate", f"{megabits}mbit", "burst", str(burst), "latency", "50ms"]
            volumes.run(*within, "tc", "qdisc", "replace", "dev", "there", "root", "tbf", *bucket)

        yield SERVER, within, limit
    finally:
        holder.stdin.close()
        holder.wait()


def device_of(mounted: Path) -> str:
    """MAJOR:MINOR of the device that is mounted there; BTRFS itself shows another one."""
    command = ["findmnt", "--noheadings", "--output", "SOURCE", "--target", mounted]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    return device_number(found)


def device_number(device: str) -> str:
    number = os.stat(device).st_rdev
    return f"{os.major(number)}:{os.minor(number)}"


def written(device: str) -> int:
    """Bytes written to MAJOR:MINOR so far (Documentation/block/stat.rst)."""
    return int(Path("/sys/dev/block", device, "stat").read_text().split()[6]) * 512


def blkio() -> Path | None:
    """The file that limits writes, among others of its kind, of the root group: kernel threads write for everyone, and are in that group.
    None with cgroup version 2 alone, which limits no such writes."""
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, kind, options = line.split()[:4]
        file = Path(place, "blkio.throttle.write_bps_device")
        if kind == "cgroup" and "blkio" in options.split(",") and file.exists():
            return file
    return None


def limited_writes(device: str, bytes_per_second: int) -> AbstractContextManager[None]:
    return limited(device, "write_bps_device", bytes_per_second)


def limited_reads(device: str, per_second: int) -> AbstractContextManager[None]:
    """So many reads, of any length."""
    return limited(device, "read_iops_device", per_second)


@contextmanager
def limited(device: str, what: str, number: int) -> Iterator[None]:
    file = blkio()
    if file is None:
        raise RuntimeError(NO_BLKIO)
    file = file.with_name(f"blkio.throttle.{what}")
    file.write_text(f"{device} {number}\n")
    try:
        yield
    finally:
        # The device number is used again.
        file.write_text(f"{device} 0\n")
