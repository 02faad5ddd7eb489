"""Every check of the modules refuses what it is for, with its own message; and no check is without such a case."""

import json
import re

import pytest
from conftest import MODULES, SOURCE

S3 = "s3://my-archives/data.zip"
KEY = "arn:aws:kms:eu-central-1:123456789012:key/1111-2222"
DISK = {"size_gib": 100}


def restore(**more):
    return [{"source": S3, "path": "/data", **more}]


GOOD = {
    "user-data": {"restores": restore()},
    "archive-bucket": {"bucket": "my-archives"},
    "restore-policy": {"name": "may", "bucket_arn": "arn:aws:s3:::my-archives", "keys": ["*"]},
    "fleet": {
        "name": "workers",
        "ami_id": "ami-0123456789abcdef0",
        "instance_type": "m7g.large",
        "subnet_ids": ["subnet-01"],
        "security_group_ids": ["sg-01"],
        "size": {"min": 1, "max": 2},
        "restores": restore(),
    },
    "instance": {
        "name": "host",
        "ami_id": "ami-0123456789abcdef0",
        "instance_type": "m7g.large",
        "subnet_id": "subnet-01",
        "availability_zone": "eu-central-1a",
        "security_group_ids": ["sg-01"],
        "restores": restore(),
    },
}

