#!/usr/bin/env python3
"""An image that burst made, under other kernels: tests/image/kernels.py [SUITE[=PACKAGE]...]

Boots the kernels of Debian 11, 12 and 13 (or of the suites that are named) in an emulated machine that has nothing but a
RAM disk and the image. There the image is mounted, compared, edited, snapshotted, balanced and scrubbed
(kernels_guest.py); then it is checked and compared here. A suite's kernel is that of the package linux-image-cloud-amd64
unless another is named. BURST_TEST_RANDOM_TREES sets how many random trees the image holds.

Not part of CI: it downloads packages of three Debian releases with mmdebstrap and takes some minutes for each; tests/boot
has Debian 12's kernel there. Needs what tests/setup installs, the release build, and root.
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from hashlib import sha256
from pathlib import Path

HERE = Path(__file__).resolve().parent
SYSTEM = HERE.parent / "system"
sys.path[:0] = [str(SYSTEM), str(HERE)]
from btrfs_volume import Volume, private_mounts, run  # noqa: E402
from burst import snapshot  # noqa: E402
from listing import Listing, listing  # noqa: E402
from made_image import Image  # noqa: E402
from random_trees import random_tree  # noqa: E402

SUITES = ("bullseye", "bookworm", "trixie")
PACKAGE = "linux-image-cloud-amd64"
TREES = int(os.environ.get("BURST_TEST_RANDOM_TREES", "60"))
SECONDS = 1500
# The same for all kernels.
USERLAND = ["mmdebstrap", "--mode=root", "--variant=essential", "--include=python3,btrfs-progs,kmod,mount"]
USERLAND += [f"--dpkgopt=path-exclude=/usr/share/{d}/*" for d in ("man", "doc", "locale", "zoneinfo")]
USERLAND += ["bookworm"]


def make_archive(work: Path) -> tuple[Path, Listing]:
    """Random trees, and a piece of this machine."""
    source = Volume(work / "source")
    try:
        tree = source.path / "tree"
        tree.mkdir()
        for seed in range(TREES):
            random_tree(tree / f"{seed}", seed)
        shutil.copytree("/usr/lib/python3", tree / "python", symlinks=True)
        shutil.copytree("/usr/sbin", tree / "sbin", symlinks=True)
        snapshot(tree, work / "archive")
        return work / "archive", listing(tree)
    finally:
        source.close()


def make_userland(tree: Path, wanted: Listing) -> None:
    run(*USERLAND, tree)
    tests = tree / "tests"
    tests.mkdir()
    for module in (SYSTEM / "listing.py", SYSTEM / "btrfs_volume.py", SYSTEM / "burst.py", HERE / "made_image.py"):
        shutil.copy(module, tests)
    (tests / "wanted.json").write_text(json.dumps(wanted))
    shutil.copy(HERE / "kernels_guest.py", tree / "init")
    (tree / "init").chmod(0o755)


def make_machine(work: Path, suite: str, package: str, userland: Path) -> None:
    """Its kernel, and the RAM disk with this kernel's modules."""
    extracted = work / "extracted"
    run("mmdebstrap", "--mode=root", "--variant=extract", f"--include={package}", suite, extracted)
    [modules] = (found for where in ("lib", "usr/lib") for found in extracted.glob(f"{where}/modules/*"))
    (extracted / f"boot/vmlinuz-{modules.name}").rename(work / "kernel")
    shutil.rmtree(userland / "lib/modules", ignore_errors=True)
    shutil.copytree(modules, userland / "lib/modules" / modules.name)
    shutil.rmtree(extracted)
    run("chroot", userland, "/sbin/depmod", modules.name)
    run("bsdtar", "--format=newc", "-C", userland, "-cf", work / "ramdisk", ".")


def boot(work: Path, image: Path) -> dict:
    """What the machine says of itself at its end."""
    command = "qemu-system-x86_64 -M q35 -accel tcg,thread=multi -cpu max -smp 2 -m 3072".split()
    command += ["-display", "none", "-no-reboot", "-monitor", "none"]
    command += ["-serial", f"file:{work}/console", "-serial", f"file:{work}/said"]
    command += ["-kernel", f"{work}/kernel", "-initrd", f"{work}/ramdisk"]
    # On a busy host the emulated timer is too late for the kernel's test of it.
    command += ["-append", "console=ttyS0 rdinit=/init mitigations=off no_timer_check panic=-1 log_buf_len=16M"]
    command += ["-drive", f"file={image},format=raw,if=virtio,cache=unsafe"]
    command += ["-object", "rng-random,id=r0,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=r0"]
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(command, stdin=subprocess.DEVNULL, timeout=SECONDS, check=True)
    said = (work / "said").read_text(errors="replace")
    done = re.search(r"^DONE (.*)", said)
    if not done:
        console = (work / "console").read_text(errors="replace")
        sys.exit(f"{console[-10000:]}\n{said}\nthe machine did not get to its end")
    return json.loads(done[1])


def main() -> None:
    private_mounts()
    parent = os.environ.get("BURST_TEST_DIR", "/var/tmp")
    with tempfile.TemporaryDirectory(prefix="burst-kernels-", dir=parent) as name:
        base = Path(name)
        archive, wanted = make_archive(base)
        print(f"an archive of {len(wanted)} entries: {TREES} random trees, and files of this machine", flush=True)
        make_userland(base / "userland", wanted)
        for suite, _, package in (argument.partition("=") for argument in sys.argv[1:] or SUITES):
            begun = time.monotonic()
            work = base / suite
            work.mkdir()
            make_machine(work, suite, package or PACKAGE, base / "userland")
            image = Image(work / "image")
            image.make(archive, "3G")
            done = boot(work, image.path)
            image.check()
            with image.mounted("ro") as made:
                after = listing(made)
            assert sha256(json.dumps(after, sort_keys=True).encode()).hexdigest() == done["digest"]
            print(
                f"{suite}: Linux {done['kernel']}: mounted, equal, edited, balanced, scrubbed ({done['seconds']} s);"
                f" here it checks clean, and its {len(after)} entries are equal"
                f" ({time.monotonic() - begun:.0f} s in all)",
                flush=True,
            )
            shutil.rmtree(work)


main()
