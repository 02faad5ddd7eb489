"""DescribeInstanceTypes: asked where it tells more than the table, kept, and done without where it is not to be had."""

import json
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import make_instance_types
import pytest
from burst import burst
from conftest import EC2, NEW_TYPE, REGION
from machine import instance
from metadata_server import Metadata
from moto.ec2.models import instance_types

DAY = 24 * 3600


@pytest.fixture
def plan(archive: Path, tmp: Path) -> Callable[..., dict]:
    """`burst plan` on an instance of this type; its cache lives as long as the test."""

    def run(kind: str, environment: dict[str, str]) -> dict:
        at = tmp / kind
        if not at.exists():
            instance(at, kind)
        with Metadata("good", {"instanceType": kind, "region": REGION}) as service:
            found = {"notes": ["no answer within"]}
            # A machine that is busy enough keeps a good service from answering in time: once more.
            for _ in range(20):
                named = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": service.url}
                done = burst("plan", "--json", "--machine", at, archive, at / "t", env=environment | named)
                found = json.loads(done.out)
                if not any("instance metadata service: no answer" in note for note in found["notes"]):
                    return found
        return found

    return run


def patient(run: Callable[[], dict]) -> dict:
    """What came of asking an EC2 that answers; on a busy machine not always in time."""
    for _ in range(20):
        found = run()
        if not any("DescribeInstanceTypes" in note and "no answer within" in note for note in found["notes"]):
            break
    return found


def cache(tmp: Path, kind: str) -> Path:
    return tmp / kind / "var/cache/burst/instance-types" / kind


def test_a_type_newer_than_the_table(ec2: EC2, plan, tmp: Path):
    found = patient(lambda: plan(NEW_TYPE, ec2.environment()))
    assert found["notes"] == [note for note in found["notes"] if "gateway endpoint" in note]
    network = found["choices"]["network"]
    assert network["value"] == {"baseline": 33.25e9 / 8, "peak": 40e9 / 8}
    assert f"{NEW_TYPE} as EC2 describes it" in network["reason"]
    # The next one needs nobody.
    again = plan(NEW_TYPE, {"AWS_ENDPOINT_URL_EC2": "http://127.0.0.1:1"})
    assert again["choices"] == found["choices"] and again["notes"] == found["notes"]
    assert cache(tmp, NEW_TYPE).stat().st_mode & 0o777 == 0o644


def test_it_is_said_as_in_the_table(ec2: EC2, plan, tmp: Path):
    """Types with EBS, with several network cards, with SSDs and HDDs, and older ones without any."""
    for kind in ("t1.micro", "m7i.large", "d3.xlarge", "i4i.8xlarge", "p5.48xlarge"):
        patient(lambda kind=kind: plan(kind, ec2.environment()))
        assert (
            cache(tmp, kind).read_text() == make_instance_types.line(kind, instance_types.INSTANCE_TYPES[kind]) + "\n"
        )


def test_old_answers(ec2: EC2, plan, tmp: Path):
    patient(lambda: plan(NEW_TYPE, ec2.environment()))
    file = cache(tmp, NEW_TYPE)
    text = file.read_text()
    # Newer than what EC2 says, until it is asked again.
    file.write_text(text.replace("33.25 40", "1 2"))
    assert plan(NEW_TYPE, ec2.environment())["choices"]["network"]["value"]["peak"] == 2e9 / 8
    os.utime(file, (time.time() - 31 * DAY,) * 2)
    # Better than a guess, where nobody is to be asked.
    found = plan(
        NEW_TYPE,
        {"AWS_ENDPOINT_URL_EC2": "http://127.0.0.1:1"} | {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"},
    )
    assert found["choices"]["network"]["value"]["peak"] == 2e9 / 8 and "an old answer counts" in found["notes"][0]
    patient(lambda: plan(NEW_TYPE, ec2.environment()))
    assert file.read_text() == text


def test_permissions(ec2: EC2, plan):
    """One line says what is not allowed, and the table counts."""
    iam = ec2.client("iam")
    iam.create_user(UserName="burst")
    key = iam.create_access_key(UserName="burst")["AccessKey"]
    environment = ec2.environment(key["AccessKeyId"], key["SecretAccessKey"])
    ec2.check_permissions(0)
    try:
        found = patient(lambda: plan("m7i.large", environment))
        [note] = [note for note in found["notes"] if "DescribeInstanceTypes" in note]
        assert note == (
            "DescribeInstanceTypes of m7i.large: not allowed (AccessDenied); the table in the program counts"
        )
        assert found["choices"]["network"]["value"] == {"baseline": 0.781e9 / 8, "peak": 12.5e9 / 8}
        ec2.check_permissions(None)
        allowed = {"Effect": "Allow", "Action": ["ec2:DescribeInstanceTypes"], "Resource": "*"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
        iam.put_user_policy(UserName="burst", PolicyName="types", PolicyDocument=document)
        ec2.check_permissions(0)
        found = patient(lambda: plan("m7i.large", environment))
        assert not any("DescribeInstanceTypes" in note for note in found["notes"]), found["notes"]
        assert "m7i.large as EC2 describes it" in found["choices"]["network"]["reason"]
    finally:
        ec2.check_permissions(None)


def test_no_answer(plan, tmp: Path):
    """Somebody who listens and says nothing; nobody; no credentials; a region that does not know the type."""
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(16)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        found = plan(NEW_TYPE, keys | {"AWS_ENDPOINT_URL_EC2": url})
    assert f"DescribeInstanceTypes of {NEW_TYPE}: no answer within 2 s; the table" in found["notes"][0]
    assert "whose family is newer than the table" in found["choices"]["network"]["reason"]
    found = plan(NEW_TYPE, keys | {"AWS_ENDPOINT_URL_EC2": "http://127.0.0.1:1"})
    assert f"DescribeInstanceTypes of {NEW_TYPE}: cannot be reached" in found["notes"][0], found["notes"]
    assert not cache(tmp, NEW_TYPE).exists()


def test_no_credentials(ec2: EC2, plan, tmp: Path):
    (tmp / "none").touch()
    files = {"AWS_CONFIG_FILE": str(tmp / "none"), "AWS_SHARED_CREDENTIALS_FILE": str(tmp / "none")}
    found = plan(NEW_TYPE, files | {"AWS_ENDPOINT_URL_EC2": ec2.url})
    assert f"DescribeInstanceTypes of {NEW_TYPE}: no " in found["notes"][0], found["notes"]


def test_a_type_that_nobody_knows(ec2: EC2, plan):
    found = patient(lambda: plan("zz9.large", ec2.environment()))
    assert "DescribeInstanceTypes of zz9.large: not known in this region; the table" in found["notes"][0]
