"""The build as it is in the templates, provisioners and all: EC2 is moto, and the machine behind SSH is a Debian tree.

What comes out is what an instance of the image would find.
"""

import os
import re

import pytest
from conftest import ROOT, VARIABLES, old_copy
from machine import Machine
from package import build


@pytest.fixture(scope="module")
def built(packer, moto, tmp_path_factory):
    assert os.geteuid() == 0, "a machine of its own needs namespaces and mounts: run as root"
    package = build(tmp_path_factory.mktemp("package") / "deb", "deb")["deb"]
    version = re.search(r'^version = "(.*)"$', (ROOT / "Cargo.toml").read_text(), re.M)[1]
    machine = Machine(tmp_path_factory.mktemp("machine"))
    try:
        directory = old_copy(tmp_path_factory.mktemp("provision") / "packer")
        source = directory / "source.pkr.hcl"
        more = f"""
  ssh_host                    = "127.0.0.1"
  ssh_port                    = {machine.port}
  ssh_private_key_file        = "{machine.key}"
  skip_region_validation      = true
  skip_credential_validation  = true
  aws_polling {{
    delay_seconds = 1
    max_attempts  = 120
  }}
"""
        text = source.read_text().replace("  ena_support         = true\n", more + "  ena_support = true\n")
        # The machine is Debian, the image that moto starts is Amazon's.
        source.write_text(text.replace("= local.source.user", '= "admin"'))
        variables = {
            **VARIABLES,
            "custom_endpoint_ec2": moto,
            "distribution": "al2023",
            "burst_package": package,
            "burst_version": version,
        }
        done = packer.run("build", directory, "-color=false", timeout=900, **variables)
        yield machine, done.stdout
    finally:
        machine.close()


def test_every_script_ran(built):
    _, told = built
    for script in sorted((ROOT / "packer/provision").iterdir()):
        assert re.search(rf"Provisioning with shell script: .*provision/{script.name}", told)


def test_the_program_was_tried(built):
    """By validate.sh, in the machine."""
    _, told = built
    for text in ("A tree, through an archive and back", "restored ", "Valid"):
        assert text in told


def test_what_is_installed(built):
    machine, _ = built
    assert machine.run("burst", "--version").startswith("burst ")
    assert machine.run("dpkg-query", "--show", "--showformat", "${Status}", "burst") == "install ok installed"
    assert machine.run("systemctl", "is-enabled", "burst-restore.target") == "enabled\n"
    machine.run("python3", "-c", "import cloudinit.config.cc_burst")
    for path in ("/usr/lib/systemd/system/burst-restore@.service", "/usr/lib/udev/rules.d/90-burst.rules"):
        assert machine.path(path).is_file()


def test_what_is_clean(built):
    machine, _ = built
    assert machine.path("/etc/machine-id").read_text() == ""
    assert not list(machine.path("/etc/ssh").glob("ssh_host_*"))
    for path in ("/home/admin/.ssh/authorized_keys", "/root/.ssh/authorized_keys", "/tmp/burst-build"):
        assert not machine.path(path).exists()
    logs = [p for p in machine.path("/var/log").rglob("*") if p.is_file() and not p.is_symlink()]
    assert [p for p in logs if p.stat().st_size] == []
    assert not list(machine.path("/var/log/journal").iterdir())
    assert not list(machine.path("/var/lib/cloud/instances").glob("*"))
    assert not list(machine.path("/var/tmp").iterdir())
