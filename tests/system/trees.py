"""Trees to archive: every odd kind and size, a piece of a real system, masses of tiny files, part boundaries.

The same call makes the same names and content again.
"""

import os
import random
import shutil
import subprocess
from pathlib import Path

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
EXTENT, GRID = 128 * KIB, 8 * MIB
YEAR_2300 = 10_413_792_000
WHEN = 1_700_000_000_123_456_789


def noise(size: int, seed: int = 1) -> bytes:
    """Incompressible."""
    return random.Random(seed).randbytes(size)


def prose(size: int, seed: int = 1) -> bytes:
    """Compresses about four to one."""
    rng = random.Random(seed)
    words = [noise(rng.randint(2, 9), n).hex()[: rng.randint(2, 12)] for n in range(500)]
    line = " ".join(rng.choice(words) for _ in range(4000)).encode() + b"\n"
    out = bytearray()
    while len(out) < size:
        out += b"%d: " % len(out) + line[rng.randrange(1000) :]
    return bytes(out[:size])


def odd_tree(root: Path) -> None:
    """About 130 MB. Needs root, and a file system that takes large attributes (BTRFS does)."""
    root.mkdir(exist_ok=True)
    sizes(root / "sizes")
    sparse(root / "sparse")
    owners_and_times(root / "owners")
    attributes(root / "attributes")
    links_and_nodes(root / "links")
    names(root / "names")
    settle(root)
    os.setxattr(root, "user.root", b"of the root")
    os.chmod(root, 0o751)
    os.chown(root, 12, 34)
    os.utime(root, ns=(WHEN, WHEN))


def settle(root: Path) -> None:
    """Directories get a time that tells; deepest first, since names change the time of their directory."""
    for n, (path, _, _) in enumerate(os.walk(root, topdown=False)):
        if not path.endswith("-own-time"):
            os.utime(path, ns=(WHEN, WHEN + n * 1_000_000_007))


def sizes(d: Path) -> None:
    d.mkdir()
    small = (0, 1, 2047, 2048, 2049, 4095, 4096, 4097, EXTENT - 1, EXTENT, EXTENT + 1, 2 * EXTENT)
    for size in small:
        (d / f"prose-{size}").write_bytes(prose(size, size))
        (d / f"noise-{size}").write_bytes(noise(size, size))
    for size in (GRID - 1, GRID, GRID + 1):
        (d / f"noise-{size}").write_bytes(noise(size, size))
    for size in (16 * MIB - 1, 16 * MIB, 16 * MIB + 1):
        (d / f"prose-{size}").write_bytes(prose(size, size))
    (d / "incompressible").write_bytes(noise(20 * MIB))
    (d / "compressible").write_bytes(prose(40 * MIB))
    mixed = b"".join(noise(EXTENT, n) if n % 3 else prose(EXTENT, n) for n in range(150))
    (d / "mixed").write_bytes(mixed)
    (d / "zeros-and-a-byte").write_bytes(bytes(300_000) + b"x")


def sparse(d: Path) -> None:
    """Size and pieces of data; zeros among the data are allocated, and must stay so."""
    d.mkdir()
    k = KIB
    data = noise(64 * k, 9)
    files: dict[str, tuple[int, list[tuple[int, bytes]]]] = {
        "hole-first": (164 * k, [(100 * k, data)]),
        "hole-last": (1 * MIB, [(0, data)]),
        "hole-last-odd": (1 * MIB + 17, [(0, data)]),
        "hole-between": (600 * k, [(0, data), (500 * k, data + noise(36 * k))]),
        "many-holes": (2 * MIB, [(n * 32 * k, data[: 4 * k]) for n in range(64)]),
        "only-hole": (5 * MIB + 3, []),
        "only-hole-small": (100, []),
        "hole-of-100-gib": (100 * GIB + 4 * k, [(0, b"begin"), (100 * GIB, b"end")]),
        "allocated-zeros": (1 * MIB, [(0, bytes(1 * MIB))]),
        "allocated-zeros-in-holes": (3 * MIB, [(1 * MIB, bytes(1 * MIB))]),
        "zeros-data-hole": (20 * MIB, [(0, bytes(256 * k)), (8 * MIB, noise(9 * MIB))]),
        "hole-over-parts": (64 * MIB, [(0, noise(4 * MIB, 5)), (60 * MIB, noise(4 * MIB, 6))]),
    }
    for name, (size, pieces) in files.items():
        with open(d / name, "wb") as f:
            f.truncate(size)
            for offset, content in pieces:
                f.seek(offset)
                f.write(content)


