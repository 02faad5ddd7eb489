"""The program built with the feature `ec2`, and moto as EC2."""

import os
import subprocess
import sys
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / name) for name in ("ec2", "volume", "system")] + [str(TESTS.parent / "spec/reference")]
# A program to be tried, which else is built.
GIVEN = os.environ.get("BURST_EC2")
BUILT = Path(os.environ.get("CARGO_TARGET_DIR", TESTS.parent / "target")) / "unoptimized/burst"
os.environ["BURST"] = GIVEN or str(BUILT)
# aws-sdk-ec2 hints that most of it is not used, which this compiler heeds only if told so.
BUILD = ["cargo", "build", "-q", "--locked", "--profile", "unoptimized", "--no-default-features", "--features", "ec2"]
BUILD += ["-Z", "profile-hint-mostly-unused"]

import boto3  # noqa: E402
import pytest  # noqa: E402
import requests  # noqa: E402
from burst import snapshot  # noqa: E402
from disks import loop, machine  # noqa: E402, F401
from fixtures import tmp, volume, work  # noqa: E402, F401
from moto.ec2.models import instance_types  # noqa: E402
from moto.server import ThreadedMotoServer  # noqa: E402

REGION = "eu-central-1"
NEW_TYPE = "m99zz.2xlarge"


@pytest.fixture(scope="session", autouse=True)
def built() -> None:
    """Five CPU-minutes, most of them in one thread: this suite runs beside others."""
    if not GIVEN:
        subprocess.run(BUILD, cwd=TESTS.parent, env=os.environ | {"RUSTC_BOOTSTRAP": "1"}, check=True, timeout=1800)


@dataclass
class EC2:
    url: str

    def client(self, service: str):
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def environment(self, key: str = "test", secret: str = "test") -> dict[str, str]:
        return {"AWS_ENDPOINT_URL_EC2": self.url, "AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}

    def check_permissions(self, free: int | None) -> None:
        """From now on, after so many requests; None: never."""
        text = "inf" if free is None else str(free)
        requests.post(f"{self.url}/moto-api/reset-auth", data=text, timeout=60).raise_for_status()


@pytest.fixture(scope="session")
def ec2() -> Iterator[EC2]:
    """Knows one type that is newer than the table."""
    description = deepcopy(instance_types.INSTANCE_TYPES["m7gd.2xlarge"])
    description["InstanceType"] = NEW_TYPE
    description["NetworkInfo"]["NetworkCards"][0] |= {"BaselineBandwidthInGbps": 33.25, "PeakBandwidthInGbps": 40.0}
    instance_types.INSTANCE_TYPES[NEW_TYPE] = description
    instance_types.InstanceTypeBackend.instance_types.append(instance_types.InstanceType(NEW_TYPE))
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield EC2(f"http://{host}:{port}")
    server.stop()


@pytest.fixture(scope="session")
def archive(work: Path) -> Path:  # noqa: F811
    tree, path = work / "tree", work / "tree.zip"
    tree.mkdir()
    (tree / "file").write_bytes(b"content")
    snapshot(tree, path)
    return path
