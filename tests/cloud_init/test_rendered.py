"""User data that the Terraform module renders, as cloud-init of each release takes it."""

import base64
from pathlib import Path

from listing import Listing, listing
from machine import Machine
from rendered import rendered
from s3_server import Server
from test_schema import GOOD, SHARED

SCRIPT = "#!/bin/sh\ncp /srv/data/share/file7 /run/found-by-script\n"


def test_every_key(machine: Machine, tmp_path: Path) -> None:
    made = rendered(tmp_path, restores=[GOOD], defaults={key: GOOD[key] for key in SHARED})
    machine.start()
    machine.write("/tmp/user-data", made["cloud_config"])
    machine.run("cloud-init", "schema", "--config-file", "/tmp/user-data")


def test_with_a_script(machine: Machine, tmp_path: Path, s3s: Server, listed: Listing) -> None:
    """A compressed message of several parts; scripts find the data in place."""
    made = rendered(
        tmp_path,
        restores=[{"source": "s3://my-bucket/data.zip", "path": "/srv/data", "options": {"endpoint_url": s3s.url}}],
        extra_parts=[{"content_type": "text/x-shellscript", "content": SCRIPT}],
    )
    machine.start()
    assert machine.boot(base64.b64decode(made["user_data_base64"]))["errors"] == []
    assert listing(machine.path("/srv/data")) == listed
    assert machine.read("/run/found-by-script") == machine.read("/srv/data/share/file7")
