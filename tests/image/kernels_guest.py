#!/usr/bin/python3 -B
"""The first and only program of the machine that kernels.py boots. What it found goes to the second serial port."""

import ctypes
import json
import os
import sys
import termios
import time
import traceback
from hashlib import sha256
from pathlib import Path

os.environ["PATH"] = "/usr/sbin:/usr/bin:/sbin:/bin"
sys.path.insert(0, "/tests")
from btrfs_volume import run
from listing import Listing, assert_same, listing
from made_image import edit

DISK, MADE = "/dev/vda", Path("/mnt")
POWER_OFF = 0x4321FEDC


def use() -> Listing:
    """What the image holds after it was compared, edited, balanced and scrubbed."""
    run("mount", "-t", "btrfs", DISK, MADE)
    assert_same(json.loads(Path("/tests/wanted.json").read_text()), listing(MADE))
    edit(MADE)
    edited = listing(MADE)
    run("btrfs", "balance", "start", "--full-balance", MADE)
    scrubbed = run("btrfs", "scrub", "start", "-B", MADE)
    assert "no errors found" in scrubbed, scrubbed
    run("umount", MADE)
    run("mount", "-t", "btrfs", "-o", "ro", DISK, MADE)
    assert_same(edited, listing(MADE))
    run("umount", MADE)
    return edited


def main() -> dict:
    begun = time.monotonic()
    for kind, at in (("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("tmpfs", "/tmp")):
        run("mount", "-t", kind, kind, at)
    for module in ("virtio_pci", "virtio_blk", "btrfs"):
        run("modprobe", module)
    edited = use()
    log = run("dmesg", "--level=emerg,alert,crit,err,warn")
    assert "btrfs" not in log.lower(), log
    digest = sha256(json.dumps(edited, sort_keys=True).encode()).hexdigest()
    return {"kernel": os.uname().release, "digest": digest, "seconds": round(time.monotonic() - begun)}


try:
    said = f"DONE {json.dumps(main())}"
except BaseException:
    said = traceback.format_exc()
with open("/dev/ttyS1", "w") as port:
    print(said, file=port, flush=True)
    termios.tcdrain(port)
ctypes.CDLL(None).reboot(POWER_OFF)
