"""A gate before the S3 server: notes what is asked for, and can keep back all but the first part of an object."""

import http.client
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

PART = 8 << 20


class Gate:
    """`asked` holds (path, first byte) of each GET, with None for one that has no such range. `pause` is how long each
    part takes."""

    def __init__(self, url: str):
        self.asked: list[tuple[str, int | None]] = []
        self.held, self.pause = "", 0.0
        self.opened = threading.Event()
        gate, server = self, urlsplit(url)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def forward(self) -> None:
                found = re.fullmatch(r"bytes=(\d+)-\d*", self.headers.get("Range", ""))
                first = int(found[1]) if found else None
                if self.command == "GET":
                    gate.asked.append((self.path, first))
                    if gate.held and self.path.endswith(gate.held) and first and first % PART == 0:
                        gate.opened.wait()
                    if first is not None and first % PART == 0:
                        time.sleep(gate.pause)
                # As it came: the signature is over the headers, also the name of the host.
                there = http.client.HTTPConnection(server.hostname, server.port)
                there.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    there.putheader(name, value)
                there.endheaders()
                answer = there.getresponse()
                body = answer.read()
                self.send_response_only(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                        self.send_header(name, value)
                length = answer.headers["Content-Length"] if self.command == "HEAD" else len(body)
                self.send_header("Content-Length", str(length))
                self.end_headers()
                self.wfile.write(body)
                there.close()

            do_GET = do_HEAD = forward

            def handle(self) -> None:
                try:
                    super().handle()
                except OSError:
                    # The machine was switched off.
                    self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def hold(self, key: str) -> None:
        """Of this object only the first part is given, and what is not a part."""
        self.held = key

    def open(self) -> None:
        self.held = ""
        self.opened.set()

    def close(self) -> None:
        self.open()
        self.server.shutdown()
        self.server.server_close()
