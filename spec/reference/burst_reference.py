#!/usr/bin/env python3
"""Reference reader of BURST archives: list, verify, extract. Written from the text of spec/format.md alone, to be
read, and to check other programs against. Needs Python 3.11 and the package zstandard.

  burst_reference.py list [--json] ARCHIVE
  burst_reference.py verify [--ignore-map] [--stream] ARCHIVE
  burst_reference.py extract [--ignore-map] [--stream] ARCHIVE DIR

--ignore-map reads the parts in a random order and places each by its first bytes and the directory alone.
--stream reads the archive once from standard input, without seeking (ARCHIVE is then "-").
"""

import argparse
import json
import os
import random
import struct
import sys
import tempfile
from typing import BinaryIO

from burst_archive import Archive, Entry, same_header
from burst_data import PartFacts, Sink, State, Walker, join, merge_holes
from burst_extract import Check, Extractor
from burst_frames import GRID, Refused, crc32c, need


def escape(name: bytes) -> str:
    """Printable ASCII as it is, backslash and all other bytes as \\xNN."""
    return "".join(chr(b) if 0x20 <= b < 0x7F and b != 0x5C else f"\\x{b:02x}" for b in name)


def check_map(archive: Archive, i: int, crc: int, facts: PartFacts) -> None:
    m, e = archive.map[i], archive.entries[facts.ordinal]
    need(m.crc == crc, "part-map", f"CRC-32C of part {i}")
    need((m.kind, m.ordinal, m.value, m.in_directory) == (facts.kind, facts.ordinal, facts.value, e.in_directory),
         "part-map", f"record {i} is not what the part and the directory say")


def read_seekable(path: str, sink: Sink | None, shuffled: bool) -> Archive:
    archive = Archive(os.open(path, os.O_RDONLY))
    t, walker = archive.trailer, Walker(archive.entries, sink)
    order = list(range(t.parts))
    if shuffled:
        random.shuffle(order)
        if isinstance(sink, Extractor):  # parts come before the headers of the entries they hold
            for e in archive.entries:
                sink.begin(e)
            sink.begin = lambda e: None
    parts: dict[int, PartFacts] = {}
    state: State | None = None
    for i in order:
        base = i * GRID
        block = archive.read(base, min(GRID, t.data_end - base))
        crc = crc32c(block)
        need(archive.map[i].crc == crc, "part-map", f"CRC-32C of part {i}")
        parts[i] = walker.walk(block, base, state, fresh=shuffled)
        state = None if shuffled else parts[i].after
        if not shuffled:
            check_map(archive, i, crc, parts[i])
    need(walker.idents <= {t.ident}, "start-of-part", "archive identifier")
    join([parts[i] for i in range(t.parts)])
    need(not parts or parts[t.parts - 1].after is None, "refuse", "the last entry does not end at data_end")
    for e in archive.entries:
        merge_holes(e)
    if isinstance(sink, Check):
        sink.finish(archive)
    return archive


def fill(f: BinaryIO, n: int) -> bytes:
    b = b""
    while len(b) < n and (more := f.read(n - len(b))):
        b += more
    return b


def read_stream(f: BinaryIO, sink: Sink | None) -> Archive:
    """Local headers, data and descriptors as they come; what the end of the archive says is compared last."""
    walker, state, parts, base = Walker(None, sink), None, [], 0
    with tempfile.TemporaryFile() as rest:
        while walker.data_end is None:
            block = fill(f, GRID)
            need(block, "refuse", "the archive ends within the data region")
            facts = walker.walk(block, base, state, fresh=False)
            state = facts.after
            length = len(block) if walker.data_end is None else walker.data_end - base
            need(length == GRID or walker.data_end is not None, "refuse", "the archive ends within the data region")
            if length:
                parts.append((crc32c(block[:length]), facts))
            base += length
        rest.write(block[length:])
        while block := f.read(1 << 20):
            rest.write(block)
        rest.flush()
        archive = Archive(os.dup(rest.fileno()), base)
    need(archive.trailer.data_end == base, "layout", "data_end is not where the data region ends")
    need(len(walker.entries) == len(archive.entries), "refuse", "number of entries")
    for local, e in zip(walker.entries, archive.entries, strict=True):
        same_header(local, e)
        for what in ("offset", "data", "end", "crc32", "csize", "usize"):
            need(getattr(local, what) == getattr(e, what), "refuse", f"{what} of {e.name!r}")
        e.holes = local.holes
    need(walker.idents <= {archive.trailer.ident}, "start-of-part", "archive identifier")
    need(len(parts) == archive.trailer.parts, "trailer", "number of part map records")
    for i, (crc, facts) in enumerate(parts):
        check_map(archive, i, crc, facts)
    if isinstance(sink, Check):
        sink.finish(archive)
    return archive


def row(e: Entry, archive: Archive, link: bytes | None) -> dict:
    return {
        "path": escape(e.path), "type": e.kind, "mode": e.mode, "uid": e.uid, "gid": e.gid, "mtime": e.mtime,
        "mtime_ns": e.ns, "size": e.usize, "method": e.method, "crc32": e.crc32,
        "link": escape(link) if link is not None else None,
        "hard_link": escape(archive.entries[e.target].path) if e.target is not None else None,
        "xattrs": {escape(n): v.hex() for n, v in e.xattrs.items()},
        "device": list(e.device) if e.device else None,
        "holes": [list(h) for h in e.holes], "links": e.links,
    }


def rows(archive: Archive) -> list[dict]:
    out = []
    for e in archive.entries:
        link = archive.read(e.data, e.usize) if e.kind in ("symlink", "hardlink") else None
        out.append(row(e, archive, link))
    return out


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("command", choices=("list", "verify", "extract"))
    p.add_argument("archive")
    p.add_argument("dir", nargs="?")
    p.add_argument("--json", action="store_true")
    p.add_argument("--ignore-map", action="store_true")
    p.add_argument("--stream", action="store_true")
    a = p.parse_args()
    if a.stream and (a.command == "list" or a.ignore_map):
        p.error("--stream goes with verify and extract, without --ignore-map")
    if (a.command == "extract") != (a.dir is not None):
        p.error("extract needs a directory, the other commands take none")
    try:
        sink = None if a.command == "list" else Check()
        if a.command == "extract":
            sink = Extractor(os.fsencode(a.dir))
        archive = read_stream(sys.stdin.buffer, sink) if a.stream else read_seekable(a.archive, sink, a.ignore_map)
        if isinstance(sink, Extractor):
            sink.finish(archive, check_crc=a.ignore_map)
    except (Refused, struct.error) as why:
        print(f"refused: {why}", file=sys.stderr)
        return 1
    if a.command == "list":
        table = rows(archive)
        if a.json:
            json.dump(table, sys.stdout, indent=1)
            print()
        else:
            for r in table:
                print(f"{r['mode']:06o} {r['uid']}:{r['gid']} {r['size']:>12} {r['path']}")
    else:
        print(f"{len(archive.entries)} entries, {archive.trailer.parts} parts: good")
    return 0


if __name__ == "__main__":
    sys.exit(main())
