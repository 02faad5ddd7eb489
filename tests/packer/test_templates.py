"""Templates: format, validity, variables, and what Debian's Packer cannot check."""

import hcl2
import pytest
from conftest import SOURCE, UNKNOWN_FILES, VARIABLES


def unquoted(value):
    return value[1:-1] if isinstance(value, str) and value[:1] == '"' else value


def load(name):
    with open(SOURCE / name) as file:
        return hcl2.load(file)


def test_format(packer):
    packer.run("fmt", SOURCE, "-check", "-diff")


@pytest.mark.parametrize("architecture", ["x86_64", "arm64"])
@pytest.mark.parametrize("distribution", ["debian-12", "ubuntu-24.04", "al2023"])
def test_valid(packer, templates, distribution, architecture):
    packer.run("validate", templates, **VARIABLES, distribution=distribution, architecture=architecture)


REFUSED = [
    ("distribution", "debian-11", "The distribution must be"),
    ("architecture", "riscv64", "The architecture must be"),
    ("burst_package", "", "The burst_package must be"),
    ("burst_package", "target/release/burst", "The burst_package must be"),
    ("burst_version", "latest", "The burst_version must"),
    ("region", "Frankfurt", "The region must"),
    ("subnet_id", "default", "The subnet_id must"),
    ("source_ami_owner", "debian", "The source_ami_owner must"),
    ("root_volume_gib", "7", "The root_volume_gib must"),
    ("root_volume_throughput", "1001", "The root_volume_throughput must"),
    ("root_volume_iops", "100", "The root_volume_iops must"),
    ("ami_users", '["1234"]', "The ami_users must"),
]


@pytest.mark.parametrize(("name", "value", "message"), REFUSED)
def test_refused(packer, templates, name, value, message):
    done = packer.run("validate", templates, ok=False, **{**VARIABLES, name: value})
    assert done.returncode != 0 and message in done.stdout + done.stderr


def test_each_check_has_a_case():
    messages = [
        unquoted(check["error_message"])
        for variable in load("variables.pkr.hcl")["variable"]
        for body in variable.values()
        for check in body.get("validation", [])
    ]
    assert messages and all(any(m.startswith(case[2]) for case in REFUSED) for m in messages)


def test_a_missing_package_is_told(packer, templates):
    done = packer.run("validate", templates, ok=False, **{**VARIABLES, "burst_package": "no/such/burst.deb"})
    assert done.returncode != 0 and "no/such/burst.deb" in done.stdout + done.stderr


def test_what_the_old_packer_does_not_know():
    """These are left out of the copy that it validates."""
    assert UNKNOWN_FILES == ["plugins.pkr.hcl"]
    (plugins,) = load("plugins.pkr.hcl")["packer"]
    (required,) = plugins["required_plugins"]
    amazon = required["amazon"]
    assert unquoted(amazon["source"]) == "github.com/hashicorp/amazon"
    (source,) = load("source.pkr.hcl")["source"]
    ((_, named),) = [(k, v) for k, v in source.items() if not k.startswith("__")]
    (body,) = [v for k, v in named.items() if not k.startswith("__")]
    assert unquoted(body["imds_support"]) == "v2.0"
    (options,) = body["metadata_options"]
    options = {unquoted(k): unquoted(v) for k, v in options.items() if not k.startswith("__")}
    assert options == {"http_endpoint": "enabled", "http_tokens": "required", "http_put_response_hop_limit": 1}


def test_each_script_runs_and_runs_once():
    text = (SOURCE / "build.pkr.hcl").read_text()
    scripts = sorted(p.name for p in (SOURCE / "provision").iterdir())
    assert (
        sorted(line.split("provision/")[1].split('"')[0] for line in text.splitlines() if "provision/" in line)
        == scripts
    )
    # Nothing may be made after it is cleaned away.
    assert text.index("provision/clean.sh") == max(text.index(f"provision/{name}") for name in scripts)
