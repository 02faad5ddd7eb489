#!/usr/bin/env python3
"""Draws the table of the contest in README.md: tests/bench/picture.py spec/contest.svg

One panel for each tree: wall seconds of each contestant, all of a panel on one scale. Readable on light and dark pages.
"""

import re
import sys
from pathlib import Path

import svg

ROOT = Path(__file__).resolve().parents[2]
WIDTH, LEFT, RIGHT, ROW, HEAD = 720, 190, 70, 22, 30
OURS, OTHERS = svg.COLORS[0], "#999"


def contest() -> tuple[list[str], dict[str, list[float]]]:
    """The contestants, and the wall seconds of each for every tree."""
    rows = re.search(r"^\| Tree \|.*\n(?:^\|.*\n)+", (ROOT / "README.md").read_text(), re.MULTILINE)
    cells = [
        [c.strip().replace("\0", "|") for c in line.replace("\\|", "\0").strip("|").split("|")]
        for line in rows[0].splitlines()
    ]
    names = [name.strip("`") for name in cells[0][1:]]
    return names, {row[0].replace("`", ""): [float(c.split(" / ")[0]) for c in row[1:]] for row in cells[2:]}


def main(to: Path) -> None:
    names, trees = contest()
    out, y = [], 24
    out.append(svg.text(0, 14, "Wall seconds of a restore: less is better", "font-weight='bold' font-size='13'"))
    for tree, seconds in trees.items():
        y += HEAD
        out.append(svg.text(0, y - 8, tree, "font-weight='bold'"))
        for name, value in sorted(zip(names, seconds, strict=True), key=lambda pair: pair[1]):
            length = (WIDTH - LEFT - RIGHT) * value / max(seconds)
            color = OURS if name.startswith("burst") else OTHERS
            out.append(svg.text(LEFT - 8, y + 13, name, "text-anchor='end'"))
            out.append(f'<rect x="{LEFT}" y="{y + 2}" width="{length:.1f}" height="{ROW - 6}" fill="{color}"/>')
            out.append(svg.text(LEFT + length + 6, y + 13, f"{value:g}"))
            y += ROW
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 8}" width="{WIDTH}" height="{y + 8}" '
        f'font-family="sans-serif" font-size="12" fill="{svg.INK}">'
    )
    to.write_text("\n".join([head, *out, "</svg>"]) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
