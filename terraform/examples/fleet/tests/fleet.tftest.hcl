mock_provider "aws" {
  mock_resource "aws_s3_bucket" {
    defaults = { id = "my-archives", arn = "arn:aws:s3:::my-archives" }
  }
  mock_resource "aws_iam_policy" {
    defaults = { arn = "arn:aws:iam::123456789012:policy/may-restore" }
  }
  mock_resource "aws_iam_instance_profile" {
    defaults = { arn = "arn:aws:iam::123456789012:instance-profile/host" }
  }
  mock_resource "aws_launch_template" {
    defaults = { id = "lt-0123456789abcdef0", latest_version = 7 }
  }
  mock_data "aws_region" {
    defaults = { region = "eu-central-1" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
}

variables {
  bucket             = "my-archives"
  ami_id             = "ami-0123456789abcdef0"
  vpc_id             = "vpc-0123456789abcdef0"
  route_table_ids    = ["rtb-01"]
  security_group_ids = ["sg-01"]
  subnet_ids         = ["subnet-01", "subnet-02"]
  archive_version    = "one"
}

run "apply" {
  assert {
    condition     = yamldecode(output.cloud_config).burst.restores == [{ source = "s3://my-archives/trees/data.zip?versionId=one", device = "/dev/sdf", path = "/data", sink = "device" }]
    error_message = "The archive of the bucket must be restored."
  }
}
