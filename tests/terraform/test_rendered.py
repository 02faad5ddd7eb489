"""What instances get as user data: as cloud-init reads it, against the contract of the `burst:` section."""

import base64
import email
import gzip
import json
import re

import jsonschema
import pytest
import yaml
from conftest import EXAMPLES, ROOT, SOURCE
from test_refused import S3, restore

JOB = {
    "name": str,
    "source": str,
    "path": str,
    "device": str,
    "wait_seconds": int,
    "label": str,
    "mount_options": str,
    "sink": str,
    "owner": str,
    "required": bool,
    "order": int,
    "options": dict,
}
OPTIONS = {
    "region": str,
    "endpoint_url": str,
    "profile": str,
    "in_flight": int,
    "memory_mib": int,
    "paths": list,
    "ca_bundle": str,
    "no_sign_request": bool,
    "start_jitter_seconds": int,
    "acl": str,
}
FULL = [
    restore(
        name="data",
        device="/dev/sdf",
        wait_seconds=600,
        label="data",
        mount_options="noatime,x-systemd.device-timeout=10",
        sink="device",
        owner="www-data:1000",
        required=True,
        order=-1,
        options={
            "region": "eu-central-1",
            "endpoint_url": "http://127.0.0.1:9000",
            "profile": "restore",
            "in_flight": 32,
            "memory_mib": 512,
            "ca_bundle": "/etc/ssl/own.pem",
            "no_sign_request": False,
            "start_jitter_seconds": 60,
            "acl": "warn",
        },
    )[0],
    # Text that YAML would take for something else.
    {
        "source": "s3://my-archives/yes: #no?versionId=null",
        "path": "/data/'a\" {b}: ü",
        "options": {"paths": ["on", "1"]},
    },
    {"source": S3, "path": "/data/~", "device": "vol-0123456789abcdef0", "required": False},
]


def check(cloud_config):
    """The section of a cloud-config that keeps to the contract."""
    assert cloud_config.startswith("#cloud-config\n")
    section = yaml.safe_load(cloud_config)
    assert set(section) == {"burst"}
    section = section["burst"]
    assert set(section) <= {"restores", "defaults"} and section["restores"]
    for each in [*section["restores"], section.get("defaults", {})]:
        for keys, types in ((each, JOB), (each.get("options", {}), OPTIONS)):
            for key, value in keys.items():
                assert type(value) is types[key], (key, value)
    for each in section["restores"]:
        assert each["source"] and each["path"]
    jsonschema.validate(section, json.loads((ROOT / "cloud-init/schema/burst.json").read_text()))
    return section


def parts(user_data):
    """Parts of user data as (type, text), read as cloud-init does."""
    data = base64.b64decode(user_data, validate=True)
    assert len(data) <= 16384
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    message = email.message_from_bytes(data)
    if not message.is_multipart():
        return [("text/cloud-config", data.decode())]
    return [(p.get_content_type(), p.get_payload(decode=True).decode()) for p in message.get_payload()]


def rendered(terraform, tmp_path, **variables):
    """Outputs of the module, which needs no provider, by a real `terraform apply`."""
    (tmp_path / "vars.tfvars.json").write_text(json.dumps(variables))
    state = f"-state={tmp_path}/state"
    terraform.run(
        "modules/user-data", "apply", "-auto-approve", "-no-color", state, f"-var-file={tmp_path}/vars.tfvars.json"
    )
    outputs = json.loads(terraform.run("modules/user-data", "output", "-json", state).stdout)
    return {name: output["value"] for name, output in outputs.items()}


def resources(terraform, directory, kind, values, run=None):
    """Resources of a kind as a run (the first one) of a directory's own tests makes them."""
    events = terraform.test(directory, "-verbose")
    state = next(e["test_state"] for e in events if e["type"] == "test_state" and run in (None, e["@testrun"]))
    found = []
    modules = [state["values"]["root_module"]] if "values" in state else [state["root_module"]]
    while modules:
        module = modules.pop()
        found += [r["values"] for r in module.get("resources", []) if r["type"] == kind]
        modules += module.get("child_modules", [])
    return [each[values] for each in found]


def test_every_key_arrives_as_given(terraform, tmp_path):
    defaults = {"wait_seconds": 900, "required": True, "options": {"in_flight": 8}}
    outputs = rendered(terraform, tmp_path, restores=FULL, defaults=defaults)
    assert check(outputs["cloud_config"]) == {"restores": FULL, "defaults": defaults}
    assert parts(outputs["user_data_base64"]) == [("text/cloud-config", outputs["cloud_config"])]


def test_extra_parts(terraform, tmp_path):
    script = "#!/bin/sh\nprintf 'Grüße\\n'\n\n--\nMIME-Version: 1.0\n"
    more = [
        {"content_type": "text/x-shellscript", "content": script},
        {"content_type": "text/cloud-config", "content": "#cloud-config\npackages: [jq]\n"},
    ]
    outputs = rendered(terraform, tmp_path, restores=restore(), extra_parts=more)
    assert check(outputs["cloud_config"])["restores"] == restore()
    assert parts(outputs["user_data_base64"]) == [
        ("text/cloud-config", outputs["cloud_config"]),
        *[(p["content_type"], p["content"]) for p in more],
    ]


def test_fleet(terraform):
    (data,) = resources(terraform, "modules/fleet", "aws_launch_template", "user_data")
    (kind, cloud_config), (script_kind, script) = parts(data)
    assert (kind, script_kind) == ("text/cloud-config", "text/x-shellscript")
    assert [r["path"] for r in check(cloud_config)["restores"]] == ["/data", "/var/cache/app"]
    # The program that tells the group, with its settings; what is not required is not waited for.
    original = (SOURCE / "modules/fleet/ready.py").read_text()
    before, after = original.split('"@SETTINGS@"')
    assert script.startswith(before + '"') and script.endswith('"' + after)
    settings = re.search(r"^SETTINGS = json\.loads\((.*)\)$", script, re.M)[1]
    assert json.loads(json.loads(settings)) == {
        "group": "workers",
        "hook": "burst-restore",
        "paths": ["/data"],
        "timeout_seconds": 1800,
    }


def test_fleet_with_a_script(terraform):
    """It runs before the group is told that the instance is ready."""
    (data,) = resources(terraform, "modules/fleet", "aws_launch_template", "user_data", "with_a_script")
    (_, _), (_, own), (_, ready) = parts(data)
    assert "begin-work" in own and "CompleteLifecycleAction" in ready


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples(terraform, example):
    kind, name = ("instance", "user_data_base64") if example == "single" else ("launch_template", "user_data")
    (data,) = resources(terraform, f"examples/{example}", f"aws_{kind}", name)
    assert check(parts(data)[0][1])["restores"]
