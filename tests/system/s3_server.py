"""Real S3 servers for the tests: s3s-fs (keeps objects in a directory) and moto (keeps them in memory)."""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import boto3
from botocore.config import Config

KEY, SECRET = "burst-tests", "burst-tests-secret"


def die_with_parent() -> None:
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """Listens on 127.0.0.1; `.environment` is what a client needs."""

    def __init__(self, command: list[str], port: int, log: Path):
        self.url, self.log = f"http://127.0.0.1:{port}", log
        self.environment = {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.url,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        with open(log, "wb") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=out, preexec_fn=die_with_parent)
        for _ in range(300):
            assert self.process.poll() is None, f"{command[0]} ended: {log.read_text()}"
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        else:
            self.close()
            raise AssertionError(f"{command[0]} does not listen: {log.read_text()}")
        self.client = boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
            # s3s-fs keeps the checksum of an object that was replaced.
            config=Config(
                response_checksum_validation="when_required",
                s3={"addressing_style": "path"},
                retries={"max_attempts": 1},
            ),
        )
        self.bucket = "archives"
        self.client.create_bucket(Bucket=self.bucket)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


def s3s_fs(base: Path) -> Server:
    program = shutil.which(os.environ.get("BURST_S3S_FS", "s3s-fs"))
    assert program, "no s3s-fs: cargo install s3s-fs --features binary; name it in BURST_S3S_FS"
    (base / "objects").mkdir(parents=True)
    port = free_port()
    command = [program, "--host", "127.0.0.1", "--port", str(port), "--access-key", KEY, "--secret-key", SECRET]
    return Server([*command, str(base / "objects")], port, base / "log")


def moto(base: Path) -> Server:
    base.mkdir(parents=True)
    port = free_port()
    return Server([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], port, base / "log")
