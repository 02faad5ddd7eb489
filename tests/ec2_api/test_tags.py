"""Volumes chosen by a tag: EC2 says which volumes of this instance have it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from burst import burst
from conftest import EC2, NEW_TYPE, REGION
from disks import EBS, Loop, Machine, mount_of
from metadata_server import Metadata


class Instance:
    """An instance of moto with volumes, and the metadata service that says which one this is."""

    def __init__(self, ec2: EC2):
        self.ec2, self.api = ec2, ec2.client("ec2")
        image = self.api.describe_images()["Images"][0]["ImageId"]
        self.id = self.api.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
        self.metadata = Metadata("good", {"instanceId": self.id, "region": REGION, "instanceType": NEW_TYPE})

    def volume(self, device: str | None, **tags: str) -> str:
        tags = [{"Key": key, "Value": value} for key, value in tags.items()]
        specification = [{"ResourceType": "volume", "Tags": tags}] if tags else []
        made = self.api.create_volume(AvailabilityZone=f"{REGION}a", Size=1, TagSpecifications=specification)
        if device:
            self.api.attach_volume(VolumeId=made["VolumeId"], InstanceId=self.id, Device=device)
        return made["VolumeId"]

    def environment(self, **more: str) -> dict[str, str]:
        return self.ec2.environment() | {"AWS_EC2_METADATA_SERVICE_ENDPOINT": self.metadata.url} | more


@pytest.fixture
def this(ec2: EC2) -> Iterator[Instance]:
    this = Instance(ec2)
    with this.metadata:
        yield this


def serial(volume: str) -> str:
    return volume.replace("-", "")


def patient(run: Callable[[], object], code: int):
    """A machine that is busy enough keeps good services from answering in time: once more."""
    for _ in range(20):
        done = run()
        if "no answer within" not in done.err:
            break
    assert done.code == code, done.err
    return done


def test_prepare(this: Instance, machine: Machine, loop: Callable[..., Loop], tmp: Path):
    """All volumes of this instance with this tag, and no others: not one with another value, nor one that is elsewhere."""
    wanted, other, elsewhere = loop(), loop(), loop()
    machine.add("nvme1n1", wanted, EBS, serial(this.volume("/dev/sdf", Name="data")))
    machine.add("nvme2n1", other, EBS, serial(this.volume("/dev/sdg", Name="database")))
    machine.add("nvme3n1", elsewhere, EBS, serial(this.volume(None, Name="data")))
    before = other.digest(), elsewhere.digest()
    command = ["volume", "prepare", "tag:Name=data", "--json", "--mount", tmp / "m", *machine.flags]
    done = patient(lambda: burst(*command, env=this.environment(), code=None), 0)
    made = json.loads(done.out)
    assert made["made"] and [disk["device"] for disk in made["disks"]] == [wanted.device]
    assert mount_of(tmp / "m")
    # At the second boot it is found.
    done = patient(lambda: burst(*command, env=this.environment(), code=None), 0)
    assert not json.loads(done.out)["made"]
    assert (other.digest(), elsewhere.digest()) == before


def test_characters_stand_for_themselves(this: Instance, machine: Machine, loop: Callable[..., Loop]):
    disk = loop()
    machine.add("nvme1n1", disk, EBS, serial(this.volume("/dev/sdf", Name="data")))
    for pattern in ("d*", "dat?", "*"):
        command = ["volume", "prepare", f"tag:Name={pattern}", "--label", "x", *machine.flags]
        done = patient(lambda command=command: burst(*command, env=this.environment(), code=None), 10)
        assert f"tag:Name={pattern} is not attached" in done.err
    assert disk.probe() == {}


def test_waits_for_the_volume(this: Instance, machine: Machine):
    """Attached as EC2 says, but not there."""
    volume = this.volume("/dev/sdf", Name="data")
    command = ["volume", "prepare", "tag:Name=data", "--wait", "1", "--label", "x", *machine.flags]
    done = patient(lambda: burst(*command, env=this.environment(), code=None), 16)
    assert f"{volume} was not attached within 1 s" in done.err


def test_permissions(this: Instance, machine: Machine):
    iam = this.ec2.client("iam")
    iam.create_user(UserName="tags")
    key = iam.create_access_key(UserName="tags")["AccessKey"]
    environment = this.environment(AWS_ACCESS_KEY_ID=key["AccessKeyId"], AWS_SECRET_ACCESS_KEY=key["SecretAccessKey"])
    command = ["volume", "prepare", "tag:Name=data", "--label", "x", *machine.flags]
    this.ec2.check_permissions(0)
    try:
        done = patient(lambda: burst(*command, env=environment, code=None), 11)
        assert "tag:Name=data: ec2:DescribeVolumes: not allowed (AccessDenied)" in done.err, done.err
        this.ec2.check_permissions(None)
        allowed = {"Effect": "Allow", "Action": ["ec2:DescribeVolumes"], "Resource": "*"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
        iam.put_user_policy(UserName="tags", PolicyName="tags", PolicyDocument=document)
        this.ec2.check_permissions(0)
        done = patient(lambda: burst(*command, env=environment, code=None), 10)
        assert "tag:Name=data is not attached" in done.err
    finally:
        this.ec2.check_permissions(None)


def test_nobody_to_ask(this: Instance, machine: Machine):
    command = ["volume", "prepare", "tag:Name=data", "--label", "x", *machine.flags]
    nowhere = "http://127.0.0.1:1"
    done = patient(lambda: burst(*command, env=this.environment(AWS_ENDPOINT_URL_EC2=nowhere), code=None), 18)
    assert "tag:Name=data: ec2:DescribeVolumes: cannot be reached" in done.err
    done = burst(*command, env=this.environment(AWS_EC2_METADATA_SERVICE_ENDPOINT=nowhere), code=18)
    assert "the instance metadata service, which tells the instance id: cannot be reached" in done.err
