"""An S3 server of one object that does one thing wrong, at one request or from one request on."""

import socket
import threading
import zlib
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Iterable

from s3_http import Answer, Connection, Gone, Request

HTML = b"<!DOCTYPE html><html><body><h1>Sign in to the network</h1></body></html>\n"
DRIP_SECONDS = 0.05
LATE_SECONDS = 2
SLOW_SECONDS = 0.8


def error(status: int, code: str, **headers: str) -> Answer:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>on purpose</Message></Error>".encode()
    if code == "PermanentRedirect":
        headers["x-amz-bucket-region"] = "eu-west-9"
    return Answer(status, {"Content-Type": "application/xml", **headers}, body)


# What is answered instead of the true answer.
REFUSALS = {
    "500": lambda: error(500, "InternalError"),
    "503": lambda: error(503, "SlowDown", **{"Retry-After": "1"}),
    # Not S3's own way to say it, but that of proxies and other servers. The CRT knows neither.
    "429": lambda: Answer(429, {"Content-Type": "text/html", "Retry-After": "1"}, HTML),
    "408": lambda: Answer(408, {"Content-Type": "text/html"}, HTML),
    "403": lambda: error(403, "ExpiredToken"),
    "404": lambda: error(404, "NoSuchKey"),
    "404 upload": lambda: error(404, "NoSuchUpload"),
    "403 denied": lambda: error(403, "AccessDenied"),
    "412": lambda: error(412, "PreconditionFailed"),
    "301": lambda: error(301, "PermanentRedirect"),
    "html": lambda: Answer(200, {"Content-Type": "text/html"}, HTML),
    "200 error": lambda: error(200, "InternalError"),
}


