"""When the first file below a mount point was complete: told by the kernel (fanotify(7)), not looked for."""

import ctypes
import os
import select
import struct
import threading
import time
from pathlib import Path

FAN_CLOEXEC = 0x1
FAN_MARK_ADD, FAN_MARK_MOUNT = 0x1, 0x10
FAN_CLOSE_WRITE = 0x8
EVENT = struct.Struct("=IBBHQii")


class FirstFile:
    """Watches while it is entered; `when` is the time (seconds since 1970), 0 if there was no file."""

    def __init__(self, mount: Path) -> None:
        self.mount = mount
        self.when = 0.0

    def __enter__(self) -> "FirstFile":
        libc = ctypes.CDLL(None, use_errno=True)
        self.fd = libc.fanotify_init(FAN_CLOEXEC, os.O_RDONLY | os.O_CLOEXEC)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "fanotify_init")
        mask = ctypes.c_uint64(FAN_CLOSE_WRITE)
        if libc.fanotify_mark(self.fd, FAN_MARK_ADD | FAN_MARK_MOUNT, mask, -100, os.fsencode(self.mount)):
            raise OSError(ctypes.get_errno(), "fanotify_mark")
        self.stop, self.stopped = os.pipe()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def watch(self) -> None:
        while not self.when:
            ready, _, _ = select.select([self.fd, self.stop], [], [])
            if self.fd not in ready:
                break
            now = time.time()
            events = os.read(self.fd, 4096)
            for at in range(0, len(events), EVENT.size):
                file = EVENT.unpack_from(events, at)[5]
                path = os.readlink(f"/proc/self/fd/{file}")
                os.close(file)
                # Not what the program keeps for itself.
                if "/.burst" not in path and not path.endswith(" (deleted)"):
                    self.when = self.when or now
        # The others need not be told.
        os.close(self.fd)

    def __exit__(self, *_: object) -> None:
        os.close(self.stopped)
        self.thread.join()
        os.close(self.stop)