# Module, variables, the beginning of the message.
HOST = [
    ({"name": "a b"}, "name must be"),
    ({"name": "x" * 56}, "name must be"),
    ({"ami_id": "debian-12"}, "ami_id must be"),
    ({"instance_type": "large"}, "instance_type must"),
    ({"security_group_ids": []}, "security_group_ids must"),
    ({"security_group_ids": ["default"]}, "security_group_ids must"),
    ({"policy_arns": ["arn:aws:iam::123456789012:role/a"]}, "policy_arns must"),
    ({"volumes": {"/dev/sda": DISK}}, "The names of volumes"),
    ({"volumes": {"/dev/xvdf": DISK}}, "The names of volumes"),
    ({"volumes": {"/dev/sdf": {"size_gib": 0}}}, "size_gib must"),
    ({"volumes": {"/dev/sdf": {"size_gib": 1.5}}}, "size_gib must"),
    ({"volumes": {"/dev/sdf": {**DISK, "throughput": 100}}}, "gp3 has a throughput"),
    ({"volumes": {"/dev/sdf": {**DISK, "throughput": 2001, "iops": 10000}}}, "gp3 has a throughput"),
    ({"volumes": {"/dev/sdf": {**DISK, "throughput": 1000}}}, "gp3 needs 4 IOPS"),
    ({"volumes": {"/dev/sdf": {"size_gib": 8, "iops": 5000}}}, "gp3 has at most 500 IOPS"),
    ({"restores": restore(device="/dev/sdf")}, "A restore names a device /dev/sd? that is not in volumes"),
    ({"restores": restore(path="data")}, "Each path must be absolute"),
    ({"extra_user_data": [{"content_type": "text/plain", "content": ""}]}, "content_type must be"),
]
CASES = [
    *[(module, *case) for module in ("fleet", "instance") for case in HOST],
    ("user-data", {"restores": []}, "There must be at least one restore"),
    ("user-data", {"restores": restore(source="https://my-archives/data.zip")}, "Each source must be an S3 object"),
    ("user-data", {"restores": restore(source="s3://my-archives")}, "Each source must be an S3 object"),
    ("user-data", {"restores": restore(source="s3://my-archives/")}, "Each source must be an S3 object"),
    *[
        ("user-data", {"restores": restore(path=path)}, "Each path must be absolute")
        for path in ("data", "/", "//data", "/data/", "/data/../etc", "/./data", "/a\nb")
    ],
    ("user-data", {"restores": restore() + restore()}, "Each path may be restored once"),
    ("user-data", {"restores": restore(device="sdf")}, "Each device must be a volume id"),
    ("user-data", {"restores": restore(device="vol-01234567")}, "Each device must be a volume id"),
    (
        "user-data",
        {"restores": restore(device="/dev/sdf") + [{"source": S3, "path": "/b", "device": "/dev/sdf"}]},
        "Each device may be used once",
    ),
    ("user-data", {"restores": restore(name="a/b")}, "Each name must be"),
    ("user-data", {"restores": restore(name=".a")}, "Each name must be"),
    (
        "user-data",
        {"restores": restore(name="a") + [{"source": S3, "path": "/b", "name": "a"}]},
        "Names must differ",
    ),
    ("user-data", {"restores": restore(sink="disk")}, "Each sink must be"),
    ("user-data", {"restores": restore(sink="device")}, "A sink device needs a device"),
    ("user-data", {"restores": restore(wait_seconds=-1)}, "wait_seconds must be"),
    ("user-data", {"restores": restore(order=1.5)}, "order must be"),
    ("user-data", {"restores": restore(label="a b")}, "Each label must be"),
    ("user-data", {"restores": restore(label="x" * 256)}, "Each label must be"),
    ("user-data", {"restores": restore(mount_options="noatime, nodev")}, "mount_options must be"),
    ("user-data", {"restores": restore(owner="root:")}, "Each owner must be"),
    ("user-data", {"restores": restore(owner="a b:c")}, "Each owner must be"),
    ("user-data", {"restores": restore(options={"in_flight": 0})}, "in_flight must be"),
    ("user-data", {"restores": restore(options={"in_flight": 5000})}, "in_flight must be"),
    ("user-data", {"restores": restore(options={"memory_mib": 0.5})}, "memory_mib must be"),
    ("user-data", {"restores": restore(options={"profile": ""})}, "profile must be"),
    ("user-data", {"restores": restore(options={"acl": "drop"})}, "acl must be"),
    ("user-data", {"restores": restore(options={"start_jitter_seconds": -1})}, "start_jitter_seconds must be"),
    ("user-data", {"restores": restore(options={"endpoint_url": "ftp://a"})}, "endpoint_url must be"),
    ("user-data", {"restores": restore(options={"endpoint_url": "https://u:p@a/"})}, "endpoint_url must be"),
    ("user-data", {"restores": restore(options={"region": "Frankfurt"})}, "region must look like"),
    ("user-data", {"restores": restore(options={"ca_bundle": "own.pem"})}, "ca_bundle must be"),
    ("user-data", {"restores": restore(options={"paths": []})}, "paths must be"),
    *[
        ("user-data", {"restores": restore(), "defaults": defaults}, message)
        for defaults, message in (
            ({"wait_seconds": 700000}, "wait_seconds must be"),
            ({"sink": "disk"}, "Each sink must be"),
            ({"mount_options": "a b"}, "mount_options must be"),
            ({"owner": ":root"}, "Each owner must be"),
            ({"options": {"in_flight": 0}}, "in_flight must be"),
            ({"options": {"memory_mib": 0}}, "memory_mib must be"),
            ({"options": {"start_jitter_seconds": 90000}}, "start_jitter_seconds must be"),
            ({"options": {"acl": "drop"}}, "acl must be"),
            ({"options": {"endpoint_url": "https://u:p@a/"}}, "endpoint_url must be"),
            ({"options": {"region": "Frankfurt"}}, "region must look like"),
            ({"options": {"profile": ""}}, "profile must be"),
            ({"options": {"ca_bundle": "own.pem"}}, "ca_bundle must be"),
            ({"options": {"paths": [""]}}, "paths must be"),
        )
    ],
    (
        "user-data",
        {"restores": restore(), "extra_parts": [{"content_type": "text/plain", "content": ""}]},
        "content_type must be",
    ),
    (
        "user-data",
        {"restores": [{"source": S3, "path": f"/data/{i:0150}"} for i in range(100)]},
        "The user data is larger than the 16 KiB",
    ),
    ("archive-bucket", {"bucket": "My_Archives"}, "A bucket name is"),
    ("archive-bucket", {"bucket": "my.archives"}, "A bucket name is"),
    ("archive-bucket", {"kms_key_arn": KEY.replace("key/", "alias/")}, "kms_key_arn must be"),
    ("archive-bucket", {"keep_old_versions_days": -1}, "keep_old_versions_days must"),
    ("archive-bucket", {"abort_uploads_days": 0}, "abort_uploads_days must"),
    ("archive-bucket", {"gateway_endpoint": {"vpc_id": "a", "route_table_ids": ["rtb-1"]}}, "gateway_endpoint.vpc_id"),
    (
        "archive-bucket",
        {"gateway_endpoint": {"vpc_id": "vpc-01", "route_table_ids": []}},
        "gateway_endpoint.route_table_ids",
    ),
    ("restore-policy", {"name": "a b"}, "name must be"),
    ("restore-policy", {"bucket_arn": "my-archives"}, "bucket_arn must be"),
    ("restore-policy", {"bucket_arn": "arn:aws:s3:::my-archives/*"}, "bucket_arn must be"),
    ("restore-policy", {"keys": []}, "There must be at least one key"),
    ("restore-policy", {"keys": ["/a"]}, "There must be at least one key"),
    ("restore-policy", {"actions": []}, "actions must be"),
    ("restore-policy", {"actions": ["delete"]}, "actions must be"),
    ("restore-policy", {"kms_key_arn": "1111-2222"}, "kms_key_arn must be"),
    ("fleet", {"subnet_ids": []}, "subnet_ids must be"),
    ("fleet", {"subnet_ids": ["a"]}, "subnet_ids must be"),
    ("fleet", {"size": {"min": 3, "max": 2}}, "size must have"),
    ("fleet", {"size": {"min": 1, "max": 2, "desired": 3}}, "size.desired must"),
    ("fleet", {"restore_timeout_seconds": 59}, "restore_timeout_seconds must"),
    ("fleet", {"restore_timeout_seconds": 7201}, "restore_timeout_seconds must"),
    ("fleet", {"min_healthy_percentage": 101}, "min_healthy_percentage must"),
    ("fleet", {"restores": restore(device="vol-0123456789abcdef0")}, "A fleet has no volume ids"),
    ("instance", {"subnet_id": "a"}, "subnet_id must be"),
    ("instance", {"availability_zone": "eu-central-1"}, "availability_zone must"),
]


