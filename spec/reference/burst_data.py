"""The data region: walks one part after the other, in any order, and gives content to a sink."""

import struct
import zlib
from bisect import bisect_right
from dataclasses import dataclass, replace
from typing import Protocol

import zstandard
from burst_archive import Entry, Refused, parse_local, same_header
from burst_frames import (
    EXTENT,
    GRID,
    PADDING,
    START_OF_PART,
    is_skippable,
    need,
    parse_frame,
    parse_skippable,
    parse_start_of_part,
)


class Sink(Protocol):
    def begin(self, e: Entry) -> None: ...
    def content(self, e: Entry, offset: int, data: bytes) -> None: ...


@dataclass
class State:
    """Where a walk stands inside an entry."""
    entry: Entry
    content: int = 0  # content bytes so far
    last: int = 0  # content of the last frame; 0 if it was in a part not walked before this one
    padded: bool = False  # a padding frame followed the last frame
    crc: int | None = 0  # None: unknown, the walk began in the middle


@dataclass
class PartFacts:
    """What a part says by itself: to compare with the part map, and to join with its neighbours."""
    kind: int
    ordinal: int
    value: int
    start: State | None
    ended: bool  # the entry that the part began in ends in it
    end_last: tuple[int, bool] | None  # State.last and .padded where that entry ended
    after: State | None  # what goes on in the next part


class Walker:
    """entries: the directory's, or None for a reader of a pipe, who then collects them from the local headers."""

    def __init__(self, entries: list[Entry] | None, sink: Sink | None):
        self.known = entries
        self.entries: list[Entry] = entries if entries is not None else []
        self.offsets = [e.offset for e in self.entries]
        self.sink = sink
        self.idents: set[bytes] = set()
        self.decoder = zstandard.ZstdDecompressor()
        self.data_end: int | None = None  # found by a reader of a pipe

    def walk(self, block: bytes, base: int, state: State | None, fresh: bool) -> PartFacts:
        """One part, or for a pipe up to 8 MiB that begin with one. fresh: nothing is known but the directory."""
        self.view, self.base, self.stop = memoryview(block), base, base + len(block)
        pos, facts = base, None
        if fresh:
            e = self.entries[bisect_right(self.offsets, base) - 1]
            state = State(e, crc=None) if e.offset < base else None
        elif state:
            state = replace(state)  # the caller keeps the state between the parts
        if state is None and self._at_end_of_data(pos):
            return PartFacts(1, -1, 0, None, False, None, None)
        if state is None:
            facts = PartFacts(1, -1, 0, None, False, None, None)
        elif state.entry.method == 0:
            if fresh:
                state.content = base - state.entry.data
            facts = PartFacts(3, state.entry.ordinal, state.content, None, False, None, None)
        else:
            sop = parse_start_of_part(self._room(base, state.entry))
            if fresh:
                state.content = sop.content
            facts = PartFacts(2, state.entry.ordinal, sop.content, None, False, None, None)
        if state:
            facts.start = State(state.entry, state.content, state.last, state.padded)
        first = state
        while pos < self.stop:
            if state is None:
                if self._at_end_of_data(pos):
                    break
                state, pos = self._header(pos)
                if facts.ordinal < 0:
                    facts.ordinal = state.entry.ordinal
            elif state.entry.method == 0:
                pos = self._store(state, pos)
            else:
                pos = self._frame_or_descriptor(state, pos)
            if self._finished(state, pos):
                if state is first:
                    facts.ended, facts.end_last = True, (state.last, state.padded)
                state = None
        facts.after = state
        return facts

    def _at_end_of_data(self, pos: int) -> bool:
        if self.known is None and self.view[pos - self.base] == ord("B"):  # of BURSTATR
            self.data_end = pos
        return self.data_end == pos

    def _room(self, pos: int, e: Entry) -> memoryview:
        """From pos to whichever comes first: the end of the part or of the entry's data."""
        return self.view[pos - self.base:(min(self.stop, e.end) if e.end else self.stop) - self.base]

    def _header(self, pos: int) -> tuple[State, int]:
        local, length = parse_local(self.view[pos - self.base:], pos)
        if self.known is None:
            e = local
            e.ordinal, e.data = len(self.entries), pos + length
            e.end = 0 if e.descriptor else e.data + e.csize
            self.entries.append(e)
        else:
            n = bisect_right(self.offsets, pos) - 1
            e = self.known[n]
            need(e.offset == pos, "entry-order", f"no entry of the directory begins at {pos}")
            same_header(local, e)
            need(pos + length == e.data, "placing", f"the data of {e.name!r} does not begin after its header")
        if self.sink:
            self.sink.begin(e)
        return State(e), pos + length

    def _give(self, state: State, data: bytes | memoryview) -> None:
        if self.sink:
            if state.crc is not None:
                state.crc = zlib.crc32(data, state.crc)
            self.sink.content(state.entry, state.content, bytes(data))

    def _store(self, state: State, pos: int) -> int:
        e = state.entry
        need(pos % GRID or (pos - e.data) % 4096 == 0, "grid", f"offset {pos - e.data} of {e.name!r} on the grid")
        b = self._room(pos, e)
        self._give(state, b)
        state.content += len(b)
        return pos + len(b)

    def _frame_or_descriptor(self, state: State, pos: int) -> int:
        e, b = state.entry, self._room(pos, state.entry)
        if pos % GRID == 0:
            sop = parse_start_of_part(b)
            need((sop.offset, sop.ordinal, sop.content) == (pos, e.ordinal, state.content), "start-of-part",
                 f"the frame at {pos} does not say where it stands")
            need(sop.content % 4096 == 0 or not e.end or sop.content == e.usize, "start-of-part", "content offset")
            self.idents.add(sop.ident)
            return pos + 48
        if e.descriptor and (pos == e.end or (not e.end and b[:4] == b"PK\7\x08")):
            return self._descriptor(state, pos)
        if is_skippable(b):
            frame = parse_skippable(b)
            need(frame.magic != START_OF_PART, "start-of-part", f"a start-of-part frame at {pos}, off the grid")
            state.padded |= frame.magic == PADDING
            return pos + frame.length
        need(state.content % 4096 == 0, "frames", f"an extent of {e.name!r} starts at {state.content}")
        frame = parse_frame(b)
        need(e.descriptor and not e.end or state.content + frame.size <= e.usize, "refuse",
             f"the frames of {e.name!r} hold more than its size")
        if frame.hole:
            add_hole(e, state.content, frame.size)
            if self.sink and state.crc is not None:
                state.crc = zlib.crc32(bytes(frame.size), state.crc)
        elif self.sink:
            try:
                data = self.decoder.decompress(bytes(b[:frame.length]), max_output_size=frame.size)
            except zstandard.ZstdError as why:
                raise Refused("frames", f"{e.name!r} at {pos}: {why}") from why
            need(len(data) == frame.size, "frames", f"the content size of the frame at {pos} is not the true one")
            self._give(state, data)
        state.content += frame.size
        state.last, state.padded = frame.size, False
        return pos + frame.length

    def _descriptor(self, state: State, pos: int) -> int:
        e, a = state.entry, "data-descriptor"
        b = self.view[pos - self.base:pos - self.base + 24]
        need(len(b) == 24, "grid", f"the data descriptor of {e.name!r} crosses a grid point")
        sig, crc, csize, usize = struct.unpack("<IIQQ", b)
        need(sig == 0x08074B50, a, f"no data descriptor after {e.name!r}")
        if not e.end:
            e.end, e.crc32, e.csize, e.usize = pos, crc, csize, usize
            need(csize == pos - e.data, a, f"compressed size of {e.name!r}")
        need((crc, csize, usize) == (e.crc32, e.csize, e.usize), a, f"not what the directory says of {e.name!r}")
        return pos + 24

    def _finished(self, state: State, pos: int) -> bool:
        e = state.entry
        if (e.descriptor and not e.end) or pos < e.end + (24 if e.descriptor else 0):
            return False
        need(state.content == e.usize, "refuse", f"{e.name!r} holds {state.content} bytes, not {e.usize}")
        if state.last or state.crc is not None:
            check_tail(e, state.last, state.padded)
        need(not self.sink or state.crc in (None, e.crc32), "directory", f"CRC-32 of {e.name!r}")
        return True