def owners_and_times(d: Path) -> None:
    d.mkdir()
    for mode in (0o4755, 0o2755, 0o6711, 0o1777, 0o000, 0o400, 0o222, 0o7777):
        for name, make in ((f"file-{mode:o}", Path.touch), (f"dir-{mode:o}", Path.mkdir)):
            path = d / name
            make(path)
            os.chown(path, 1000 + mode, 2_000_000_000)
            path.chmod(mode)
    read_only = d / "dir-0500"
    read_only.mkdir()
    (read_only / "inside").write_bytes(b"content")
    read_only.chmod(0o500)
    times = {
        "epoch": 0,
        "before": -1,
        "1901": -2_147_483_649 * 10**9 + 5,
        "2038": (1 << 31) * 10**9 + 999_999_999,
        "2300": YEAR_2300 * 10**9 + 123_456_789,
        "ns": WHEN,
        "1969": -999_999_999,
    }
    for name, ns in times.items():
        (d / name).write_bytes(name.encode())
        os.utime(d / name, ns=(ns, ns))
        link = d / f"link-{name}"
        link.symlink_to(name)
        os.chown(link, 7, 8, follow_symlinks=False)
        os.utime(link, ns=(ns, ns), follow_symlinks=False)
        directory = d / f"{name}-own-time"
        directory.mkdir()
        os.utime(directory, ns=(ns, ns))


def attributes(d: Path) -> None:
    d.mkdir()

    def file(name: str) -> Path:
        (d / name).write_bytes(b"content")
        return d / name

    os.setxattr(file("user"), "user.simple", b"value")
    os.setxattr(file("empty-value"), "user.empty", b"")
    os.setxattr(file("binary"), "user.binary", bytes(range(256)))
    os.setxattr(file("trusted"), "trusted.burst", b"only root sees it")
    os.setxattr(file("security"), "security.burst", b"opaque")
    many = file("many")
    for n in range(100):
        os.setxattr(many, f"user.number.{n:03}", b"v" * n)
    large = file("over-32-KiB")
    for n in range(6):
        os.setxattr(large, f"user.large{n}", noise(12_000, n))
    os.setxattr(file("long-name"), "user." + "n" * 250, b"x")
    os.setxattr(d, "user.on-directory", b"yes")
    (d / "link").symlink_to("user")
    os.setxattr(d / "link", "trusted.on-link", b"yes", follow_symlinks=False)
    run("setfacl", "-m", "u:1234:rw,g:5678:r,m::rw", file("acl"))
    (d / "acl-directory").mkdir()
    run("setfacl", "-m", "u:1234:rwx", d / "acl-directory")
    run("setfacl", "-d", "-m", "u:1234:rwx,g:99:---", d / "acl-directory")
    (d / "acl-directory" / "below").mkdir()
    (d / "acl-directory" / "below" / "file").write_bytes(b"inherits")
    capable = file("capable")
    os.chown(capable, 1000, 1000)
    capable.chmod(0o755)
    run("setcap", "cap_net_raw,cap_net_bind_service+ep", capable)


def links_and_nodes(d: Path) -> None:
    for sub in ("", "a", "a/b", "c", "empty"):
        (d / sub).mkdir()
    (d / "a/first").write_bytes(prose(300_000))
    for name in ("a/b/second", "c/third", "zz-last"):
        os.link(d / "a/first", d / name)
    (d / "symlink").symlink_to("a/first")
    os.link(d / "symlink", d / "c/symlink-again", follow_symlinks=False)
    os.mkfifo(d / "fifo", 0o640)
    os.link(d / "fifo", d / "c/fifo-again")
    (d / "empty-file").touch()
    os.link(d / "empty-file", d / "c/empty-again")
    (d / "dangling").symlink_to("nowhere/at/all")
    (d / "absolute").symlink_to("/etc/hostname")
    (d / "c/up").symlink_to("../a/first")
    (d / "far-up").symlink_to("../../../../../etc/passwd")
    (d / "to-directory").symlink_to("a/b")
    (d / "itself").symlink_to("itself")
    os.symlink(b"\xff\xfe not UTF-8\n", bytes(d / "odd-target"))
    (d / "long-target").symlink_to("/".join("t" * 199 for _ in range(20)))
    os.mknod(d / "null", 0o020666, os.makedev(1, 3))
    os.mknod(d / "loop", 0o060660, os.makedev(7, 200))
    os.mknod(d / "large-numbers", 0o020600, os.makedev(4000, 1_000_000))
    os.link(d / "null", d / "c/null-again")
    for name in ("null", "loop", "large-numbers"):
        os.chown(d / name, 0, 6)