class FaultServer:
    """`fault` is what goes wrong, `first` the number of the request (from 0), `times` how often."""

    def __init__(self, content: bytes = b"", other: bytes = b""):
        self.content, self.other = memoryview(content), memoryview(other)
        # Of each upload the requests that brought its parts.
        self.uploads: dict[str, dict[int, Request]] = {}
        self.objects: dict[str, bytes] = {}
        self.checksums: dict[str, str] = {}
        self.lock = threading.Lock()
        self.closing = threading.Event()
        self.reset()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.environment = {
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.url,
            "AWS_MAX_ATTEMPTS": "4",
        }
        threading.Thread(target=self.accept, daemon=True).start()

    def reset(self, fault: str = "", first: int = 0, times: int = 0) -> None:
        """Forgets everything and begins to count again; what stalls ends."""
        self.closing.set()
        self.closing = threading.Event()
        with self.lock:
            self.fault, self.first, self.times = fault, first, times
            self.requests = self.hits = self.created = 0
            self.seen: Counter[str] = Counter()
            self.uploads.clear()
            self.objects.clear()
            self.checksums.clear()
            # What is answered to whoever speaks of an upload that is not there (any more).
            self.when_gone = "404 upload"
            # How often the object of a complete upload is not seen at first.
            self.unseen = 0
            # Changes what a complete upload comes to: "damage", "checksum" (told with HEAD), "damage, checksum"; "as sent":
            # chunks and checksums are taken for content.
            self.outcome = ""
            # How many requests to abort an upload are refused.
            self.aborts_refused = 0
            # The Range header is not looked at; what the answer says of ranges.
            self.no_ranges: dict[str, str] | None = None
            # "bytes=-N" is taken for "bytes=0-N".
            self.no_suffixes = False

    def close(self) -> None:
        self.closing.set()
        self.listener.close()

    def accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client: socket.socket) -> None:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(client)
        try:
            while True:
                request = connection.request()
                fault = self.next_fault(request)
                if not self.misbehave(fault, connection, request):
                    connection.send(self.answer(request, fault), request.method != "HEAD")
        except (Gone, OSError):
            pass
        finally:
            client.close()

    def next_fault(self, request: Request) -> str:
        with self.lock:
            number = self.requests
            self.requests += 1
            self.seen[what(request)] += 1
            # Without this, nothing could be tidied up.
            if request.method == "DELETE" and self.times > 1:
                return ""
            if not self.fault or number < self.first or self.hits >= self.times:
                return ""
            self.hits += 1
            return self.fault

    def misbehave(self, fault: str, connection: Connection, request: Request) -> bool:
        """What goes wrong below HTTP; true if the request is dealt with."""
        if fault == "reset":
            connection.reset()
            raise Gone
        if fault == "lost answer":
            self.answer(request, "")
            connection.reset()
            raise Gone
        if fault in ("late", "slow"):
            answer = self.answer(request, "")
            self.closing.wait(LATE_SECONDS if fault == "late" else SLOW_SECONDS)
            connection.send(answer)
            return True
        if fault in ("stall", "silent"):
            if fault == "silent":
                self.answer(request, "")
            self.closing.wait()
            raise Gone
        answer = self.answer(request, "") if fault in ("cut", "drip", "stall in body") else Answer(0)
        if fault == "cut":
            connection.sock.sendall(answer.head() + bytes(answer.body[: len(answer.body) // 2]))
            connection.reset()
            raise Gone
        if fault == "stall in body":
            connection.sock.sendall(answer.head() + bytes(answer.body[:1000]))
            self.closing.wait()
            raise Gone
        if fault == "drip":
            connection.sock.sendall(answer.head())
            for at in range(len(answer.body)):
                connection.sock.sendall(answer.body[at : at + 1])
                if self.closing.wait(DRIP_SECONDS):
                    raise Gone
            return True
        return False

    def answer(self, request: Request, fault: str) -> Answer:
        if fault in REFUSALS:
            return REFUSALS[fault]()
        if request.method == "GET":
            return self.get(request, fault)
        if request.method == "HEAD":
            return self.head(request)
        return self.write(request)

    def head(self, request: Request) -> Answer:
        with self.lock:
            content = memoryview(self.objects.get(request.path, self.content))
            checksum = self.checksums.get(request.path)
            if request.path in self.objects and self.unseen:
                self.unseen -= 1
                content = memoryview(b"")
        if not content:
            return error(404, "NoSuchKey")
        headers = self.headers(content)
        if checksum and request.headers.get("x-amz-checksum-mode") == "ENABLED":
            headers["x-amz-checksum-crc32c"] = checksum
        return Answer(200, headers, length=len(content))

    def headers(self, content: memoryview) -> dict[str, str]:
        return {"ETag": f'"{zlib.crc32(content[:4096]):08x}{len(content):x}"', "Accept-Ranges": "bytes"}

    def get(self, request: Request, fault: str) -> Answer:
        content = self.other if fault.startswith("replaced") else self.content
        content = memoryview(self.objects.get(request.path, content))
        headers = self.headers(content)
        wanted = request.headers.get("if-match")
        if wanted and wanted != headers["ETag"] and fault != "replaced unnoticed":
            return error(412, "PreconditionFailed")
        if self.no_ranges is not None:
            return Answer(200, {"ETag": headers["ETag"], **self.no_ranges}, content)
        start, end = request.range(len(content)) or (0, len(content))
        if self.no_suffixes and request.headers.get("range", "").startswith("bytes=-"):
            start, end = 0, end - start + 1
        if fault == "wrong range":
            start, end = (start - 4096, end - 4096) if start >= 4096 else (start + 4096, end)
        if fault == "short":
            end -= 1
        if fault == "wrong etag":
            headers["ETag"] = '"something-else"'
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
        body = content[start:end]
        if fault == "wrong body":
            changed = bytearray(body)
            # In the directory, of the request that gets the end.
            changed[-1500] ^= 4
            body = memoryview(changed)
        return Answer(206, headers, body)

    def write(self, request: Request) -> Answer:
        """A multipart upload, step by step."""
        upload = request.query.get("uploadId", "")
        with self.lock:
            if request.method == "POST" and "uploads" in request.query:
                self.created += 1
                upload = f"upload-{self.created}"
                self.uploads[upload] = {}
                xml = f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
                return Answer(200, {"Content-Type": "application/xml"}, xml.encode())
            if upload not in self.uploads:
                return REFUSALS[self.when_gone]()
            if request.method == "PUT":
                self.uploads[upload][int(request.query["partNumber"])] = request
                return Answer(200, {"ETag": f'"{zlib.crc32(request.body):08x}"'})
            if request.method == "DELETE" and self.aborts_refused:
                self.aborts_refused -= 1
                return REFUSALS["503"]()
            if request.method == "DELETE":
                del self.uploads[upload]
                return Answer(204)
            parts = self.uploads.pop(upload)
            bodies = (parts[n].raw if self.outcome == "as sent" else parts[n].body for n in sorted(parts))
            content = bytearray(b"".join(bodies))
            if "checksum" in self.outcome:
                sums = (parts[n].trailer["x-amz-checksum-crc32c"] for n in sorted(parts))
                self.checksums[request.path] = composite(map(b64decode, sums), len(parts), "damage" in self.outcome)
            elif "damage" in self.outcome:
                content[len(content) // 2] ^= 1
            self.objects[request.path] = bytes(content)
            xml = "<CompleteMultipartUploadResult><ETag>&quot;whole&quot;</ETag></CompleteMultipartUploadResult>"
            return Answer(200, {"Content-Type": "application/xml"}, xml.encode())


def composite(sums: Iterable[bytes], parts: int, damaged: bool) -> str:
    """The CRC32C of the parts' CRC32C, as S3 tells it."""
    crc = 0xFFFFFFFF
    for byte in b"".join(sums):
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return f"{b64encode((crc ^ 0xFFFFFFFF ^ damaged).to_bytes(4)).decode()}-{parts}"


def what(request: Request) -> str:
    """The S3 operation."""
    if request.method == "POST":
        return "create" if "uploads" in request.query else "complete"
    return {"GET": "get", "HEAD": "head", "PUT": "part", "DELETE": "abort"}[request.method]