def check_tail(e: Entry, last: int, padded: bool) -> None:
    need(last != EXTENT or padded, "padding", f"no padding frame after the full last frame of {e.name!r}")


def add_hole(e: Entry, start: int, n: int) -> None:
    if e.holes and e.holes[-1][1] == start:
        e.holes[-1] = (e.holes[-1][0], start + n)
    else:
        e.holes.append((start, start + n))


def join(parts: list[PartFacts]) -> None:
    """What parts read in any order must say of each other."""
    last, padded = 0, False  # of the entry that reaches into the next part
    for before, part in zip([None, *parts], parts, strict=False):
        after = before.after if before else None
        need((after is None) == (part.start is None), "grid", "an entry does not go on in the next part")
        if after and part.start:
            need(after.entry is part.start.entry and after.content == part.start.content, "start-of-part",
                 f"the parts of {after.entry.name!r} do not follow each other")
            if part.ended and part.end_last:
                here = part.end_last
                check_tail(after.entry, here[0] or last, here[1] or (not here[0] and padded))
        if part.after:
            same = part.start is not None and part.after.entry is part.start.entry and not part.after.last
            last = last if same else part.after.last
            padded = (same and padded) or part.after.padded


def merge_holes(e: Entry) -> None:
    holes, e.holes = sorted(e.holes), []
    for start, end in holes:
        add_hole(e, start, end - start)
