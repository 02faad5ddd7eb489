#!/usr/bin/env python3
"""Makes the inputs: DIR/{compressible,tiny,incompressible,media}. Deterministic but for what this machine has in /usr.

compressible: one file of 1 GiB, 64 KiB of a tar of /usr/lib/*-linux-gnu and 24 KiB of noise in turn (about 1.8:1)
tiny: 60,000 files of 16 B to 8 KiB (log-uniform), slices of text out of /usr/share
incompressible: one file of 512 MiB of noise (over 16 MiB: frames of raw blocks)
media: 48 files of 10 to 12 MiB of noise (up to 16 MiB: method STORE)
"""

import glob
import os
import random
import subprocess
import sys

MIB = 1 << 20
OUT = sys.argv[1]


def noise(seed: int):
    return random.Random(seed)


def compressible() -> None:
    libraries = sorted(glob.glob("/usr/lib/*-linux-gnu"))
    rng, size = noise(1), 0
    with open(f"{OUT}/compressible/file", "wb") as out:
        while size < 1024 * MIB:
            with subprocess.Popen(
                ["tar", "-c", "--sort=name", *libraries], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            ) as tar:
                while size < 1024 * MIB and (piece := tar.stdout.read(64 << 10)):
                    size += out.write(piece + rng.randbytes(24 << 10))
                tar.kill()
        out.truncate(1024 * MIB)


def tiny() -> None:
    text = b""
    for path in sorted(
        glob.glob("/usr/share/**/*.txt", recursive=True)
        + glob.glob("/usr/share/**/*.h", recursive=True)
        + glob.glob("/usr/share/**/*.py", recursive=True)
        + glob.glob("/usr/include/**/*.h", recursive=True)
    ):
        with open(path, "rb") as f:
            text += f.read(64 << 10)
        if len(text) > 16 * MIB:
            break
    rng = noise(2)
    for i in range(60_000):
        where = f"{OUT}/tiny/module-{i // 2000:02}/package-{i // 50 % 40:02}"
        if i % 50 == 0:
            os.makedirs(where)
        size = int(2 ** rng.uniform(4, 13))
        at = rng.randrange(len(text) - size)
        with open(f"{where}/{rng.choice(['index', 'test', 'util', 'README'])}-{i}.js", "wb") as f:
            f.write(text[at : at + size])


def main() -> None:
    for name in ("compressible", "tiny", "incompressible", "media"):
        os.makedirs(f"{OUT}/{name}")
    compressible()
    tiny()
    rng = noise(3)
    with open(f"{OUT}/incompressible/file", "wb") as f:
        f.writelines(rng.randbytes(MIB) for _ in range(512))
    for i in range(48):
        with open(f"{OUT}/media/clip-{i:02}", "wb") as f:
            f.write(rng.randbytes(10 * MIB + rng.randrange(2 * MIB)))


main()
