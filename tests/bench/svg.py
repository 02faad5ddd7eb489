"""A line plot as SVG, readable on light and dark pages."""

import math
from pathlib import Path
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 420, 270
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 46, 42
COLORS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7"]
INK = "#777"

Point = tuple[float, float]


def plot(to: Path, title: str, x_title: str, y_title: str, lines: dict[str, list[Point]], log: bool = False) -> None:
    """`log`: the horizontal axis; the vertical one begins at zero."""
    xs = sorted({x for points in lines.values() for x, _ in points})
    top = nice(max(y for points in lines.values() for _, y in points))
    scale = math.log2 if log else float
    low, high = scale(xs[0]), scale(xs[-1])

    def across(x: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * ((scale(x) - low) / (high - low) if high > low else 0.5)

    def up(y: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * y / top

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'font-family="sans-serif" font-size="11" fill="{INK}">',
        text(LEFT, 16, title, "font-weight='bold' font-size='13'"),
        text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, x_title, "text-anchor='middle'"),
        text(LEFT, TOP - 8, y_title),
    ]
    for step in range(5):
        y = top * step / 4
        out.append(f'<path d="M{LEFT} {up(y):.1f}H{WIDTH - RIGHT}" stroke="{INK}" stroke-opacity=".3"/>')
        out.append(text(LEFT - 6, up(y) + 4, f"{y:g}", "text-anchor='end'"))
    for x in xs:
        out.append(text(across(x), HEIGHT - BOTTOM + 16, short(x), "text-anchor='middle'"))
    for number, (name, points) in enumerate(lines.items()):
        color = COLORS[number % len(COLORS)]
        path = "L".join(f"{across(x):.1f} {up(y):.1f}" for x, y in sorted(points))
        out.append(f'<path d="M{path}" fill="none" stroke="{color}" stroke-width="2"/>')
        out += [f'<circle cx="{across(x):.1f}" cy="{up(y):.1f}" r="3" fill="{color}"/>' for x, y in points]
        out.append(text(WIDTH - RIGHT, 16 + 14 * number, name, f"text-anchor='end' fill='{color}'"))
    to.write_text("\n".join([*out, "</svg>"]) + "\n")


def text(x: float, y: float, words: str, how: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {how}>{escape(words)}</text>'


def nice(value: float) -> float:
    """The next of 1, 2, 4, 6, 8 and their tens: a quarter of it is short to write."""
    power = 10 ** math.floor(math.log10(value or 1))
    return next(step * power for step in (1, 2, 4, 6, 8, 10) if step * power >= value)


def short(value: float) -> str:
    for unit, name in ((1_000_000, "M"), (1_000, "k")):
        if abs(value) >= unit and value % (unit / 10) == 0:
            return f"{value / unit:g}{name}"
    return f"{value:g}"
