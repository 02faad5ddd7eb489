"""Something stands already where an entry must go, put there by someone who may write in the target: nothing of it leads
outside, nothing is deleted but regular files and links, and what cannot be done is refused."""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from btrfs_volume import Volume, run
from corpus import DIR, FIFO, LINK, LINKS, UNSAFE, Item, build, link, raw
from harness import Place

OK, IN_USE = 0, 19


@pytest.fixture(scope="module")
def place(work: Path) -> Iterator[Place]:
    volume = Volume(work / "existing", gib=8)
    yield Place(volume)
    volume.close()


def make_socket(path: Path) -> None:
    # A path of at most 107 bytes.
    here = os.getcwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(path.name)
    finally:
        os.chdir(here)


# What stands there, and whether it may be replaced by what is no directory.
EXISTING: dict[str, tuple[Callable[[Path, Place], object], bool]] = {
    "link to a directory outside": (lambda p, place: p.symlink_to(place.outside), True),
    "link to a file outside": (lambda p, place: p.symlink_to(place.outside / "canary"), True),
    "relative link outside": (lambda p, place: p.symlink_to("../outside/canary"), True),
    "dangling link outside": (lambda p, place: p.symlink_to("../outside/new"), True),
    "hard link to a file outside": (lambda p, place: p.hardlink_to(place.outside / "canary"), True),
    "file": (lambda p, place: p.write_bytes(b"mine"), True),
    "directory": (lambda p, place: p.mkdir(), False),
    "full directory": (lambda p, place: (p.mkdir(), (p / "mine").write_bytes(b"mine")), False),
    "fifo": (lambda p, place: os.mkfifo(p), False),
    "socket": (lambda p, place: make_socket(p), False),
    "device": (lambda p, place: os.mknod(p, 0o020666, os.makedev(1, 3)), False),
}
target_of_links = Item(b"other", content=b"content", attributes=LINKS)
ENTRIES: dict[str, list[Item]] = {
    "file": [Item(b"x", content=b"content")],
    "packed file": [raw(b"x", b"c" * 9000)],
    "directory": [Item(b"x/", DIR), Item(b"x/f", content=b"content")],
    "link": [Item(b"x", LINK, b"/etc/passwd")],
    "fifo": [Item(b"x", FIFO)],
    "hard link": [target_of_links, link(b"x", 0, b"other")],
    "below": [Item(b"x/", DIR), Item(b"x/canary", content=b"gone"), Item(b"x/link", LINK, b"y")],
}


@pytest.mark.parametrize("existing", EXISTING)
@pytest.mark.parametrize("entry", ENTRIES)
def test_existing(entry: str, existing: str, place: Place, tmp: Path):
    make, replaceable = EXISTING[existing]
    archive = tmp / "a.zip"
    archive.write_bytes(build(ENTRIES[entry]))
    is_directory = entry in ("directory", "below")
    fits = "directory" in existing and "link" not in existing if is_directory else replaceable
    try:
        for pipe in (False, True):
            place.target.mkdir()
            make(place.target / "x", place)
            before = place.look()
            if pipe:
                code, err = place.burst(
                    "restore", "-q", "--into-existing", "-", place.target, stdin=archive.read_bytes()
                )
            else:
                code, err = place.burst("restore", "-q", "--into-existing", archive, place.target)
            assert code == (OK if fits else UNSAFE), err
            # A second name outside is one name less; its content and attributes are what matters.
            assert before[1:] == place.look()[1:]
            canary = place.outside / "canary"
            assert canary.read_bytes() == b"sings" and canary.stat().st_mode & 0o7777 == 0o644
            assert sorted(os.listdir(place.outside)) == ["canary", "directory", "link"]
            if existing == "full directory":
                assert (place.target / "x/mine").read_bytes() == b"mine", "something was deleted"
            if not fits:
                assert os.path.lexists(place.target / "x") and str(place.target / "x") in err, err
                assert "user.burst.restored" not in os.listxattr(place.target)
            elif not is_directory:
                info = (place.target / "x").lstat()
                wanted = ENTRIES[entry][-1].mode >> 12 if entry != "hard link" else 8
                assert info.st_mode >> 12 == wanted
            place.clear()
    finally:
        place.clear()


@pytest.mark.parametrize("planted", ["link", "dangling", "hard link", "fifo", "directory", "state link", "state file"])
@pytest.mark.parametrize("how", ["--into-existing", "--quiet"])
def test_planted_state(how: str, planted: str, place: Place, tmp: Path):
    """The restorer's own state is a trap: the lock leads outside, or would wait for a reader."""
    archive = tmp / "a.zip"
    archive.write_bytes(build(ENTRIES["file"]))
    place.target.mkdir()
    state = place.target / ".burst"
    if planted == "state link":
        state.symlink_to(place.outside / "directory")
    elif planted == "state file":
        state.write_bytes(b"")
    else:
        state.mkdir()
        lock = state / "lock"
        if planted == "link":
            lock.symlink_to(place.outside / "canary")
        elif planted == "dangling":
            lock.symlink_to(place.outside / "new")
        elif planted == "hard link":
            lock.hardlink_to(place.outside / "canary")
        elif planted == "fifo":
            os.mkfifo(lock)
        else:
            lock.mkdir()
    try:
        code, err = place.burst("restore", how, archive, place.target)
        assert code in (IN_USE, 1), err
        assert ".burst" in err
        canary = place.outside / "canary"
        assert canary.read_bytes() == b"sings" and canary.stat().st_mode & 0o7777 == 0o644
        assert sorted(os.listdir(place.outside)) == ["canary", "directory", "link"]
        assert not os.listdir(place.outside / "directory")
    finally:
        place.clear()


def test_target_is_a_link(place: Place, tmp: Path):
    """TARGET itself comes from the user, not from an archive: there links are followed."""
    archive = tmp / "a.zip"
    archive.write_bytes(build(ENTRIES["file"]))
    real = tmp / "real"
    run("mkdir", real)
    (tmp / "t").symlink_to(real)
    code, err = place.burst("restore", "-q", archive, tmp / "t")
    assert code == OK, err
    assert (real / "x").read_bytes() == b"content"
