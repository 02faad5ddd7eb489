"""Field by field what the kernel writes for the same archive (restored to a mounted file system), with btrfs-progs'
own reader. What differs on purpose is evened out here, and listed in spec/btrfs-image.md."""

import json
import os
import random
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from archives import Archives
from btrfs_volume import Volume
from burst import burst, snapshot
from listing import MARKER, assert_same, listing
from made_image import Image

ROOT = 256


def dump(image: Path) -> dict[str, dict]:
    """Path -> facts of its inode, from the tree of files. Names must have no newline."""
    command = ["btrfs", "inspect-internal", "dump-tree", "-t", "5", image]
    text = subprocess.run(command, capture_output=True, text=True, errors="surrogateescape", check=True).stdout
    inodes: dict[int, dict] = {}
    names: dict[int, list[tuple[int, str]]] = {}
    inode, item, key = {}, "", 0
    for line in text.splitlines():
        if not line.startswith("\t"):
            item = ""  # the header of a block
        elif m := re.match(r"\titem \d+ key \((\d+) (\w+) (\d+)\)", line):
            number, item, key = int(m[1]), m[2], int(m[3])
            inode = inodes.setdefault(number, {"extents": [], "xattrs": {}, "hashes": set(), "indexes": 0})
            if item == "DIR_ITEM":
                inode["hashes"].add(key)
            inode["indexes"] += item == "DIR_INDEX"
        elif item == "INODE_ITEM":
            inode |= {k: v for k, v in re.findall(r"(size|nbytes|group|mode|links|uid|gid|rdev|flags) (\S+)", line)}
            if m := re.match(r"\t\tmtime (\S+)", line):
                inode["mtime"] = m[1]
        elif item == "INODE_REF":
            if m := re.match(r"\t\tindex \d+ namelen \d+ name: (.*)", line):
                names.setdefault(number, []).append((key, m[1]))
        elif item == "XATTR_ITEM":
            if m := re.match(r"\t\tname: (.*)", line):
                inode["xattrs"][m[1]] = None
            elif m := re.match(r"\t\tdata (.*)", line):
                inode["xattrs"][list(inode["xattrs"])[-1]] = m[1]
        elif item == "EXTENT_DATA":
            extents = inode["extents"]
            if m := re.match(r"\t\tinline extent data size \d+ ram_bytes (\d+)", line):
                extents.append(("inline", int(m[1])))
            elif m := re.match(r"\t\textent data disk byte \d+ nr (\d+)", line):
                stored = int(m[1])
            elif m := re.match(r"\t\textent data offset (\d+) nr (\d+) ram (\d+)", line):
                offset, length, ram = int(m[1]), int(m[2]), int(m[3])
            elif m := re.match(r"\t\textent compression (\d)", line):
                if m[1] != "0":
                    extents.append(("compressed", key, stored, offset, length, ram))
                elif extents and extents[-1][0] == "plain" and extents[-1][2] == key:
                    # The kernel cuts plain content by the order of its own writing.
                    extents[-1] = ("plain", extents[-1][1], key + length)
                else:
                    extents.append(("plain", key, key + length))
    paths: dict[int, list[str]] = {ROOT: ["."]}

    def of(number: int) -> list[str]:
        if number not in paths:
            paths[number] = [f"{of(parent)[0]}/{name}" for parent, name in names[number]]
        return paths[number]

    return {path: inode for number, inode in inodes.items() for path in of(number)}


@pytest.mark.parametrize("name", ["kinds", "boundaries"])
def test_fields(name: str, made: Archives, volume: Callable[..., Volume], tmp: Path):
    image = Image(tmp / "image")
    image.make(made.archive(name), "2G")
    kernel = volume(gib=2, options="noatime")
    burst("restore", made.archive(name), kernel.path)
    kernel.unmount()
    ours, theirs = dump(image.path), dump(kernel.image)
    kernel.mount()
    with image.mounted() as path:
        assert marker(path) == marker(kernel.path)
    assert len(ours) > 10 and ours.keys() == theirs.keys()
    for path in ours:
        one, other = ours[path], theirs[path]
        if path == ".":
            # Compared above.
            del one["xattrs"][MARKER], other["xattrs"][MARKER]
        assert one == other, f"{path}: {one} -> {other}"


def test_frames_that_save_no_sector(tmp: Path):
    """They stay as they are, where the kernel would have kept the content plain; nothing is decompressed."""
    tree, archive, image = tmp / "tree", tmp / "archive", Image(tmp / "image")
    tree.mkdir()
    order = random.Random(5)
    # What hardly compresses: to more than the last sector, or than what goes inline.
    for size in (3000, 4096, 6000):
        (tree / str(size)).write_bytes(bytes(order.choices(range(100), k=size)))
    (tree / str(128 << 10)).write_bytes(order.randbytes((128 << 10) - 3000) + bytes(3000))
    snapshot(tree, archive)
    done = json.loads(image.make(archive, "200M", "--json").out)
    assert (done["encoded_frames"], done["decoded_frames"]) == (4, 0)
    found = dump(image.path)
    for size in (3000, 4096, 6000, 128 << 10):
        sectors = -(-size // 4096) * 4096
        assert found[f"./{size}"]["extents"] == [("compressed", 0, sectors, 0, sectors, sectors)]
    image.check()
    with image.mounted() as path:
        assert_same(listing(tree), listing(path))


def marker(root: Path) -> dict:
    """What says that a restore is complete, but for the time."""
    said = json.loads(os.getxattr(root, MARKER))
    assert said.pop("completed") > 0
    return said
