"""Which system calls a restore makes below its target: traced by strace, as a list that floors/replay.rs replays.

A line of the list is `THREAD c NAME WANT ARGUMENT...`, or `THREAD s GATE` (open it) or `THREAD w GATE` (wait until it
is open). Gates stand where a thread needs what another one did: a directory it made, a descriptor it opened, or, for
what the first thread does in the end, all that the others did.
"""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ANNOUNCE = Path(__file__).parent / "floors" / "announce.c"

# What changes a file system or a descriptor; reading and looking are left out, so the floor is a low one.
OLD_NAMES = ["open", "creat", "mkdir", "mknod", "symlink", "link", "unlink", "rmdir", "rename", "chmod", "chown"]
REPLAYED = (
    "openat openat2 mkdirat mknodat symlinkat linkat unlinkat renameat ftruncate fchown fchownat fchmod fchmodat "
    "fsetxattr setxattr fremovexattr utimensat close syncfs fsync pwrite64 write ioctl fcntl"
).split()
UNKNOWN = (
    "lchown lsetxattr lremovexattr removexattr renameat2 truncate fallocate writev pwritev pwritev2 copy_file_range "
    "sendfile splice dup dup2 dup3 fdatasync sync_file_range io_uring_enter"
).split()
RAW = ["pwrite64", "ioctl", "writev", "pwritev", "pwritev2"]
FINISHING = ["ftruncate", "fchown", "fchmod", "fsetxattr", "fremovexattr", "utimensat"]

# F_DUPFD, F_DUPFD_CLOEXEC
DUPLICATING = [0, 1030]

AT_FDCWD = -100
ENCODED_WRITE = 0x40809440
# BTRFS_IOC_GET_DEV_STATS and BTRFS_IOC_DEV_INFO: questions, although what is asked goes in by the same struct.
QUESTIONS = {0xC4089434, 0xD000941E}


def record(command: list[str], target: Path, to: Path, work: Path) -> dict[str, int]:
    """Runs a restore into `target` and writes the list; how many calls of each name there are."""
    shim, trace = work / "announce.so", work / "trace"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", shim, ANNOUNCE], check=True)
    names = [name for name in OLD_NAMES + REPLAYED + UNKNOWN if name != "creat"]
    # A question mark: not every architecture has all of these.
    calls = ",".join(f"?{name}" for name in names)
    strace = ["strace", "-f", "--seccomp-bpf", "-q", "-X", "raw", "-xx", "-s", "70000", "-o", str(trace)]
    strace += ["-e", f"trace={calls}", "-e", f"raw={','.join(f'?{name}' for name in RAW)}", "-e", "signal=none"]
    # A tracer that is killed lets the program go on: both are a group of their own.
    command = [*strace, "-E", f"LD_PRELOAD={shim}", *command]
    traced = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        if status := traced.wait():
            raise RuntimeError(f"{' '.join(command)}: exit code {status} under strace")
    finally:
        if traced.returncode is None:
            os.killpg(traced.pid, signal.SIGKILL)
            traced.wait()
    converter = Converter(str(target))
    with trace.open() as lines:
        for call in calls_of(lines):
            converter.take(*call)
    trace.unlink()
    return converter.write(to)


LINE = re.compile(r"(\d+) +(?:<\.\.\. (\w+) resumed>(.*)|(\w+)\((.*))$")


def calls_of(lines: Iterator[str]) -> Iterator[tuple[str, str, list[str], int, bool]]:
    """(thread, name, arguments, result, begins): a call that others interrupt is given as it begins and as it ends."""
    open_calls: dict[str, str] = {}
    for line in lines:
        found = LINE.match(line.rstrip("\n"))
        if not found:
            if "+++" in line or "---" in line:
                continue
            raise RuntimeError(f"not understood in the trace: {line[:200]}")
        thread, resumed, rest, name, text = found.groups()
        if resumed:
            name, text = resumed, open_calls.pop(thread) + rest
        elif text.endswith("<unfinished ...>"):
            open_calls[thread] = text.removesuffix("<unfinished ...>").rstrip()
            yield thread, name, arguments(open_calls[thread]), 0, True
            continue
        text, _, result = text.rpartition(") ")
        value = result.split("=", 1)[1].split()[0]
        yield thread, name, arguments(text), -1 if value == "?" else int(value, 0), False


ARGUMENT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?|(\{[^}]*\}|\[[^\]]*\]|[^,\s][^,]*)')


def arguments(text: str) -> list[str]:
    """Numbers and structures as they stand; strings as `"` and hexadecimal digits."""
    found = []
    for string in ARGUMENT.finditer(text):
        if string[2]:
            raise RuntimeError(f"a string was cut off in the trace: {text[:200]}")
        found.append(string[3] if string[3] is not None else '"' + string[1].replace("\\x", ""))
    return found


def number(text: str) -> int:
    """C writes octal numbers with a leading zero."""
    return int(text, 8) if re.fullmatch(r"0[0-7]+", text) else int(text, 0)


@dataclass
class Handle:
    slot: int
    path: str
    users: dict[int, int]
    """The last call of each thread with it."""


