"""The trees: the same bytes on every run (for `os`, on every machine with the same /usr)."""

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

OS_PLACES = ["/usr/share", "/usr/include", "/usr/bin", "/usr/sbin", "/usr/lib"]


def os_tree(to: Path, quick: bool) -> None:
    """Files of /usr in a fixed order, up to 1.3 GB."""
    limit = 150_000_000 if quick else 1_300_000_000
    pack = ["tar", "-C", "/", "-c", "--null", "--no-recursion", "--xattrs", "-T-"]
    copy = subprocess.Popen(pack, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    unpack = subprocess.Popen(["tar", "-x", "-p", "--xattrs", "-C", to], stdin=copy.stdout)
    copy.stdout.close()
    for path in selection(limit):
        copy.stdin.write(os.fsencode(path[1:]) + b"\0")
    copy.stdin.close()
    if unpack.wait() or copy.wait():
        raise RuntimeError("copying the selection of /usr failed")


def selection(limit: int) -> Iterator[str]:
    total = 0
    yield "/usr"
    for place in OS_PLACES:
        for directory, directories, files in os.walk(place):
            directories.sort()
            yield directory
            for name in sorted(files) + [d for d in directories if os.path.islink(f"{directory}/{d}")]:
                path = f"{directory}/{name}"
                total += os.lstat(path).st_size
                if total > limit:
                    return
                yield path


def big_tree(to: Path, quick: bool) -> None:
    """One file that zstd makes about 1.8 times smaller."""
    big_file(to / "big", (256 << 20) if quick else (2 << 30))


def big_file(at: Path, size: int) -> None:
    piece, text = 4 << 20, text_pool()
    order = random.Random(2)
    with at.open("wb") as file:
        # Pieces of the pool come again further back than any window of zstd -3 sees.
        for _ in range(size // piece):
            at = order.randrange(len(text) - piece)
            file.write(text[at : at + piece])


def small_tree(to: Path, quick: bool) -> None:
    """Files of 100 to 8000 bytes in directories of 400."""
    directories, files = (50, 200) if quick else (500, 400)
    text, order = text_pool(), random.Random(3)
    for number in range(directories):
        directory = to / f"d{number:03}"
        directory.mkdir()
        for name in range(files):
            size, at = order.randint(100, 8000), order.randrange(len(text) - 8000)
            (directory / f"f{name:03}").write_bytes(text[at : at + size])


TREES = {"os": os_tree, "big": big_tree, "small": small_tree}


FRESH = 9_000
"""New words among 65,536 known ones: sets how well it compresses."""


def text_pool(size: int = 48 << 20) -> bytes:
    """Words of a vocabulary, some more common than others, with new ones in between."""
    rng = random.Random(1)
    vocabulary = [rng.randbytes(rng.randint(2, 12)) for _ in range(4096)]
    common = [w for n, w in enumerate(vocabulary) for _ in range(1 + 4096 // (n + 8))]
    words = []
    length = 0
    while length < size:
        some = rng.choices(common, k=1 << 16)
        some += [rng.randbytes(5) for _ in range(FRESH)]
        rng.shuffle(some)
        words.append(b"".join(some))
        length += len(words[-1])
    return b"".join(words)[:size]


def facts(tree: Path) -> dict[str, int]:
    """What is in it; bytes is the content of its files."""
    found = {"entries": 0, "files": 0, "bytes": 0}
    for directory, directories, files in os.walk(tree):
        found["entries"] += len(directories) + len(files)
        for name in files:
            path = f"{directory}/{name}"
            if not os.path.islink(path):
                found["files"] += 1
                found["bytes"] += os.lstat(path).st_size
    return found


LISTING = r"find . -mindepth 1 -printf '%P %y %m %U %G %T@ %l\n' | LC_ALL=C sort | sha256sum"


def compare(one: Path, other: Path) -> None:
    """Content and metadata must be equal."""
    subprocess.run(["diff", "-r", "--no-dereference", one, other], check=True)
    sums = [
        subprocess.run(["sh", "-c", LISTING], cwd=at, check=True, capture_output=True).stdout for at in (one, other)
    ]
    if sums[0] != sums[1]:
        raise RuntimeError(f"{other}: modes, owners or times differ from {one}")
