"""File systems in memory and an HTTP server, for the time they are needed."""

import ctypes
import os
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
        # This kind of loop device detaches itself at the last unmount, also if this process is killed.
        run("mount", "-t", "btrfs", "-o", f"loop,{options}" if options else "loop", image, at)
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
    access_log off;
    sendfile on;
    tcp_nopush on;
    default_type application/octet-stream;
    client_body_temp_path {work}/body;
    proxy_temp_path {work}/proxy;
    fastcgi_temp_path {work}/fastcgi;
    uwsgi_temp_path {work}/uwsgi;
    scgi_temp_path {work}/scgi;
    server {{ listen 127.0.0.1:{port}; root {objects}; }}
}}
"""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def wait_for(port: int, server: subprocess.Popen) -> None:
    """Until the server listens; an error if it ends."""
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if server.poll() is not None:
            break
        time.sleep(0.1)
    server.kill()
    raise RuntimeError(f"{server.args[0]} does not listen on port {port}")


@contextmanager
def nginx(work: Path, objects: Path) -> Iterator[str]:
    """Serves a directory on a free port of this machine."""
    work.mkdir()
    port = free_port()
    configuration = work / "nginx.conf"
    configuration.write_text(CONFIGURATION.format(work=work, objects=objects, port=port))
    server = subprocess.Popen(["nginx", "-c", configuration, "-e", work / "error.log"], stdin=subprocess.DEVNULL)
    try:
        wait_for(port, server)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def sync(at: Path) -> None:
    """Everything written to this file system is on its device."""
    fd = os.open(at, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(fd):
            raise OSError(ctypes.get_errno(), "syncfs")
    finally:
        os.close(fd)
