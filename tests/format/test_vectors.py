"""The golden vectors of spec/vectors against the reference reader, the grid checker, the program and other tools.

Needs root, btrfs-progs, 7zz and bsdtar; BURST names the program, else target/release/burst or target/debug/burst.
"""

import hashlib
import json
import os
import random
import stat
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import burst_reference as ref
import check_grid
import pytest
from burst_archive import Archive, Entry
from burst_extract import Check, Extractor
from burst_frames import Refused

REPOSITORY = Path(__file__).parents[2]
VECTORS = REPOSITORY / "spec" / "vectors"
MANIFEST = json.loads((VECTORS / "manifest.json").read_text())
VALID = {Path(r["file"]).stem: r for r in MANIFEST["valid"] + MANIFEST["valid_by_hand"]}
REFUSE = {Path(r["file"]).stem: r for r in MANIFEST["refuse"]}
MODES = ("map", "ignore-map", "stream")
UNRESTORABLE = "unrestorable-name"
TOO_LONG = "long-names"  # the reference reader opens files by their whole path, which must have below 4,096 bytes
SEVEN_ZIP = os.environ.get("SEVEN_ZIP", "7zz")
BSDTAR = os.environ.get("BSDTAR", "bsdtar")


@pytest.fixture(scope="session")
def burst() -> str:
    places = [os.environ.get("BURST"), REPOSITORY / "target/release/burst", REPOSITORY / "target/debug/burst"]
    found = [str(p) for p in places if p and os.path.exists(p)]
    assert found, "no burst program: build it, or name it in BURST"
    return found[0]


@pytest.fixture(scope="session")
def btrfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    where = tmp_path_factory.mktemp("btrfs")
    image, mount = where / "image", where / "mount"
    mount.mkdir()
    with open(image, "wb") as f:
        f.truncate(1 << 30)
    subprocess.run(["mkfs.btrfs", "-q", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(mount)], check=True)
    try:
        yield mount
    finally:
        subprocess.run(["umount", str(mount)], check=True)


@pytest.fixture
def target(btrfs: Path) -> Iterator[Path]:
    """A path where nothing is yet, in a directory of its own."""
    own = btrfs / f"test-{random.SystemRandom().randrange(1 << 60):x}"
    own.mkdir()
    yield own / "target"
    subprocess.run(["rm", "-rf", "--", str(own)], check=True)


def path_of(row: dict) -> Path:
    return VECTORS / row["file"]


def unescape(text: str) -> bytes:
    return text.encode().decode("unicode_escape").encode("latin-1")


class Collect(Check):
    """Keeps contents by ordinal."""

    def __init__(self) -> None:
        super().__init__()
        self.contents: dict[int, bytearray] = {}

    def content(self, e: Entry, offset: int, data: bytes) -> None:
        super().content(e, offset, data)
        b = self.contents.setdefault(e.ordinal, bytearray())
        b.extend(bytes(max(0, offset - len(b))))
        b[offset:offset + len(data)] = data

    def of(self, e: Entry) -> bytes:
        return bytes(self.contents.get(e.ordinal, b"")).ljust(e.usize, b"\0")


def read(path: Path, mode: str, sink: object) -> Archive:
    if mode == "stream":
        with open(path, "rb") as f:
            return ref.read_stream(f, sink)
    random.seed(7)
    return ref.read_seekable(str(path), sink, mode == "ignore-map")


def listed(e: Entry, entries: list[Entry], content: bytes) -> dict:
    """An entry as the manifest has it."""
    row = attributes(e) | {"path": ref.escape(e.path), "type": e.kind, "size": e.usize}
    if e.kind == "file":
        row["sha256"] = hashlib.sha256(content).hexdigest()
    if e.kind in ("symlink", "hardlink"):
        row["link"] = ref.escape(content)
    if e.target is not None:
        row["hard_link"] = ref.escape(entries[e.target].path)
    if e.device:
        row["device"] = list(e.device)
    if e.links is not None:
        row["links"] = e.links
    if e.holes:
        row["holes"] = [list(h) for h in e.holes]
    return row


def attributes(e: Entry) -> dict:
    row = {"mode": f"{e.mode & 0o7777:04o}", "uid": e.uid, "gid": e.gid, "mtime": e.mtime, "mtime_ns": e.ns}
    return row | ({"xattrs": {ref.escape(n): v.hex() for n, v in e.xattrs.items()}} if e.xattrs else {})


