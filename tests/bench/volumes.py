"""File systems in memory and an HTTP server, for the time they are needed."""

import ctypes
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CLONE_NEWNS = 0x20000


def enter_private_mounts() -> None:
    """From here on mounts are seen by this process and its children only, and end with them."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "unshare: a mount namespace of its own")
    run("mount", "--make-rprivate", "/")


def run(*command: object) -> None:
    subprocess.run([str(c) for c in command], check=True, stdin=subprocess.DEVNULL)


def unmount(at: Path) -> None:
    for _ in range(50):
        if subprocess.run(["umount", at], check=False, stderr=subprocess.DEVNULL).returncode == 0:
            return
        time.sleep(0.1)
    run("umount", "--lazy", at)


@contextmanager
def memory(at: Path) -> Iterator[Path]:
    """A directory in memory."""
    run("mount", "-t", "tmpfs", "-o", "size=80%,mode=755", "burst-bench", at)
    try:
        yield at
    finally:
        unmount(at)


def mount(image: Path, at: Path, options: str) -> None:
    # This kind of loop device detaches itself at the last unmount, also if this process is killed.
    run("mount", "-t", "btrfs", "-o", f"loop,{options}" if options else "loop", image, at)


@contextmanager
def mounted(image: Path, at: Path, size: int, options: str) -> Iterator[None]:
    """A new BTRFS in a sparse file, mounted."""
    with image.open("wb") as file:
        file.truncate(size)
    try:
        # Version 6.2 prints notes whatever it is told.
        made = subprocess.run(["mkfs.btrfs", "-q", image], check=False, capture_output=True, text=True)
        if made.returncode:
            raise RuntimeError(f"mkfs.btrfs: {made.stderr}")
        at.mkdir(exist_ok=True)
        mount(image, at, options)
        try:
            yield
        finally:
            unmount(at)
    finally:
        image.unlink()


@contextmanager
def blank(image: Path, at: Path, size: int) -> Iterator[str]:
    """A blank loop device over a sparse file. What is mounted from it at `at` is unmounted at the end."""
    with image.open("wb") as file:
        file.truncate(size)
    at.mkdir(exist_ok=True)
    losetup = ["losetup", "--find", "--show", str(image)]
    device = subprocess.run(losetup, check=True, capture_output=True, text=True).stdout.strip()
    try:
        yield device
    finally:
        unmount(at)
        run("losetup", "--detach", device)
        image.unlink()


CONFIGURATION = """\
daemon off;
user root;
worker_processes 1;
pid {work}/pid;
error_log {work}/error.log;
events {{ worker_connections 512; }}
http {{
    # Bytes per second of each connection; 0: no limit.
    limit_rate {rate};
    # Seconds since 1970 at the end of an answer, and which bytes it was about.
    log_format ranges '$msec $http_range';
    access_log {log};
    sendfile on;
    tcp_nopush on;
    default_type application/octet-stream;
    client_body_temp_path {work}/body;
    proxy_temp_path {work}/proxy;
    fastcgi_temp_path {work}/fastcgi;
    uwsgi_temp_path {work}/uwsgi;
    scgi_temp_path {work}/scgi;
    server {{ listen {address}:{port}; root {objects}; }}
}}
"""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def wait_for(port: int, server: subprocess.Popen, address: str = "127.0.0.1") -> None:
    """Until the server listens; an error if it ends."""
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex((address, port)) == 0:
                return
        if server.poll() is not None:
            break
        time.sleep(0.1)
    server.kill()
    raise RuntimeError(f"{server.args[0]} does not listen on port {port}")


@contextmanager
def nginx(
    work: Path,
    objects: Path,
    address: str = "127.0.0.1",
    within: tuple[str, ...] = (),
    log: Path | None = None,
    rate: int = 0,
) -> Iterator[str]:
    """Serves a directory on a free port; `within` is a command that runs it in another namespace; `rate` is what each
    connection has at most, in bytes per second."""
    work.mkdir()
    port = free_port()
    configuration = work / "nginx.conf"
    logged = f"{log} ranges" if log else "off"
    text = CONFIGURATION.format(work=work, objects=objects, address=address, port=port, log=logged, rate=rate)
    configuration.write_text(text)
    command = [*within, "nginx", "-c", configuration, "-e", work / "error.log"]
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        wait_for(port, server, address)
        yield f"http://{address}:{port}"
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(work)


def used(at: Path) -> int:
    """Bytes that a file system holds."""
    usage = os.statvfs(at)
    return (usage.f_blocks - usage.f_bfree) * usage.f_frsize


def sync(at: Path) -> None:
    """Everything written to this file system is on its device."""
    fd = os.open(at, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(fd):
            raise OSError(ctypes.get_errno(), "syncfs")
    finally:
        os.close(fd)