Converted = tuple[str, list[str], list[str], list[Handle], str]


class Converter:
    def __init__(self, target: str) -> None:
        self.target = target
        self.threads: dict[str, int] = {}
        self.calls: list[list[str]] = []
        self.waits: list[dict[int, dict[int, int]]] = []
        self.last_of_thread: dict[int, int] = {}
        self.order: list[tuple[int, int]] = []
        self.handles: dict[int, Handle] = {}
        self.closing: dict[str, Handle | None] = {}
        self.makers: dict[str, tuple[int, int]] = {}
        self.slots = 0
        self.announced: dict[str, str] = {}

    def take(self, tid: str, name: str, args: list[str], result: int, begins: bool) -> None:
        if name == "close":
            self.close(tid, args, begins)
        elif begins:
            return
        elif name == "write" and args[0] == "-1":
            self.announced[tid] = bytes.fromhex(args[1][1:]).decode()
        elif converted := self.convert(tid, name, args, result):
            self.add(tid, *converted, result)

    def close(self, tid: str, args: list[str], begins: bool) -> None:
        # Another thread may get the number before this call returns.
        if tid not in self.closing:
            self.closing[tid] = self.handles.pop(number(args[0]), None)
        if begins:
            return
        if handle := self.closing.pop(tid):
            self.append(tid, f"close 0 h{handle.slot}", list(handle.users.items()))

    def convert(self, tid: str, name: str, args: list[str], result: int) -> Converted | None:
        """Name, arguments as replay reads them, paths, handles used, result wanted; None if it is not below the target."""
        if name in OLD_NAMES:
            name, args = modern(name, args)
        wire: list[str] = []
        paths: list[str] = []
        used: list[Handle] = []

        def descriptor(text: str) -> bool:
            handle = self.handles.get(number(text))
            if handle:
                used.append(handle)
                wire.append(f"h{handle.slot}")
            return handle is not None

        def place(directory: str, text: str) -> bool:
            path = bytes.fromhex(text[1:])
            below = re.fullmatch(rb"/proc/(?:thread-)?self/fd/(\d+)(/.*)?", path)
            if below and (handle := self.handles.get(int(below[1]))):
                used.append(handle)
                paths.append(handle.path)
                wire.extend([f"n{AT_FDCWD}", f"p{handle.slot},{(below[2] or b'').hex()}"])
                return True
            whole = os.fsdecode(path)
            if whole.startswith("/") or number(directory) == AT_FDCWD:
                if whole != self.target and not whole.startswith(f"{self.target}/"):
                    return False
                wire.extend([f"n{AT_FDCWD}", f"t{os.fsencode(whole[len(self.target) :]).hex()}"])
                paths.append(whole)
                return True
            if not descriptor(directory):
                return False
            wire.append(f"b{path.hex()}00")
            paths.append(os.path.normpath(f"{used[-1].path}/{whole}"))
            return True

        def numbers(*texts: str) -> bool:
            wire.extend(f"n{number(text)}" for text in texts)
            return True

        if name == "ioctl" and descriptor(args[0]):
            if number(args[1]) != ENCODED_WRITE:
                # _IOC_READ only: a question.
                if number(args[1]) >> 30 == 2 or number(args[1]) in QUESTIONS:
                    return None
                raise RuntimeError(f"the replay knows no ioctl {args[1]}")
            mine = numbers(args[1])
            wire.append(f"e{self.announced.pop(tid)}")
        elif name in ("openat", "openat2"):
            mine = place(args[0], args[1])
            if name == "openat":
                numbers(*args[2:])
            else:
                how = dict(field.split("=") for field in args[2].strip("{}").split(", "))
                values = [number(how.get(key, "0")) for key in ("flags", "mode", "resolve")]
                wire.append("b" + b"".join(value.to_bytes(8, "little") for value in values).hex())
                wire.append("n24")
        elif name in ("mkdirat", "mknodat", "unlinkat", "fchmodat", "fchownat"):
            mine = place(args[0], args[1]) and numbers(*args[2:])
        elif name == "symlinkat":
            wire.append(f"b{args[0][1:]}00")
            mine = place(args[1], args[2])
        elif name in ("linkat", "renameat"):
            mine = place(args[0], args[1]) and place(args[2], args[3]) and numbers(*args[4:])
        elif name in ("ftruncate", "fchown", "fchmod", "syncfs", "fsync"):
            mine = descriptor(args[0]) and numbers(*args[1:])
        elif name in ("pwrite64", "write"):
            mine = descriptor(args[0])
            wire.extend(["z0", *(f"n{number(text)}" for text in args[2:])])
        elif name in ("fsetxattr", "setxattr", "fremovexattr"):
            mine = place(str(AT_FDCWD), args[0]) if name == "setxattr" else descriptor(args[0])
            if name == "setxattr":
                # This one takes a path alone.
                del wire[:1]
            wire.append(f"b{args[1][1:]}00")
            if name != "fremovexattr":
                wire.append("b" + args[2][1:] if args[2].startswith('"') else "n0")
                numbers(*args[3:])
        elif name == "utimensat":
            mine = descriptor(args[0]) and numbers("0") if args[1] == "NULL" else place(args[0], args[1])
            times = [int(n) for n in re.findall(r"tv_n?sec=(-?\d+)", args[2])]
            wire.append("b" + b"".join(n.to_bytes(8, "little", signed=True) for n in times).hex() if times else "n0")
            numbers(args[3])
        elif name == "fcntl" and number(args[1]) in DUPLICATING and descriptor(args[0]):
            mine = numbers(*args[1:])
            paths.append(used[0].path)
        elif name in UNKNOWN and (name.startswith("io_uring") or any(self.is_handle(word) for word in args[:3])):
            raise RuntimeError(f"the replay does not know {name}")
        else:
            return None
        return (name, wire, paths, used, str(result) if result >= 0 else "f") if mine else None

    def add(self, tid: str, name: str, wire: list[str], paths: list[str], used: list[Handle], want: str, result: int):
        needs = [maker for path in paths if (maker := self.maker(path))]
        needs += [maker for handle in used if (maker := self.makers.get(f"handle {handle.slot}"))]
        if name in FINISHING:
            # What others write would change the time again.
            needs += [use for handle in used for use in handle.users.items()]
        opened = name in ("openat", "openat2", "fcntl") and result >= 0
        if opened:
            want = f"d{self.slots}"
        at = self.append(tid, " ".join([name, want, *wire]), needs)
        for handle in used:
            handle.users[at[0]] = at[1]
        if opened:
            self.handles[result] = Handle(self.slots, paths[0], {at[0]: at[1]})
            self.makers[f"handle {self.slots}"] = at
            self.slots += 1
        if name in ("mkdirat", "mknodat", "symlinkat", "linkat", "renameat") and result >= 0:
            self.makers[paths[-1]] = at
        if opened and paths[0] not in self.makers:
            self.makers[paths[0]] = at

    def is_handle(self, word: str) -> bool:
        return re.fullmatch(r"0x[0-9a-f]+|[0-9]+", word) is not None and number(word) in self.handles

    def maker(self, path: str) -> tuple[int, int] | None:
        """The call that made the nearest of it and what is above it."""
        while path.startswith(self.target):
            if path in self.makers:
                return self.makers[path]
            path = os.path.dirname(path)
        return None

    def append(self, tid: str, line: str, needs: list[tuple[int, int]]) -> tuple[int, int]:
        thread = self.threads.setdefault(tid, len(self.threads))
        if thread == len(self.calls):
            self.calls.append([])
            self.waits.append({})
        index = len(self.calls[thread])
        self.calls[thread].append(line)
        wanted = self.waits[thread].setdefault(index, {})
        for other, call in needs:
            if other != thread:
                wanted[other] = max(call, wanted.get(other, -1))
        self.last_of_thread[thread] = index
        self.order.append((thread, index))
        return thread, index

    def write(self, to: Path) -> dict[str, int]:
        self.wait_for_ended()
        gates: dict[tuple[int, int], int] = {}
        known: list[dict[int, int]] = [{} for _ in self.calls]
        waits: list[dict[int, list[int]]] = [{} for _ in self.calls]
        for thread, wanted in enumerate(self.waits):
            for index, others in sorted(wanted.items()):
                for other, call in others.items():
                    if call > known[thread].get(other, -1):
                        known[thread][other] = call
                        gate = gates.setdefault((other, call), len(gates))
                        waits[thread].setdefault(index, []).append(gate)
        counts: dict[str, int] = {}
        with to.open("w") as out:
            for thread, index in self.order:
                for gate in waits[thread].get(index, []):
                    out.write(f"{thread} w {gate}\n")
                line = self.calls[thread][index]
                out.write(f"{thread} c {line}\n")
                if (thread, index) in gates:
                    out.write(f"{thread} s {gates[thread, index]}\n")
                name = line.split(" ", 1)[0]
                counts[name] = counts.get(name, 0) + 1
        return counts

    def wait_for_ended(self) -> None:
        """The first thread ends the work: what it does after another thread's last call comes after that."""
        ended: dict[int, int] = {}
        for thread, index in self.order:
            if thread == 0 and ended:
                for other, call in ended.items():
                    wanted = self.waits[0][index]
                    wanted[other] = max(call, wanted.get(other, -1))
                ended = {}
            elif thread != 0 and self.last_of_thread[thread] == index:
                ended[thread] = index


def modern(name: str, args: list[str]) -> tuple[str, list[str]]:
    """A call by path alone, as the call by directory and path it is short for."""
    here = str(AT_FDCWD)
    if name in ("link", "rename"):
        return f"{name}at", [here, args[0], here, args[1], *(["0"] if name == "link" else [])]
    if name == "symlink":
        return "symlinkat", [args[0], here, args[1]]
    if name == "rmdir":
        return "unlinkat", [here, args[0], "0x200"]
    if name == "unlink":
        return "unlinkat", [here, args[0], "0"]
    if name in ("chmod", "chown"):
        return f"f{name}at", [here, *args, *(["0"] if name == "chown" else [])]
    return f"{name}at", [here, *args]
