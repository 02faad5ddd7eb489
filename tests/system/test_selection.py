"""`restore --path`: what is asked for, and no more requests than it needs."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests
from archives import Archives
from burst import burst, snapshot
from burst_archive import Archive
from burst_frames import GRID
from listing import Listing, assert_same, below, listing
from s3_server import Server


class Recorder:
    """A proxy that passes requests on as they are (their signature names its own address) and notes GET ranges."""

    def __init__(self, server: Server):
        seen = self.seen = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                seen.append((self.command, self.headers.get("Range"), self.headers.get("If-Match")))
                reply = requests.request(self.command, server.url + self.path, headers=dict(self.headers),
                                         stream=True, timeout=60)
                body = reply.raw.read() if self.command == "GET" else b""
                self.send_response(reply.status_code)
                for name, value in reply.headers.items():
                    if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                        self.send_header(name, value)
                length = len(body) if self.command == "GET" else reply.headers.get("Content-Length", "0")
                self.send_header("Content-Length", str(length))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_HEAD = answer

            def log_message(self, *_: object) -> None: ...

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, daemon=True)
        self.thread.start()
        self.environment = {**server.environment, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.http.server_port}"}

    def parts(self, data_end: int) -> set[int]:
        """Numbers of the parts that were asked for."""
        out = set()
        for method, text, _ in self.seen:
            if method == "GET" and text and not text.startswith("bytes=-"):
                first, last = map(int, text.removeprefix("bytes=").split("-"))
                if first % GRID == 0 and first < data_end:
                    out |= set(range(first // GRID, (min(last + 1, data_end) + GRID - 1) // GRID))
        return out

    def close(self) -> None:
        self.http.shutdown()
        self.http.socket.shutdown(socket.SHUT_RDWR)
        self.http.server_close()


@pytest.fixture
def recorder(s3s: Server) -> Iterator[Recorder]:
    proxy = Recorder(s3s)
    yield proxy
    proxy.close()


def parts_of(archive: Path, *paths: str) -> tuple[set[int], int]:
    """Parts that hold anything of these entries but directories, which the directory describes; end of the data."""
    a = Archive(os.open(archive, os.O_RDONLY))
    out = set()
    for e in a.entries:
        if e.kind != "dir" and any(e.path.decode() == p or e.path.decode().startswith(p + "/") for p in paths):
            out |= set(range(e.offset // GRID, (max(e.end, e.offset + 1) - 1) // GRID + 1))
    return out, a.trailer.data_end


@pytest.mark.parametrize("path", ["alpha", "beta/deep", "beta/prose", "zeta/own"])
def test_only_the_parts_it_needs(path: str, made: Archives, listed: Callable[[str], Listing], target: Path,
                                 s3s: Server, recorder: Recorder):
    upload(made, s3s)
    burst("restore", "--path", path, f"s3://{s3s.bucket}/kinds", target, env=recorder.environment)
    found = listing(target)
    assert below(found, path), "nothing came"
    same = ("links",)
    assert_same(below(listed("kinds"), path), below(found, path), ignore=same)
    others = {p for p in found if p != "." and p != path and not p.startswith(path + "/")}
    assert all(path.startswith(p + "/") for p in others), f"not asked for: {others}"
    needed, data_end = parts_of(made.archive("kinds"), path)
    asked = recorder.parts(data_end)
    assert needed <= asked, "the test does not see the requests"
    assert asked == needed, f"asked for {sorted(asked)}, needs {sorted(needed)}: {recorder.seen}"


def test_one_version_throughout(made: Archives, target: Path, s3s: Server, recorder: Recorder):
    """Every GET after the first names the ETag."""
    upload(made, s3s)
    burst("restore", f"s3://{s3s.bucket}/kinds", target, env=recorder.environment)
    gets = [seen for seen in recorder.seen if seen[0] == "GET"]
    assert len(gets) > 6
    unpinned = [g for g in gets if g[2] is None]
    assert len(unpinned) <= 1, unpinned


def test_hard_link_to_outside(made: Archives, listed: Callable[[str], Listing], target: Path):
    """The data of a selected hard link lies outside of the selection: it comes, under the selected name only."""
    burst("restore", "--path", "zeta/linked", made.archive("kinds"), target)
    found = listing(target)
    assert set(found) == {".", "zeta", "zeta/linked"}
    assert_same({"f": listed("kinds")["zeta/linked"]}, {"f": found["zeta/linked"]}, ignore=("links",))


def test_several_paths(made: Archives, listed: Callable[[str], Listing], target: Path):
    """Two names of one file, both selected, share it."""
    burst("restore", "--path", "zeta", "--path", "alpha/first", made.archive("kinds"), target)
    found = listing(target)
    assert set(found) == {".", "alpha", "alpha/first", "zeta", "zeta/linked", "zeta/own"}
    assert_same(below(listed("kinds"), "zeta"), below(found, "zeta"))
    assert found["alpha/first"]["links"] == ["alpha/first", "zeta/linked"]


def test_absent_path(made: Archives, target: Path):
    done = burst("restore", "--path", "alpha/nothing", made.archive("kinds"), target, code=10)
    assert "alpha/nothing" in done.err


def upload(made: Archives, s3s: Server) -> None:
    snapshot(made.tree("kinds"), f"s3://{s3s.bucket}/kinds", "--overwrite", env=s3s.environment)