@pytest.fixture(scope="session")
def told(terraform):
    """What Terraform says to each case: one run of it for each module, one file for each case, as the first error ends
    a file."""
    answers = {}
    for module, good in GOOD.items():
        own = terraform.tree / "modules" / module / "tests"
        mock = re.match(r'mock_provider "aws" \{\n.*?\n\}\n', next(own.glob("*.hcl")).read_text(), re.S)
        directory = own.parent / "refused"
        directory.mkdir()
        for number, (name, changed, _) in enumerate(CASES):
            if name == module:
                text = "".join(f"  {k} = {json.dumps(v)}\n" for k, v in {**good, **changed}.items())
                (directory / f"case_{number:03}.tftest.hcl").write_text(
                    (mock[0] if mock else "") + 'run "case" {\n  command = plan\n  variables {\n' + text + "  }\n}\n"
                )
        (directory / "good.tftest.hcl").write_text(
            (mock[0] if mock else "")
            + 'run "good" {\n  command = plan\n  variables {\n'
            + "".join(f"  {k} = {json.dumps(v)}\n" for k, v in good.items())
            + "  }\n}\n"
        )
        for event in terraform.test(f"modules/{module}", "-test-directory=refused", ok=False):
            if event["@level"] == "error" and "diagnostic" in event:
                detail = event["diagnostic"]["summary"] + ": " + event["diagnostic"]["detail"]
                answers.setdefault((module, event["@testfile"].removeprefix("refused/")), []).append(detail)
    return answers


@pytest.mark.parametrize("module", MODULES)
def test_good_values_are_taken(told, module):
    """So that it is the change of a case that is refused."""
    assert (module, "good.tftest.hcl") not in told


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda n: f"{CASES[n][0]}-{n}")
def test_refused(told, number):
    module, _, message = CASES[number]
    answer = told.get((module, f"case_{number:03}.tftest.hcl"), [])
    assert any(message in text for text in answer), answer


@pytest.mark.parametrize("module", MODULES)
def test_each_check_has_a_case(module):
    text = "".join(p.read_text() for p in (SOURCE / "modules" / module).glob("*.tf"))
    messages = re.findall(r'error_message = "(.*)"', text)
    assert messages
    without = [m for m in messages if not any(c[0] == module and m.startswith(c[2]) for c in CASES)]
    assert not without