def names(d: Path) -> None:
    d.mkdir()
    odd = [
        "n" * 255,
        "ä" * 127,
        " ",
        "  leading and trailing ",
        "new\nline",
        "back\\slash",
        "tab\t",
        "-rf",
        "~",
        "*?[a]",
        "quote'\"",
        "日本語",
        "e\u0301 decomposed",
        "é composed",
        "C:",
        "CON",
        "dot.",
        "..a",
        "...",
        "%00",
        "\x01\x7f",
        ".hidden",
        "emoji 🦀",
    ]
    for name in odd:
        (d / name).write_bytes(name.encode())
        (d / f"dir-{name}"[:255].encode()[:255].decode(errors="ignore")).mkdir()
    for raw in (b"\xff", b"latin-\xe9", b"\xc3\x28", b"mixed-\xe4-\xc3\xa4", b"\x80\x81"):
        with open(bytes(d) + b"/" + raw, "wb") as f:
            f.write(raw)
        os.mkdir(bytes(d) + b"/dir-" + raw)
    deep = d
    for n in range(14):
        deep = deep / f"{n:02}{'d' * 248}"
        deep.mkdir()
    (deep / "at-the-bottom").write_bytes(b"3,500 bytes of path")
    (d / ".burst").mkdir()  # reserved only at the root
    (d / ".burst/inside").write_bytes(b"kept")


def os_tree(root: Path, wanted: int = 40_000) -> None:
    """A piece of this machine's /usr, at most 512 MiB (BURST_FULL=1: 1.5 GiB), at least `wanted` entries (generated if
    need be)."""
    limit = 3 * GIB // 2 if os.environ.get("BURST_FULL") else GIB // 2
    root.mkdir()
    total = entries = 0
    chosen = []
    for top in ("usr/bin", "usr/sbin", "usr/include", "usr/share", "usr/lib"):
        for path in sorted(Path("/", top).iterdir()):
            size, count = measure(path)
            if total + size <= limit:
                total, entries = total + size, entries + count
                chosen.append(str(path.relative_to("/")))
    for at in range(0, len(chosen), 500):
        run("cp", "-a", "--parents", *chosen[at : at + 500], root, cwd="/")
    for n in range(max(0, wanted - entries)):
        path = root / f"generated/{n // 500:03}/file-{n}"
        if n % 500 == 0:
            path.parent.mkdir(parents=True)
        path.write_bytes(b"%d\n" % n * (n % 700))
    settle(root)


def measure(path: Path) -> tuple[int, int]:
    """Bytes and entries."""
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size, 1
    size, count = 0, 1
    for base, dirs, files in os.walk(path):
        count += len(dirs) + len(files)
        size += sum(os.lstat(os.path.join(base, f)).st_size for f in files)
    return size, count


def tiny_files(root: Path, count: int = 70_000) -> None:
    """More than 65,535 entries."""
    for n in range(count):
        if n % 1000 == 0:
            (root / f"{n // 1000:03}").mkdir(parents=True)
        (root / f"{n // 1000:03}" / f"{n}").write_bytes(b"%d" % n * (n % 5))


def boundaries(root: Path) -> None:
    """About 250 MB whose headers, frames and descriptors come near the grid at every small distance."""
    root.mkdir()
    rng = random.Random(4)
    big = noise(17 * MIB, 77)
    for n in range(24):
        # Incompressible: stored. The name moves what follows by a byte each.
        (root / f"{n:02}-stored-{'x' * n}").write_bytes(big[: GRID - 200 + 7 * n])
        (root / f"{n:02}-tiny-{'y' * rng.randrange(200)}").write_bytes(b"t" * rng.randrange(60))
        (root / f"{n:02}-packed-{'z' * n}").write_bytes(prose(rng.choice((EXTENT, 5 * EXTENT, 700_001)), n))
        (root / f"{n:02}-link").symlink_to("l" * rng.randrange(1, 400))
    for n, size in enumerate((16 * MIB + 1, 17 * MIB - 1, 16 * MIB + EXTENT)):
        # Over 16 MiB and not compressible: raw frames and a data descriptor.
        (root / f"descriptor-{n}").write_bytes(big[:size])
    settle(root)


def run(*command: object, cwd: str | None = None) -> None:
    program = shutil.which(str(command[0]))
    assert program, f"{command[0]} is not installed"
    done = subprocess.run([program, *map(str, command[1:])], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command[0]}: {done.stderr[:2000]}"
