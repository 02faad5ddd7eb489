"""Every hostile archive, restored as a file and from a pipe into a real BTRFS: the exit code of the manifest, no panic,
nothing outside of the target, no target that looks complete and is not. And as an image: no file, or one that is clean."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import corpus
import pytest
from btrfs_volume import Volume, run
from harness import Place
from made_image import Image, superblocks


@pytest.fixture(scope="module")
def place(work: Path) -> Iterator[Place]:
    volume = Volume(work / "hostile", gib=8)
    yield Place(volume)
    volume.close()


def attack(place: Place, tmp: Path, each: corpus.Hostile) -> list[str]:
    """What was wrong about it, if anything."""
    archive, wrong = tmp / "a.zip", []
    archive.write_bytes(each.content)
    ways: list[tuple[str, tuple[int, ...], Callable[[], tuple[int, str]]]] = [
        ("file", each.codes, lambda: place.burst("restore", "--quiet", archive, place.target)),
        ("pipe", each.pipe or each.codes, lambda: place.burst("restore", "-q", "-", place.target, stdin=each.content)),
    ]
    for how, codes, restore in ways:
        try:
            code, err = restore()
            place.check(code, err)
            assert code in codes, f"exit code {code}, not {codes}: {err[:300]}"
            if code == 0 and each.holds is not None:
                check_content(place, archive, place.target, each.holds)
        except Exception as e:
            wrong.append(f"{each.name} ({each.shows}), {how}: {e}")
        place.clear()
    try:
        attack_image(place, tmp, archive, each)
    except Exception as e:
        wrong.append(f"{each.name} ({each.shows}), image: {e}")
    return wrong


# Enough for each of them that is no lie.
SIZE = "128M"


def attack_image(place: Place, tmp: Path, archive: Path, each: corpus.Hostile) -> None:
    """No kernel is asked while it is made, so afterwards there is nothing, or what `btrfs check` and a kernel take."""
    image, codes = Image(tmp / "image"), each.image or each.codes
    code, err = place.burst("image", "--quiet", archive, image.path, "--size", SIZE)
    place.check_message(code, err)
    try:
        assert code in codes, f"exit code {code}, not {codes}: {err[:300]}"
        assert (code == 0) == image.path.exists(), f"exit code {code}, and an image: {image.path.exists()}"
        if code == 0:
            assert superblocks(image.path)
            image.check()
            with image.mounted("ro") as root:
                # Everything can be looked at.
                run("find", root, "-printf", "%s")
                if each.holds is not None:
                    check_content(place, archive, root, each.holds)
    finally:
        image.path.unlink(missing_ok=True)


def check_content(place: Place, archive: Path, target: Path, content: bytes) -> None:
    """The kernel reads back what it was given unseen; only a frame that does not decompress to what it says may differ,
    which nothing but decompressing it can tell."""
    code, err = place.burst("verify", "--quiet", "--content", archive)
    if code == 0:
        assert (target / "file").read_bytes() == content, "other content than the archive's"
    else:
        assert code == corpus.CORRUPT, err


@pytest.mark.parametrize("group", corpus.GROUPS, ids=lambda g: g.__name__)
def test_group(group: Callable[[], Iterator[corpus.Hostile]], place: Place, tmp: Path):
    wrong, codes = [], Counter()
    for each in group():
        found = attack(place, tmp, each)
        wrong += found
        codes[not found] += 1
    assert not wrong, f"{len(wrong)} wrong:\n" + "\n".join(wrong)
    print(f"{group.__name__}: {codes.total()} archives")


def test_device_of_another_user(place: Place, tmp: Path):
    """Root makes a device that a file of somebody else asks for only if told to; FIFOs harm nobody."""
    (device,) = [each for each in corpus.links() if each.name == "device"]
    archive = tmp / "a.zip"
    archive.write_bytes(device.content)
    os.chown(archive, 1000, 1000)
    code, err = place.burst("restore", "-q", archive, place.target)
    place.check(code, err)
    assert code == corpus.UNSAFE and "user 1000" in err and "--allow-devices" in err, (code, err)
    assert not (place.target / "null").exists()
    code, err = place.burst("restore", "-q", "--allow-devices", archive, place.target)
    place.check(code, err)
    assert code == corpus.OK and (place.target / "null").is_char_device(), (code, err)
    place.clear()
    archive.write_bytes(corpus.build([corpus.Item(b"fifo", corpus.FIFO)]))
    code, err = place.burst("restore", "-q", archive, place.target)
    assert code == corpus.OK, err
    place.clear()


def test_there_are_enough():
    assert sum(1 for _ in corpus.everything()) >= 150
