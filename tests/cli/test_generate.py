"""Completions and manual pages, and that the help of every command has examples."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from burst import burst


def commands(*above: str) -> list[tuple[str, ...]]:
    """All commands that have no commands below."""
    text = burst(*above, "--help").out
    if "\nCommands:\n" not in text:
        return [above]
    rows = text.split("\nCommands:\n")[1].split("\n\n")[0]
    names = [name for name in re.findall(r"^  ([a-z]+) ", rows, re.MULTILINE) if name != "help"]
    return [found for name in names for found in commands(*above, name)]


def test_every_command_has_examples() -> None:
    found = commands()
    assert ("restore",) in found and ("volume", "prepare") in found and len(found) > 10
    for command in found:
        assert f"burst {' '.join(command)} " in burst(*command, "--help").out.split("\nExamples:\n")[-1], command


def test_bash_completes(tmp: Path) -> None:
    script = tmp / "burst.bash"
    script.write_text(burst("completions", "bash").out)
    ask = f"""
        . {script}
        COMP_WORDS=(burst restore --time) COMP_CWORD=2
        _burst burst --time restore
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["--timeline"] and not done.stderr


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells(shell: str) -> None:
    assert "--timeline" in burst("completions", shell).out or "-l timeline" in burst("completions", shell).out


def test_a_manual_page_for_every_command(tmp: Path) -> None:
    (tmp / "man").mkdir()
    burst("man", "--out", tmp / "man")
    pages = {page.name for page in (tmp / "man").iterdir()}
    assert {f"burst{''.join('-' + name for name in command)}.1" for command in commands()} <= pages
    assert shutil.which("mandoc"), "mandoc is missing: tests/setup installs it"
    for page in sorted((tmp / "man").iterdir()):
        done = subprocess.run(
            ["mandoc", "-T", "lint", "-W", "error", page], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{page.name}: {done.stdout}"
    shown = subprocess.run(
        ["mandoc", "-T", "utf8", tmp / "man" / "burst-restore.1"], capture_output=True, text=True, check=True
    )
    assert "--" in shown.stdout and "timeline" in shown.stdout
    assert burst("man", "volume", "prepare").out.count(".TH ") == 1 and "wipe" in burst("man", "volume", "prepare").out
    assert "restore" in burst("man", "nothing", code=2).err
