"""Just enough HTTP for an S3 server that misbehaves on purpose: one request read, one answer written."""

import socket
import struct
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit


class Gone(Exception):
    """The client has closed the connection."""


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes = b""
    # The body as it was sent, with the framing of aws-chunked.
    raw: bytes = b""
    # Headers that came after the body.
    trailer: dict[str, str] = field(default_factory=dict)

    def range(self, size: int) -> tuple[int, int] | None:
        """Start and end of the Range header within an object of `size` bytes; None without one."""
        text = self.headers.get("range")
        if text is None:
            return None
        first, last = text.removeprefix("bytes=").split("-")
        if not first:
            return max(0, size - int(last)), size
        return int(first), min(size, int(last) + 1)


@dataclass
class Answer:
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | memoryview = b""
    # The length that is announced; None = the true one.
    length: int | None = None

    def head(self) -> bytes:
        length = len(self.body) if self.length is None else self.length
        lines = [f"HTTP/1.1 {self.status} Status", f"Content-Length: {length}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


class Connection:
    def __init__(self, sock: socket.socket):
        self.sock, self.rest = sock, b""

    def request(self) -> Request:
        head = self.until(b"\r\n\r\n").decode("latin-1")
        line, *lines = head.split("\r\n")
        method, target, _ = line.split(" ")
        headers = {k.lower(): v.strip() for k, _, v in (each.partition(":") for each in lines)}
        url = urlsplit(target)
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        raw = self.take(int(headers.get("content-length", 0)))
        chunked = "aws-chunked" in headers.get("content-encoding", "")
        body, trailer = unchunk(raw) if chunked else (raw, {})
        return Request(method, unquote(url.path), query, headers, body, raw, trailer)

    def until(self, mark: bytes) -> bytes:
        while mark not in self.rest:
            self.more()
        found, _, self.rest = self.rest.partition(mark)
        return found

    def take(self, size: int) -> bytes:
        body = bytearray(size)
        have = min(size, len(self.rest))
        body[:have], self.rest = self.rest[:have], self.rest[have:]
        view = memoryview(body)
        while have < size:
            got = self.sock.recv_into(view[have:])
            if not got:
                raise Gone
            have += got
        return bytes(body)

    def more(self) -> None:
        got = self.sock.recv(65536)
        if not got:
            raise Gone
        self.rest += got

    def send(self, answer: Answer, with_body: bool = True) -> None:
        self.sock.sendall(answer.head())
        if with_body:
            self.sock.sendall(answer.body)

    def reset(self) -> None:
        """Ends the connection with RST instead of FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


def unchunk(body: bytes) -> tuple[bytes, dict[str, str]]:
    """The content of an aws-chunked body, and its trailer, which holds the checksum."""
    out, at = [], 0
    while True:
        end = body.index(b"\r\n", at)
        size = int(body[at:end].split(b";")[0], 16)
        if size == 0:
            lines = body[end + 2 :].decode("latin-1").split("\r\n")
            pairs = (line.partition(":") for line in lines if line)
            return b"".join(out), {name.lower(): value.strip() for name, _, value in pairs}
        out.append(body[end + 2 : end + 2 + size])
        at = end + 2 + size + 2
