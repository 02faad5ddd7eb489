"""cloud-init's own schema with the key in it: what it takes, and what it says of what it refuses."""

import json
from pathlib import Path

from conftest import CLOUD_INIT
from machine import Machine

GOOD = {
    "source": "s3://bucket/key?versionId=v",
    "path": "/data",
    "name": "data",
    "device": "vol-0123456789abcdef0",
    "wait_seconds": 0,
    "label": "data",
    "mount_options": "noatime,compress=zstd:1",
    "sink": "device",
    "owner": "1000:1000",
    "required": False,
    "order": -1,
    "options": {
        "region": "eu-central-1",
        "endpoint_url": "http://127.0.0.1:9000",
        "profile": "p",
        "in_flight": 16,
        "memory_mib": 512,
        "paths": ["a/b"],
        "ca_bundle": "/etc/ssl/ca.pem",
        "no_sign_request": True,
        "start_jitter_seconds": 30,
        "acl": "warn",
    },
}
VOLUME = {
    "devices": ["/dev/sdf", "instance-store", "tag:Name=scratch"],
    "path": "/v",
    "wait_seconds": 9,
    "label": "v",
    "mount_options": "noatime",
    "data": "single",
    "required": True,
}
SHARED = ("wait_seconds", "mount_options", "sink", "owner", "required", "options")


def only(**changes: object) -> dict:
    return {"restores": [GOOD | changes]}


# What is wrong, and the key that must be named.
BAD = [
    ({}, "burst"),
    ({"restores": []}, "burst.restores"),
    ({"restores": {}}, "burst.restores"),
    ({"restore": [GOOD]}, "burst"),
    ({"restores": [{"path": "/data"}]}, "burst.restores.0"),
    ({"restores": [{"source": "s3://b/k"}]}, "burst.restores.0"),
    ({"restores": [GOOD, GOOD | {"path": "data"}]}, "burst.restores.1.path"),
    (only(path="/"), "burst.restores.0.path"),
    (only(source="b/k"), "burst.restores.0.source"),
    (only(source="s3://bucket"), "burst.restores.0.source"),
    (only(source="-"), "burst.restores.0.source"),
    (only(device="vol-123"), "burst.restores.0.device"),
    (only(device="tag:Name"), "burst.restores.0.device"),
    (only(name="a/b"), "burst.restores.0.name"),
    (only(name=".hidden"), "burst.restores.0.name"),
    (only(wait_seconds="300"), "burst.restores.0.wait_seconds"),
    (only(wait_seconds=-1), "burst.restores.0.wait_seconds"),
    (only(mount_options="noatime, x"), "burst.restores.0.mount_options"),
    (only(label=""), "burst.restores.0.label"),
    (only(sink="disk"), "burst.restores.0.sink"),
    (only(owner="a:b:c"), "burst.restores.0.owner"),
    (only(required="yes"), "burst.restores.0.required"),
    (only(order="first"), "burst.restores.0.order"),
    (only(access_key="x"), "burst.restores.0"),
    (only(options={"secret_access_key": "x"}), "burst.restores.0.options"),
    (only(options={"endpoint_url": "https://user:word@host"}), "burst.restores.0.options.endpoint_url"),
    (only(options={"in_flight": 0}), "burst.restores.0.options.in_flight"),
    (only(options={"acl": "drop"}), "burst.restores.0.options.acl"),
    (only(options={"start_jitter_seconds": 90000}), "burst.restores.0.options.start_jitter_seconds"),
    (only(options={"paths": [""]}), "burst.restores.0.options.paths.0"),
    (only(options={"ca_bundle": "ca.pem"}), "burst.restores.0.options.ca_bundle"),
    ({"restores": [GOOD], "defaults": {"source": "s3://b/k"}}, "burst.defaults"),
    ({"volumes": [VOLUME | {"devices": []}]}, "burst.volumes.0.devices"),
    ({"volumes": [VOLUME | {"data": "raid5"}]}, "burst.volumes.0.data"),
    ({"volumes": [{"path": "/v"}]}, "burst.volumes.0"),
]

# All at once, because starting cloud-init takes its time.
PROGRAM = """
import json, sys
from cloudinit.config.schema import SchemaValidationError, get_schema, validate_cloudconfig_schema
schema, out = get_schema(), []
for section in json.load(open("/tmp/sections")):
    try:
        validate_cloudconfig_schema({"burst": section}, schema, strict=True)
        out.append(None)
    except SchemaValidationError as e:
        out.append([str(problem[0]) for problem in e.schema_errors])
print("\\n" + json.dumps(out))
"""


def test_sections(machine: Machine) -> None:
    machine.start()
    good = [
        only(),
        only(device="tag:Name=data"),
        {"volumes": [VOLUME]},
        {"defaults": {key: GOOD[key] for key in SHARED}, **only()},
    ]
    machine.write("/tmp/sections", json.dumps(good + [section for section, _ in BAD]))
    found = json.loads(machine.run("python3", "-B", "-c", PROGRAM).out.splitlines()[-1])
    assert found[: len(good)] == [None] * len(good), found
    for (section, key), paths in zip(BAD, found[len(good) :], strict=True):
        assert paths is not None and key in paths, (section, paths)


def test_the_command(machine: Machine) -> None:
    machine.start()
    machine.write("/tmp/good", "#cloud-config\n" + json.dumps({"burst": only()}))
    machine.write("/tmp/bad", "#cloud-config\n" + json.dumps({"burst": only(path="x")}))
    machine.run("cloud-init", "schema", "--config-file", "/tmp/good")
    done = machine.run("cloud-init", "schema", "--config-file", "/tmp/bad", code=1)
    assert "burst.restores.0.path" in done.out + done.err, done


def test_defaults_are_as_restores() -> None:
    """The keys that both have are described twice."""
    schema = json.loads((CLOUD_INIT / "schema/burst.json").read_text())["properties"]
    defaults = schema["defaults"]["properties"]
    restores = schema["restores"]["items"]["properties"]
    assert set(defaults) == set(SHARED)
    assert defaults == {key: restores[key] for key in SHARED}
    assert set(GOOD) == set(restores) and set(VOLUME) == set(schema["volumes"]["items"]["properties"])


def test_readme_has_every_key_and_example() -> None:
    text = (CLOUD_INIT / "README.md").read_text()
    schema = json.loads((CLOUD_INIT / "schema/burst.json").read_text())["properties"]
    restores = schema["restores"]["items"]["properties"]
    for key in [*schema, *restores, *restores["options"]["properties"], *schema["volumes"]["items"]["properties"]]:
        assert f"`{key}`" in text, key
    for example in Path(CLOUD_INIT / "examples").iterdir():
        assert f"(examples/{example.name})" in text, example
