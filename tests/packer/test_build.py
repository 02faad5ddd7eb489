"""A real build against an EC2 API: the image that comes out. The provisioners are in test_provision.py."""

import re

import boto3
import pytest
from conftest import VARIABLES, old_copy


@pytest.fixture(scope="module")
def ec2(moto):
    return boto3.client(
        "ec2", region_name="us-east-1", endpoint_url=moto, aws_access_key_id="test", aws_secret_access_key="test"
    )


@pytest.fixture(scope="module")
def image(packer, moto, ec2, tmp_path_factory):
    # moto has a list of real images of Amazon: Amazon Linux 2023 is found by the filter as it is.
    directory = old_copy(tmp_path_factory.mktemp("build") / "packer")
    source = directory / "source.pkr.hcl"
    # There is no machine to log in to, and moto needs no real waiting.
    more = """
  communicator                = "none"
  skip_region_validation      = true
  skip_credential_validation  = true
  aws_polling {
    delay_seconds = 1
    max_attempts  = 120
  }
"""
    source.write_text(source.read_text().replace("  ena_support         = true\n", more + "  ena_support = true\n"))
    build = directory / "build.pkr.hcl"
    text = build.read_text()
    build.write_text(re.sub(r'^  provisioner "\w+" \{\n.*?^  \}\n', "", text, flags=re.M | re.S))
    variables = {
        **VARIABLES,
        "custom_endpoint_ec2": moto,
        "distribution": "al2023",
        "ami_users": '["210987654321"]',
        # An image with the account's own key cannot be shared.
        "kms_key_id": "arn:aws:kms:us-east-1:123456789012:key/11112222-3333-4444-5555-666677778888",
        "tags": '{"Team":"data"}',
        "root_volume_throughput": "250",
    }
    done = packer.run("build", directory, "-color=false", "-timestamp-ui", timeout=600, **variables)
    (made,) = ec2.describe_images(Filters=[{"Name": "name", "Values": ["burst-*"]}])["Images"]
    return made, done.stdout, directory


def test_name_and_tags(image):
    made, _, _ = image
    assert re.fullmatch(r"burst-1\.2\.3-al2023-x86_64-\d{8}-\d{6}", made["Name"])
    tags = {t["Key"]: t["Value"] for t in made["Tags"]}
    assert tags["burst:version"] == "1.2.3" and tags["burst:distribution"] == "al2023"
    assert tags["burst:architecture"] == "x86_64" and tags["Team"] == "data"
    # The image that it was made from.
    assert re.fullmatch(r"al2023-ami-2023\..*-x86_64", tags["burst:source-name"])
    assert re.fullmatch("ami-[0-9a-f]+", tags["burst:source-ami"])


def test_other_accounts_may_use_it(image, ec2):
    made, _, _ = image
    granted = ec2.describe_image_attribute(ImageId=made["ImageId"], Attribute="launchPermission")
    assert granted["LaunchPermissions"] == [{"UserId": "210987654321"}]


def test_manifest(image):
    made, _, directory = image
    text = (directory / "manifest.json").read_text()
    assert f"us-east-1:{made['ImageId']}" in text and '"burst_version": "1.2.3"' in text


def test_nothing_is_left(image, ec2):
    """Instance, key pair and security group of the build."""
    reservations = ec2.describe_instances(Filters=[{"Name": "tag:Name", "Values": ["packer-burst"]}])["Reservations"]
    states = [i["State"]["Name"] for r in reservations for i in r["Instances"]]
    assert states == ["terminated"]
    assert not [g for g in ec2.describe_security_groups()["SecurityGroups"] if g["GroupName"].startswith("packer")]
    assert not ec2.describe_key_pairs()["KeyPairs"]