def test_files_are_those_of_the_manifest() -> None:
    rows = [*VALID.values(), *REFUSE.values()]
    for row in rows:
        assert hashlib.sha256(path_of(row).read_bytes()).hexdigest() == row["sha256"], row["file"]
    assert {path_of(r) for r in rows} == set(VECTORS.rglob("*.zip"))
    anchors = set(re_anchors((REPOSITORY / "spec/format.md").read_text()))
    assert {a for r in rows for a in r.get("anchors", [r.get("anchor")])} <= anchors


def re_anchors(text: str) -> list[str]:
    return [piece.split('"')[0] for piece in text.split('<a id="')[1:]]


def test_refuse_vectors_are_reproducible(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes((VECTORS / "manifest.json").read_bytes())
    script = Path(__file__).with_name("make_refuse.py")
    subprocess.run([sys.executable, str(script), str(tmp_path)], check=True, capture_output=True)
    assert (tmp_path / "manifest.json").read_bytes() == (VECTORS / "manifest.json").read_bytes()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", VALID)
def test_reference_lists(name: str, mode: str) -> None:
    row, sink = VALID[name], Collect()
    archive = read(path_of(row), mode, sink)
    assert [listed(e, archive.entries, sink.of(e)) for e in archive.entries] == row["entries"]
    assert (attributes(archive.root) if archive.root else None) == row["root"]
    if "parts" in row and mode == "map":
        assert [[m.kind, m.ordinal, m.value] for m in archive.map] == row["parts"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", [n for n in VALID if n not in (UNRESTORABLE, TOO_LONG)])
def test_reference_extracts(name: str, mode: str, target: Path) -> None:
    row, sink = VALID[name], Extractor(os.fsencode(target))
    archive = read(path_of(row), mode, sink)
    sink.finish(archive, check_crc=mode == "ignore-map")
    check_tree(target, row)


@pytest.mark.parametrize("name", VALID)
def test_grid_checker(name: str) -> None:
    row = VALID[name]
    quick = ["--no-crc"] if row["length"] > 1 << 20 else []  # byte after byte in Python; the reference reader has it
    run = subprocess.run([sys.executable, check_grid.__file__, *quick, str(path_of(row))], capture_output=True, text=True,
                         check=False)
    assert (run.returncode == 0) == row.get("check_grid", True), run.stdout


@pytest.mark.parametrize("name", REFUSE)
def test_reference_refuses(name: str) -> None:
    row = REFUSE[name]
    with pytest.raises(Refused) as why:
        read(path_of(row), "map", Check())
    assert why.value.anchor == row["anchor"], why.value
    for mode in ("ignore-map", "stream"):
        if not (mode == "ignore-map" and name.startswith("map-")):  # only the map says it
            with pytest.raises((Refused, struct.error)):
                read(path_of(row), mode, Check())


def at(root: Path, path: bytes) -> tuple[int, bytes]:
    """The directory of a path, opened, and the last component: paths may be longer than a system call takes."""
    *parents, name = path.split(b"/")
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    for p in parents:
        below = os.open(p, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
        os.close(fd)
        fd = below
    return fd, name


def everything_below(root: Path) -> set[bytes]:
    found: set[bytes] = set()

    def walk(fd: int, prefix: bytes) -> None:
        for name in os.listdir(fd):
            path = prefix + os.fsencode(name)
            found.add(path)
            if stat.S_ISDIR(os.lstat(name, dir_fd=fd).st_mode):
                below = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
                walk(below, path + b"/")
                os.close(below)

    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    walk(fd, b"")
    os.close(fd)
    return found


FORMATS = {"file": stat.S_IFREG, "dir": stat.S_IFDIR, "symlink": stat.S_IFLNK, "fifo": stat.S_IFIFO,
           "char": stat.S_IFCHR, "block": stat.S_IFBLK}


def check_tree(root: Path, row: dict) -> None:
    """What was restored is what the manifest says, and nothing else."""
    entries = {unescape(e["path"]): e for e in row["entries"] if e["path"] != "."}
    assert everything_below(root) == set(entries)
    if row["root"]:
        check_attributes(root.stat(), row["root"], str(root))
        found = {n: os.getxattr(root, n).hex() for n in os.listxattr(root) if "burst" not in n}  # not the program's mark
        assert found == row["root"].get("xattrs", {})
    for path, e in entries.items():
        fd, name = at(root, path)
        try:
            check_entry(fd, name, e, entries, root)
        finally:
            os.close(fd)


def check_attributes(s: os.stat_result, e: dict, path: str) -> None:
    assert (s.st_uid, s.st_gid) == (e["uid"], e["gid"]), path
    assert s.st_mtime_ns == e["mtime"] * 10**9 + e["mtime_ns"], path
    if not stat.S_ISLNK(s.st_mode):
        assert f"{stat.S_IMODE(s.st_mode):04o}" == e["mode"], path


def check_entry(fd: int, name: bytes, e: dict, entries: dict[bytes, dict], root: Path) -> None:
    s, path = os.lstat(name, dir_fd=fd), e["path"]
    if e["type"] == "hardlink":
        to = unescape(e["hard_link"])
        to_fd, to_name = at(root, to)
        assert s.st_ino == os.lstat(to_name, dir_fd=to_fd).st_ino, path
        os.close(to_fd)
        return
    assert stat.S_IFMT(s.st_mode) == FORMATS[e["type"]], path
    check_attributes(s, e, path)
    assert s.st_nlink == 1 + sum(x.get("hard_link") == e["path"] for x in entries.values()) or e["type"] == "dir", path
    if e["type"] == "symlink":
        assert os.readlink(name, dir_fd=fd) == unescape(e["link"]), path
    elif "device" in e:
        assert [os.major(s.st_rdev), os.minor(s.st_rdev)] == e["device"], path
    elif e["type"] in ("file", "dir"):
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=fd)
        try:
            xattrs = {ref.escape(os.fsencode(n)): os.getxattr(file, n).hex() for n in os.listxattr(file)}
            assert xattrs == e.get("xattrs", {}), path
            if e["type"] == "file":
                check_content(file, e)
        finally:
            os.close(file)


def check_content(fd: int, e: dict) -> None:
    content = b""
    while more := os.read(fd, 1 << 24):
        content += more
    assert (len(content), hashlib.sha256(content).hexdigest()) == (e["size"], e["sha256"]), e["path"]
    os.fsync(fd)  # until then there is only delayed allocation
    holes, position = [], 0
    while position < e["size"]:
        start = os.lseek(fd, position, os.SEEK_HOLE)
        if start >= e["size"]:
            break
        try:
            position = os.lseek(fd, start, os.SEEK_DATA)
        except OSError:  # ENXIO: none up to the end
            position = e["size"]
        holes.append([start, position])
    assert holes == e.get("holes", []), e["path"]


def run(*command: object, **more: object) -> subprocess.CompletedProcess:
    return subprocess.run([str(c) for c in command], capture_output=True, check=False, **more)


@pytest.mark.parametrize("name", VALID)
def test_burst_verifies(name: str, burst: str) -> None:
    done = run(burst, "verify", "--content", path_of(VALID[name]))
    assert done.returncode == 0, done.stderr


TYPES = {"directory": "dir", "char-device": "char", "block-device": "block"}


@pytest.mark.parametrize("name", VALID)
def test_burst_lists(name: str, burst: str) -> None:
    row = VALID[name]
    done = run(burst, "ls", "--json", path_of(row))
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.decode().splitlines()]
    assert len(found) == len(row["entries"])
    for f, e in zip(found, row["entries"], strict=True):
        path = bytes.fromhex(f["path_hex"]) if "path_hex" in f else f["path"].encode()
        assert ref.escape(path) == e["path"]
        assert TYPES.get(f["type"], f["type"]) == e["type"]
        assert (f["mode"], f["uid"], f["gid"], f["mtime_s"], f["mtime_ns"], f["size"]) == tuple(
            e[k] for k in ("mode", "uid", "gid", "mtime", "mtime_ns", "size")), e["path"]
        xattrs = {ref.escape(n.encode()): v for n, v in f.get("xattrs_hex", {}).items()}
        assert (xattrs, f.get("device")) == (e.get("xattrs", {}), e.get("device")), e["path"]
        if "hard_link" in e:
            assert ref.escape(f["link_to"].encode()) == e["hard_link"]


@pytest.mark.parametrize("way", ("file", "pipe"))
@pytest.mark.parametrize("name", VALID)
def test_burst_restores(name: str, way: str, burst: str, target: Path) -> None:
    row = VALID[name]
    with open(path_of(row), "rb") as f:
        done = run(burst, "restore", "-" if way == "pipe" else path_of(row), target, stdin=f)
    if name == UNRESTORABLE:
        assert done.returncode == 14, done.stderr
        assert not target.exists() or everything_below(target) <= {b".burst"} | {
            p for p in everything_below(target) if p.startswith(b".burst/")}
        return
    assert done.returncode == 0, done.stderr
    check_tree(target, row)


@pytest.mark.parametrize("name", REFUSE)
def test_burst_refuses(name: str, burst: str, target: Path) -> None:
    row = REFUSE[name]
    done = run(burst, "verify", "--content", path_of(row))
    assert done.returncode == row["exit_code"], done.stderr
    if row["found"] in ("open", "directory"):
        done = run(burst, "ls", path_of(row))
        assert done.returncode == row["exit_code"], done.stderr
    if row["found"] == "content":
        return  # a restore does not decompress in order to check
    for n, source in enumerate((path_of(row), "-")):
        own = target.with_name(f"target{n}")
        with open(path_of(row), "rb") as f:
            done = run(burst, "restore", source, own, stdin=f)
        assert done.returncode == row["exit_code"], done.stderr
        assert {p.name for p in target.parent.iterdir()} <= {"target0", "target1"}, "something outside of the target"


def contents(name: str, kinds: tuple[str, ...]) -> bytes:
    sink = Collect()
    archive = read(path_of(VALID[name]), "map", sink)
    return b"".join(sink.of(e) for e in archive.entries if e.kind in kinds)


def good(row: dict, tool: str) -> bool:
    return row["tools"][tool] == "ok"


@pytest.mark.parametrize("name", VALID)
def test_seven_zip(name: str) -> None:
    done = run(SEVEN_ZIP, "t", path_of(VALID[name]), stdin=subprocess.DEVNULL)
    out = done.stdout.decode(errors="replace")
    assert (done.returncode == 0 and "Warning" not in out) == good(VALID[name], "7zz"), out
    done = run(SEVEN_ZIP, "x", "-so", path_of(VALID[name]), stdin=subprocess.DEVNULL)
    assert done.stdout == contents(name, ("file", "symlink", "hardlink"))


def test_hard_links_are_symbolic_links_for_others(tmp_path: Path) -> None:
    path, tools = path_of(VALID["hard-links"]), [tmp_path / "7zz", tmp_path / "bsdtar"]
    for tool in tools:
        tool.mkdir()
    # Without -snld20 it calls links with ".." dangerous, leaves them empty and says so (exit code 2).
    commands = ([SEVEN_ZIP, "x", "-snld20", f"-o{tools[0]}", path], [BSDTAR, "-xf", path, "-C", tools[1]])
    for tool, command in zip(tools, commands, strict=True):
        done = run(*command, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, done.stdout + done.stderr
        for link in ("a/same directory", "a/b/below", "c/beside", "above"):
            assert (tool / link).is_symlink() and (tool / link).read_bytes() == b"one inode"
    default = run(SEVEN_ZIP, "x", f"-o{tmp_path / 'default'}", path, stdin=subprocess.DEVNULL)
    assert default.returncode == 2 and b"Dangerous link path was ignored : a/b/below" in default.stdout + default.stderr


@pytest.mark.parametrize("name", VALID)
def test_bsdtar(name: str, tmp_path: Path) -> None:
    row = VALID[name]
    done = run(BSDTAR, "-xOf", path_of(row))
    names = run(BSDTAR, "-tf", path_of(row), env=os.environ | {"LC_ALL": "C.UTF-8"})
    right = done.returncode == 0 and done.stdout == contents(name, ("file",))
    assert names.returncode == 0 and len(names.stdout.splitlines()) == len(row["entries"])
    slashed = b"back/slash" in names.stdout
    assert (right and not slashed) == good(row, "bsdtar"), done.stderr


def test_reference_program(tmp_path: Path) -> None:
    program, path = ref.__file__, path_of(VALID["names"])
    done = run(sys.executable, program, "list", "--json", path)
    assert [e["path"] for e in json.loads(done.stdout)] == [e["path"] for e in VALID["names"]["entries"]]
    done = run(sys.executable, program, "verify", "--stream", "-", input=path.read_bytes())
    assert done.returncode == 0, done.stderr
    done = run(sys.executable, program, "verify", path_of(REFUSE["same-name"]))
    assert done.returncode == 1 and b"spec/format.md#names" in done.stderr
