"""What an operator's tools make: the image as packer/ provisions it, user-data as terraform/ renders it."""

import base64
import json
import re
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
# Before tests/system, which has another conftest.
sys.path.insert(0, str(ROOT / "tests/packer"))

from conftest import Packer, old_copy  # noqa: E402
from machine import Machine  # noqa: E402
from package import build  # noqa: E402
from rendered import rendered  # noqa: E402

# Instead of an instance of EC2.
SOURCE = """\
source "null" "burst" {
  ssh_host             = "127.0.0.1"
  ssh_port             = %d
  ssh_username         = "admin"
  ssh_private_key_file = "%s"
}
"""


def provision(debian: Path, work: Path, tree: Path) -> None:
    """Copies a tree of Debian in which the scripts of packer/ have run, started by Packer over SSH."""
    (work / "machine").mkdir()
    machine = Machine(work / "machine", debian)
    try:
        directory = old_copy(work / "packer")
        (directory / "source.pkr.hcl").write_text(SOURCE % (machine.port, machine.key))
        template = directory / "build.pkr.hcl"
        template.write_text(template.read_text().replace("source.amazon-ebs.burst", "source.null.burst"))
        version = re.search(r'^version = "(.*)"$', (ROOT / "Cargo.toml").read_text(), re.M)[1]
        variables = {
            "region": "us-east-1",
            "distribution": "debian-12",
            "burst_version": version,
            "burst_package": build(work / "package", "deb")["deb"],
        }
        Packer(work).run("build", directory, "-color=false", timeout=1200, **variables)
        tree.mkdir()
        # Its root alone, without what is mounted there.
        subprocess.run(["cp", "-a", "--one-file-system", f"{machine.path('/')}/.", tree], check=True)
    finally:
        machine.close()
    # What the machine got to live here.
    for name in ("usr/sbin/policy-rc.d", "etc/apt/apt.conf.d/90here"):
        (tree / name).unlink(missing_ok=True)


def user_data(text: str, work: Path) -> bytes:
    """The same as the module user-data renders it: the section `burst` from typed values, the rest as another part."""
    config = yaml.safe_load(text)
    burst = config.pop("burst")
    rest = {"content_type": "text/cloud-config", "content": "#cloud-config\n" + json.dumps(config)}
    return base64.b64decode(rendered(work, **burst, extra_parts=[rest])["user_data_base64"], validate=True)
