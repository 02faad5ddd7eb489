"""Small trees of everything that can be in one, chosen at random; the same for the same seed."""

import os
import random
from collections.abc import Callable
from pathlib import Path

from btrfs_volume import run
from trees import EXTENT, KIB, prose

EDGES = (0, 1, 100, 2047, 2048, 2049, 4095, 4096, 4097, 8191, 8192, 65_536, EXTENT - 1, EXTENT, EXTENT + 1, 300_000)


def random_tree(root: Path, seed: int) -> None:
    rng = random.Random(seed)
    root.mkdir()
    directories, files = [root], []
    for n in range(rng.choice((0, 1, 5, 20, 60))):
        path = bytes(rng.choice(directories)) + b"/" + name(rng, n)
        if os.path.lexists(path):
            continue
        kind = rng.randrange(20)
        if kind < 4 and len(path) < 2000:
            os.mkdir(path)
            directories.append(Path(os.fsdecode(path)))
        elif kind < 13:
            content(rng, path)
            files.append(path)
        elif kind < 15 and files:
            os.link(rng.choice(files), path, follow_symlinks=False)
        elif kind < 17:
            os.symlink(rng.choice((b"x", b"../y", b"t" * rng.randint(1, 4000))), path)
            files.append(path)
        elif kind == 17:
            os.mkfifo(path)
            files.append(path)
        else:
            device = os.makedev(rng.choice((0, 1, 4095)), rng.choice((0, 255, 256, 1_048_575)))
            os.mknod(path, rng.choice((0o020000, 0o060000)), device)
    everything = [bytes(root)]
    for base, dirs, others in os.walk(bytes(root)):
        everything += [base + b"/" + each for each in dirs + others]
    for path in reversed(everything):
        attributes(rng, path)


def name(rng: random.Random, n: int) -> bytes:
    kind = rng.randrange(4)
    if kind == 0:
        return b"%d" % n
    if kind == 1:
        return rng.randbytes(rng.randint(1, 255)).replace(b"/", b"-").replace(b"\0", b"0").lstrip(b".") or b"dots"
    if kind == 2:
        return b"n" * rng.randint(1, 255)
    return f"{n}-ä-{rng.random()}".encode()


def content(rng: random.Random, path: bytes) -> None:
    size = rng.choice(EDGES) if rng.random() < 0.7 else rng.randrange(1 << rng.randrange(1, 20))
    make: Callable[[int], bytes] = rng.choice((rng.randbytes, lambda n: prose(n, n), bytes))
    with open(path, "wb") as f:
        if rng.random() < 0.25:
            f.truncate(size * 3)
            for _ in range(rng.randrange(4)):
                f.seek(rng.randrange(size * 2 + 1) // (4 * KIB) * (4 * KIB))
                f.write(make(size // 2))
        else:
            f.write(make(size))


def attributes(rng: random.Random, path: bytes) -> None:
    link = os.path.islink(path)
    regular = os.path.isfile(path) and not link
    directory = os.path.isdir(path) and not link
    os.chown(path, rng.choice((0, 1000, 2**32 - 2)), rng.choice((0, 7, 2**31)), follow_symlinks=False)
    if not link:
        os.chmod(path, rng.choice((0o644, 0o755, 0o4755, 0o2755, 0o1777, 0, rng.randrange(0o10000))))
    for n in range(rng.choice((0, 0, 0, 1, 3, 20))):
        space = rng.choice(("user", "trusted", "security")) if regular or directory else "trusted"
        value = rng.randbytes(rng.choice((0, 1, 10, 300, 3000)))
        os.setxattr(path, f"{space}.{n}{'x' * rng.randrange(200)}", value, follow_symlinks=False)
    if (regular or directory) and rng.random() < 0.05:
        run("setfacl", "-m", "u:1234:rw,g:5678:r,m::rw", os.fsdecode(path))
    seconds = rng.choice((0, 1_700_000_000, -5, 2**31, 2**33))
    when = seconds * 10**9 + rng.randrange(10**9)
    os.utime(path, ns=(when, when), follow_symlinks=False)
