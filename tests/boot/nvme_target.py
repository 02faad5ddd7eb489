"""A blank NVMe disk of EC2, offered over TCP: Identify tells the name of the device, which no other stand-in can."""

import contextlib
import socket
import threading
from struct import pack, pack_into, unpack_from

# NVM Express: Base, Fabrics and TCP Transport Specifications. Only what Linux asks of a disk that is looked at.
INITIALIZE, INITIALIZED, COMMAND, RESPONSE, DATA = 0, 1, 4, 5, 7
FABRICS, PROPERTY_SET, CONNECT, PROPERTY_GET = 0x7F, 0, 1, 4
IDENTIFY, GET_LOG_PAGE, SET_FEATURES, ASYNC_EVENT, KEEP_ALIVE = 0x06, 0x02, 0x09, 0x0C, 0x18
FLUSH, READ = 0x00, 0x02
# Properties of a controller: offsets.
CAPABILITIES, VERSION, CONFIGURATION, STATUS = 0x00, 0x08, 0x14, 0x1C
NVME_1_3, BLOCK = 0x10300, 512
BAD_OPCODE, BAD_FIELD = 0x4001, 0x4002


class Disk:
    """`name` is what EC2 calls it, such as sdh."""

    def __init__(self, model: str, serial: str, name: str, size: int):
        self.model, self.serial, self.name, self.size = model, serial, name, size
        self.nqn = f"nqn.test.{serial}"
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def close(self) -> None:
        self.listener.close()

    def accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                threading.Thread(target=Queue, args=(self, connection), daemon=True).start()

    def identify(self, what: int, namespace: int) -> bytes | None:
        data = bytearray(4096)
        if what == 0:
            blocks = self.size // BLOCK
            pack_into("<QQQ", data, 0, blocks, blocks, blocks)
            data[130] = 9  # 2^9 bytes a block
        elif what == 1:
            data[4:72] = f"{self.serial:<20}{self.model:<40}{'1.0':<8}".encode()
            data[77] = 5  # at most 2^5 pages at once
            pack_into("<HI", data, 78, 1, NVME_1_3)
            data[111] = 1  # an I/O controller
            pack_into("<H", data, 320, 10)  # keep alive in steps of a second
            pack_into("<BBHI", data, 512, 0x66, 0x44, 128, 1)
            pack_into("<I", data, 536, 1)  # scatter gather lists
            data[768 : 768 + len(self.nqn)] = self.nqn.encode()
            pack_into("<IIHBB", data, 1792, 4, 1, 0, 0, 1)
            # The vendor's own: the device name, as EC2 has it.
            data[3072 : 3072 + 32] = f"{self.name:<32}".encode()
        elif what == 2:
            pack_into("<I", data, 0, 1 if namespace < 1 else 0)
        elif what == 3:
            data[:20] = b"\x03\x10\0\0" + self.serial.encode()[:16]
        else:
            return None
        return bytes(data)


class Queue:
    """One connection."""

    def __init__(self, disk: Disk, connection: socket.socket):
        self.disk, self.connection, self.admin, self.configuration = disk, connection, True, 0
        with connection, contextlib.suppress(OSError, EOFError):
            while True:
                kind, _, _, _, length = unpack_from("<BBBBI", head := self.receive(8))
                body = head + self.receive(length - 8)
                if kind == INITIALIZE:
                    answer = pack("<BBBBIHBBI", INITIALIZED, 0, 128, 0, 128, 0, 0, 0, 1 << 17)
                    connection.sendall(answer.ljust(128, b"\0"))
                elif kind == COMMAND:
                    self.command(body[8:72])

    def receive(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            more = self.connection.recv(length - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def command(self, entry: bytes) -> None:
        opcode, _, number, namespace = unpack_from("<BBHI", entry)
        result, data, status = 0, b"", 0
        if opcode == FABRICS:
            result = self.fabrics(entry)
        elif self.admin and opcode == IDENTIFY:
            data = self.disk.identify(entry[40], namespace)
            if data is None:
                data, status = b"", BAD_FIELD
        elif self.admin and opcode == GET_LOG_PAGE:
            data = bytes(unpack_from("<I", entry, 32)[0])
        elif self.admin and opcode == SET_FEATURES:
            # So many queues as are wanted.
            result = unpack_from("<I", entry, 44)[0]
        elif self.admin and opcode == ASYNC_EVENT:
            return
        elif not self.admin and opcode == READ:
            data = bytes((unpack_from("<H", entry, 48)[0] + 1) * BLOCK)
        elif opcode not in ((KEEP_ALIVE,) if self.admin else (FLUSH,)):
            status = BAD_OPCODE
        if data:
            head = pack("<BBBBIHHIII", DATA, 4, 24, 24, 24 + len(data), number, 0, 0, len(data), 0)
            self.connection.sendall(head + data)
        self.connection.sendall(pack("<BBBBIQHHHH", RESPONSE, 0, 24, 0, 24, result, 0, 0, number, status << 1))

    def fabrics(self, entry: bytes) -> int:
        kind = entry[4]
        if kind == CONNECT:
            self.admin = unpack_from("<H", entry, 42)[0] == 0
            return 1  # the controller's number
        offset = unpack_from("<I", entry, 44)[0]
        if kind == PROPERTY_SET and offset == CONFIGURATION:
            self.configuration = unpack_from("<Q", entry, 48)[0]
        properties = {
            CAPABILITIES: 127 | 1 << 16 | 20 << 24 | 1 << 37,
            VERSION: NVME_1_3,
            CONFIGURATION: self.configuration,
            # Ready when it is enabled; a shutdown that is wanted is complete.
            STATUS: self.configuration & 1 | (8 if self.configuration & 0xC000 else 0),
        }
        return properties.get(offset, 0) if kind == PROPERTY_GET else 0
