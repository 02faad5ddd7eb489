"""--timeline: what a browser shows of it."""

import base64
import json
import re
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from burst import burst

# Chromium as root and without a network.
FLAGS = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
FLAGS += " --disable-component-update --disable-sync --hide-scrollbars --force-device-scale-factor=1"

# Where texts are, once the browser has laid them out.
LOOK = """<!doctype html><meta charset="utf-8"><body style="margin:0">%s<script>
const box = e => { const b = e.getBoundingClientRect(); return [b.left, b.top, b.right, b.bottom] };
const texts = [...document.querySelectorAll("svg text")].map(e => ({ text: e.firstChild.data, box: box(e) }));
const marks = [...document.querySelectorAll("svg .mark")].map(box), bars = document.querySelectorAll("svg rect").length;
const found = { picture: box(document.querySelector("svg")), texts, marks, bars };
document.body.innerHTML = "<pre>" + btoa(unescape(encodeURIComponent(JSON.stringify(found)))) + "</pre>";
</script></body>"""


def chromium(tmp: Path, page: Path, *flags: str) -> str:
    command = ["chromium", *FLAGS.split(), f"--user-data-dir={tmp}/profile", *flags, page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def overlap(a: list[float], b: list[float]) -> bool:
    """By more than a pixel in both directions."""
    return all(min(a[i + 2], b[i + 2]) - max(a[i], b[i]) > 1 for i in (0, 1))


@pytest.fixture(scope="module")
def pictures(archive: Path, work: Path) -> Path:
    """A directory with a picture of a run in both forms."""
    (work / "pictures").mkdir()
    for form in ("svg", "html"):
        burst(
            *("restore", "--checkpoint", "0.05", "--timeline", work / "pictures" / f"a.{form}"),
            *(archive, work / "pictures" / form),
        )
    return work / "pictures"


def test_no_scripts_and_nothing_from_elsewhere(pictures: Path) -> None:
    for form in ("svg", "html"):
        text = (pictures / f"a.{form}").read_text()
        assert "<script" not in text and "href" not in text and "url(" not in text and "@import" not in text
        assert text.count("http") == 1 and 'xmlns="http://www.w3.org/2000/svg"' in text
        assert "prefers-color-scheme:dark" in text
    root = ET.parse(pictures / "a.svg").getroot()
    titles = [e.text or "" for e in root.iter("{http://www.w3.org/2000/svg}title")]
    parts = [t for t in titles if re.match(r"parts? \d", t)]
    # Of five parts; requests that would be too narrow are drawn together.
    assert len(parts) >= 3 and all("waiting for the source" in t for t in parts)


def test_in_a_browser(pictures: Path, tmp: Path) -> None:
    empty = tmp / "empty.html"
    empty.write_text("<!doctype html>")
    sizes = []
    for page in (empty, pictures / "a.svg", pictures / "a.html"):
        png = tmp / f"{page.name}.png"
        chromium(tmp, page, f"--screenshot={png}", "--window-size=1200,760")
        sizes.append(png.stat().st_size)
    assert sizes[1] > 5 * sizes[0] and sizes[2] > 5 * sizes[0], sizes

    found = laid_out(tmp, pictures / "a.svg")
    texts = found["texts"]
    shown = {t["text"] for t in texts}
    assert {"Requests in flight, each a lane", "Bytes of the archive per second", "content", "speed"} <= shown
    assert any(t.startswith("burst restore ") for t in shown) and any("first part in place" in t for t in shown)
    assert found["bars"] > 10 and len(found["marks"]) >= 8
    all_fits(found)


def laid_out(tmp: Path, picture: Path) -> dict:
    look = tmp / "look.html"
    look.write_text(LOOK % picture.read_text())
    dom = chromium(tmp, look, "--dump-dom", "--window-size=1300,900")
    return json.loads(base64.b64decode(re.search("<pre>(.*?)</pre>", dom)[1]))


def all_fits(found: dict) -> None:
    """No text outside of the picture, over another, or below one of the lines that show moments."""
    texts = found["texts"]
    left, top, right, bottom = found["picture"]
    for n, one in enumerate(texts):
        assert left <= one["box"][0] and one["box"][2] <= right and top <= one["box"][1] and one["box"][3] <= bottom, (
            one
        )
        for other in texts[:n]:
            assert not overlap(one["box"], other["box"]), (one, other)
        for x, above, _, below in found["marks"]:
            middle = [x - 1, above, x + 1, below]
            assert not overlap(one["box"], middle), (one, middle)


def test_a_run_that_fails_is_drawn_too(archive: Path, tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Relative names, here and below: what is left of a long text does not depend on where the tests run.
    monkeypatch.chdir(tmp)
    damaged = bytearray(archive.read_bytes())
    damaged[20 << 20] ^= 1
    Path("<damaged>&.zip").write_bytes(damaged)
    burst("restore", "--timeline", "a.svg", "<damaged>&.zip", "t", code=13)
    texts = [e.text or "" for e in ET.parse(tmp / "a.svg").getroot().iter("{http://www.w3.org/2000/svg}text")]
    assert any(t.startswith("failed: ") and "<damaged>&.zip" in t for t in texts)


def test_the_longest_and_widest_names_fit(archive: Path, tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp)
    damaged = bytearray(archive.read_bytes())
    damaged[20 << 20] ^= 1
    wide = Path(f"{'W' * 200}.zip")
    wide.write_bytes(damaged)
    burst("restore", "--timeline", "a.svg", wide, "t", code=13)
    found = laid_out(tmp, tmp / "a.svg")
    cut = [t["text"] for t in found["texts"] if "W" * 30 in t["text"] and "…" in t["text"]]
    assert len(cut) == 2 and cut[0].endswith("W.zip → t") and cut[1].startswith("failed: WW"), cut
    all_fits(found)


def test_a_wrong_name_is_refused_before_anything_starts(archive: Path, tmp: Path) -> None:
    for name in ("a", "a.png", "a.svg.gz"):
        assert ".svg or .html" in burst("restore", "--timeline", tmp / name, archive, tmp / "t", code=2).err
    assert not (tmp / "t").exists()
