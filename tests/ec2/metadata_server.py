"""An instance metadata service, and servers that are none."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

TOKEN = "AQAEAB0123456789_-abcdefghijklmnopqrstuvwxyz=="
DOCUMENT = {
    "accountId": "123456789012",
    "architecture": "x86_64",
    "availabilityZone": "eu-central-1b",
    "imageId": "ami-0123456789abcdef0",
    "instanceId": "i-0fedcba9876543210",
    "instanceType": "c7gn.4xlarge",
    "pendingTime": "2026-11-01T10:00:00Z",
    "privateIp": "10.0.0.1",
    "region": "eu-central-1",
    "version": "2017-09-30",
}
PAGE = b"<!DOCTYPE html><html><body>Please log in to the network</body></html>"


class Metadata:
    """Behaves as `mode` says:

    good, v1 (documents without a token, none to be had), off (403), page (HTML for everything), page-later (HTML for the
    document), silent, drip (a byte now and then, without end), cut (ends within the document), expired (401 for the
    document), moved (redirects), wrong (a document that is not about an instance).
    """

    def __init__(self, mode: str, document: dict[str, str] | None = None, data: dict[str, str] | None = None):
        """`document`: what differs in it; `data`: what else there is, by its path after /latest/."""
        self.mode, self.data = mode, data or {}
        self.identity = DOCUMENT | (document or {})
        self.requests: list[tuple[str, str, str | None]] = []
        self.over = threading.Event()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_PUT(self) -> None:
                owner.token(self)

            def do_GET(self) -> None:
                owner.document(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> "Metadata":
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: type | BaseException | TracebackType | None) -> None:
        self.over.set()
        self.server.shutdown()
        self.server.server_close()

    def note(self, request: BaseHTTPRequestHandler) -> None:
        self.requests.append((request.command, request.path, request.headers.get("X-aws-ec2-metadata-token")))

    def token(self, request: BaseHTTPRequestHandler) -> None:
        self.note(request)
        if request.path != "/latest/api/token" or "X-aws-ec2-metadata-token-ttl-seconds" not in request.headers:
            return answer(request, 400, b"")
        match self.mode:
            case "v1":
                answer(request, 404, b"")
            case "off":
                answer(request, 403, b"")
            case "page":
                answer(request, 200, PAGE)
            case "moved":
                answer(request, 302, b"", Location="http://127.0.0.1:1/")
            case "silent":
                self.over.wait()
            case "drip":
                self.drip(request)
            case _:
                answer(request, 200, TOKEN.encode())

    def document(self, request: BaseHTTPRequestHandler) -> None:
        self.note(request)
        body = json.dumps(self.identity, indent=2).encode()
        path = request.path.removeprefix("/latest/")
        if self.mode == "v1":
            answer(request, 200, body)
        elif self.mode == "expired" or request.headers.get("X-aws-ec2-metadata-token") != TOKEN:
            answer(request, 401, b"")
        elif path != "dynamic/instance-identity/document":
            found = self.data.get(path)
            answer(request, 404 if found is None else 200, (found or "").encode())
        elif self.mode == "page-later":
            answer(request, 200, PAGE)
        elif self.mode == "wrong":
            answer(request, 200, b'{"instanceType": "../../etc/passwd", "region": "eu-central-1"}')
        elif self.mode == "cut":
            request.send_response(200)
            request.send_header("Content-Length", str(len(body)))
            request.end_headers()
            request.wfile.write(body[:100])
            request.close_connection = True
        else:
            answer(request, 200, body)

    def drip(self, request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "1000000")
        request.end_headers()
        try:
            while not self.over.wait(0.1):
                request.wfile.write(b"A")
                request.wfile.flush()
        except OSError:
            pass  # the client gave up, as it should
        request.close_connection = True


def answer(request: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    request.send_response(status)
    for name, value in headers.items():
        request.send_header(name, value)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)
