#!/usr/bin/env python3
"""Prints who wrote what is in the program `burst`, and its licences: Debian's machine-readable copyright file.

Everything that is linked counts: the crates, the C code in two of them, and the standard library. A licence that is not
known here is an error: somebody must look at it first.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGETS = ("x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu")
# Where there is a choice of licences, the first of these that is offered is taken.
CHOICE = ["MIT", "Apache-2.0", "BSD-3-Clause"]
DEBIAN_NAME = {"MIT": "Expat"}
# The C code of two crates; none of it is built otherwise.
C_CODE = {"mountpoint-s3-crt-sys": "crt/*", "zstd-sys": "zstd"}
# Its licences: by the beginning of the LICENSE file.
KNOWN_C = {"Apache License": "Apache-2.0", "BSD License": "BSD-3-Clause", "AWS Libcrypto (AWS-LC)": "AWS-LC"}


def main() -> None:
    packages = linked()
    stanzas = [
        [
            ("Format", "https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/"),
            ("Upstream-Name", "burst"),
            ("Source", "https://github.com/burst-restore/burst"),
            ("Comment", "Where a choice of licences was offered, one was chosen. vendor/ are crates that are linked."),
        ],
        [("Files", "*"), ("Copyright", "The BURST authors"), ("License", "Expat or Apache-2.0")],
    ]
    texts = {
        "Expat": body(ROOT / "LICENSE-MIT", r"^Permission is"),
        "Apache-2.0": "On Debian systems the text is in /usr/share/common-licenses/Apache-2.0;\n"
        "elsewhere it is beside this file, as LICENSE-APACHE.",
    }
    stanzas.append(
        [
            ("Files", "vendor/rust-standard-library/*"),
            ("Copyright", "The Rust Project contributors"),
            ("License", "Expat or Apache-2.0"),
        ]
    )
    for package in packages:
        at = Path(package["manifest_path"]).parent
        files = f"vendor/{package['name']}-{package['version']}/*"
        licence = chosen(package["license"], package["name"])
        stanzas.append([("Files", files), ("Copyright", holders(at, package)), ("License", licence)])
        if package["name"] in C_CODE:
            components = sorted(p for p in at.glob(C_CODE[package["name"]]) if p.is_dir())
            if not components:
                sys.exit(f"copyright.py: {at}: there is no {C_CODE[package['name']]}")
            for component in components:
                name, text = c_licence(component)
                texts.setdefault(name, text)
                where = f"vendor/{package['name']}-{package['version']}/{component.relative_to(at)}/*"
                stanza = [("Files", where), ("Copyright", holders(component, None)), ("License", name)]
                notices = [component / n for n in ("NOTICE", "THIRD-PARTY-LICENSES.txt")]
                if said := "\n\n".join(n.read_text().strip() for n in notices if n.exists()):
                    stanza.append(("Comment", "Its notice:\n" + said))
                stanzas.append(stanza)
    if missing := {n for s in stanzas for n in re.split(" or ", dict(s).get("License", "Expat"))} - set(texts):
        sys.exit(f"copyright.py: no text of {', '.join(sorted(missing))}")
    stanzas += [[("License", f"{name}\n{text}")] for name, text in texts.items()]
    print("\n\n".join("\n".join(field(*f) for f in stanza) for stanza in stanzas))


def linked() -> list[dict]:
    """The crates that are compiled into the program, for any of the targets; not those that run in the compiler."""
    found: dict[str, dict] = {}
    for target in TARGETS:
        command = ["cargo", "metadata", "--locked", "--format-version=1", f"--filter-platform={target}"]
        done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
        everything = json.loads(done.stdout)
        packages = {p["id"]: p for p in everything["packages"]}
        nodes = {n["id"]: n for n in everything["resolve"]["nodes"]}
        root, seen = everything["resolve"]["root"], set()
        todo = [root]
        while todo:
            if (at := todo.pop()) in seen:
                continue
            seen.add(at)
            for dependency in nodes[at]["deps"]:
                normal = any(kind["kind"] is None for kind in dependency["dep_kinds"])
                if normal and not any("proc-macro" in t["kind"] for t in packages[dependency["pkg"]]["targets"]):
                    todo.append(dependency["pkg"])
        found |= {i: packages[i] for i in seen - {root}}
    return sorted(found.values(), key=lambda p: (p["name"], p["version"]))


def chosen(expression: str, name: str) -> str:
    """One licence of an expression of alternatives."""
    offered = re.split(r" OR |/", expression)
    for licence in CHOICE:
        if licence in offered:
            return DEBIAN_NAME.get(licence, licence)
    sys.exit(f"copyright.py: {name} has the licence {expression!r}, which nobody has looked at yet")


def c_licence(component: Path) -> tuple[str, str]:
    text = (component / "LICENSE").read_text()
    for beginning, name in KNOWN_C.items():
        if text.lstrip().startswith(beginning):
            return name, body(component / "LICENSE", r"^Redistribution") if name.startswith("BSD") else shortened(text)
    sys.exit(f"copyright.py: {component}/LICENSE begins unlike any that is known")


def shortened(text: str) -> str:
    """Without the text of Apache-2.0, which is named and not repeated."""
    return re.sub(r"(?ms)^Apache License$.*?^(?=ISC License$)", "(see the paragraph Apache-2.0)\n\n", text)


def holders(at: Path, package: dict | None) -> str:
    """The lines that name them, in the files that are there for that; else the authors that the crate gives."""
    files = [f for f in sorted(at.iterdir()) if re.match(r"licen[sc]e|copying|notice|copyright", f.name, re.I)]
    lines: list[str] = []
    for line in "\n".join(f.read_text(errors="replace") for f in files if f.is_file()).splitlines():
        # A year or a sign must follow: licences talk of copyright, too.
        found = re.match(r"\W*(?:Copyright|©)(?= *(?:\(c\)|©|[0-9]{4}|Amazon))[: ]*(.*)", line, re.I)
        text = found and re.sub(r"^(?:\(c\)|©)\s*", "", found[1].strip(), flags=re.I)
        if text and "yyyy" not in text and text not in lines:
            lines.append(text)
    if not lines:
        authors = [re.sub(r" <.*", "", a) for a in (package or {}).get("authors", [])]
        lines = authors or [f"The authors of {package['name'] if package else at.name}"]
    return "\n".join(lines)


def body(file: Path, begin: str) -> str:
    text = file.read_text()
    found = re.search(begin, text, re.MULTILINE)
    assert found, f"{file}: no line {begin}"
    return text[found.start() :]


def field(name: str, value: str) -> str:
    first, *rest = value.strip().splitlines()
    return "\n".join([f"{name}: {first}", *(f" {line.rstrip() or '.'}" for line in rest)])


if __name__ == "__main__":
    main()
