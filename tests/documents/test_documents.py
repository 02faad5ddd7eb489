"""What the documents say of the program and of each other: links, files, flags, exit codes, figures."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LISTED = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True)
FILES = [f for f in LISTED.stdout.decode().splitlines() if (ROOT / f).exists()]
DOCUMENTS = [f for f in FILES if f.endswith(".md")]
FENCE = re.compile(r"^```(.*)\n((?:.*\n)*?)^```$", re.MULTILINE)
# What a fenced block may be: commands that tests/readme runs, commands that cannot run here and what they need; or no
# commands at all.
LANGUAGES = r"sh|sh needs: \S.*|text|yaml|ini|hcl|"
BURST = os.environ.get("BURST", str(ROOT / "target/release/burst"))


def text_of(document: str) -> str:
    return (ROOT / document).read_text()


def without_blocks(document: str) -> str:
    return FENCE.sub("", text_of(document))


def anchors(document: str) -> set[str]:
    """The anchors that GitHub makes of headings, and those that a document sets itself."""
    found = set(re.findall(r'<a (?:id|name)="([^"]+)"', text_of(document)))
    for heading in re.findall(r"^#+ (.*)$", without_blocks(document), re.MULTILINE):
        words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        found.add(re.sub(r"[^\w\- ]", "", words).replace(" ", "-"))
    return found


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links(document: str) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", without_blocks(document)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        to = ((ROOT / document).parent / path).resolve() if path else ROOT / document
        if not to.exists() or not to.is_relative_to(ROOT):
            broken.append(link)
        elif anchor and to.suffix == ".md" and anchor not in anchors(str(to.relative_to(ROOT))):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_named_files(document: str) -> None:
    """A path of this repository in backticks is a file, a directory, or a pattern that something matches."""
    tops = {f.split("/")[0] for f in FILES if "/" in f}
    missing = []
    for name in re.findall(r"`([\w.*@/-]+)`", without_blocks(document)):
        if name.split("/")[0] in tops and "/" in name:
            near = [ROOT, (ROOT / document).parent]
            if not any(list(at.glob(name.rstrip("/"))) for at in near):
                missing.append(name)
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_blocks(document: str) -> None:
    assert text_of(document).count("\n```") == 2 * len(FENCE.findall(text_of(document)))
    for language, _ in FENCE.findall(text_of(document)):
        assert re.fullmatch(LANGUAGES, language), language


def helped(*words: str) -> str:
    done = subprocess.run([BURST, *words, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"burst {' '.join(words)}: {done.stderr}"
    return done.stdout


@pytest.mark.parametrize("document", DOCUMENTS)
def test_what_cannot_run(document: str) -> None:
    """Shell without mistakes; and every command and flag of `burst` in it exists, and every file of ours."""
    for language, block in FENCE.findall(text_of(document)):
        if not language.startswith("sh needs:"):
            continue
        subprocess.run(["bash", "-n"], input=block.encode(), check=True)
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words and "/" in words[0]:
                assert any((ROOT / at / words[0]).exists() for at in (".", Path(document).parent)), words[0]
            if "burst" not in words:
                continue
            words = words[words.index("burst") + 1 :]
            command = [words[0], words[1]] if words[0] == "volume" else [words[0]]
            known = helped(*command)
            for flag in (w.split("=")[0] for w in words if w.startswith("--")):
                assert re.search(rf"(?<!\S){flag}\b", known), f"burst {' '.join(command)} has no {flag}"


def test_exit_codes() -> None:
    """The program's own list, the README's table and the runbook have the same codes; the first two the same words."""
    said = re.search(r"^Exit codes:\n((?: +\d.*\n?)+)", helped(), re.MULTILINE)
    program = dict(re.findall(r"^ +(\d+(?:, \d+)?)  (.*)$", said[1], re.MULTILINE))
    cells = [[c.strip() for c in row.strip("|").split("|")] for row in section("README.md", "Exit codes")]
    readme = {row[at]: row[at + 1] for row in cells[2:] for at in (0, 2)}
    assert readme == program
    runbook = {row.strip("|").split("|")[0].strip() for row in section("spec/guides/operating.md", "When it fails")[2:]}
    assert runbook == set(program) - {"0"}


def section(document: str, heading: str) -> list[str]:
    """The rows of the first table under a heading."""
    after = text_of(document).split(f"## {heading}\n", 1)[1]
    rows = re.search(r"(?:^\|.*\|\n)+", after, re.MULTILINE)
    return rows[0].splitlines()


def test_examples_are_those_of_the_files() -> None:
    blocks = [block for language, block in FENCE.findall(text_of("README.md")) if language == "yaml"]
    assert blocks == [text_of("cloud-init/examples/ebs-volume.yaml")]


def test_versions() -> None:
    """The changelog begins with the version of the program, which is also that of the Packer command."""
    version = subprocess.run([BURST, "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    assert re.search(r"^## (\S+) - \d{4}-\d\d-\d\d$", text_of("spec/changelog.md"), re.MULTILINE)[1] == version
    for document in ("README.md", "packer/README.md"):
        assert f"burst_package=burst_{version}-1_amd64.deb -var burst_version={version} " in text_of(document)


def test_picture_of_the_contest(tmp_path: Path) -> None:
    """The picture shows the figures of the table."""
    made = tmp_path / "contest.svg"
    subprocess.run([sys.executable, ROOT / "tests/bench/picture.py", made], check=True)
    assert made.read_text() == text_of("spec/contest.svg")
