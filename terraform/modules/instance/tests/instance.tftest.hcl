mock_provider "aws" {
  mock_resource "aws_iam_instance_profile" {
    defaults = { arn = "arn:aws:iam::123456789012:instance-profile/host" }
  }
}

variables {
  name               = "host"
  ami_id             = "ami-0123456789abcdef0"
  instance_type      = "m7g.large"
  subnet_id          = "subnet-01"
  availability_zone  = "eu-central-1a"
  security_group_ids = ["sg-01"]
  policy_arns        = ["arn:aws:iam::123456789012:policy/may-restore"]
  volumes            = { "/dev/sdf" = { size_gib = 100, throughput = 500, iops = 4000 } }
  restores           = [{ source = "s3://my-archives/data.zip", device = "/dev/sdf", path = "/data" }]
}

run "instance" {
  assert {
    condition = (
      aws_instance.this.metadata_options[0].http_tokens == "required" &&
      aws_instance.this.metadata_options[0].http_put_response_hop_limit == 1
    )
    error_message = "The metadata service must want tokens, and answer no container."
  }
  assert {
    condition     = aws_instance.this.root_block_device[0].encrypted
    error_message = "The root volume must be encrypted."
  }
  assert {
    condition     = base64decode(aws_instance.this.user_data_base64) == output.cloud_config
    error_message = "The user data must be the cloud-config."
  }
  assert {
    condition     = yamldecode(output.cloud_config).burst.restores == [{ source = "s3://my-archives/data.zip", device = "/dev/sdf", path = "/data" }]
    error_message = "The restores must reach cloud-init as they are."
  }
  assert {
    condition = (
      aws_ebs_volume.this["/dev/sdf"].type == "gp3" && aws_ebs_volume.this["/dev/sdf"].encrypted &&
      aws_ebs_volume.this["/dev/sdf"].size == 100 && aws_ebs_volume.this["/dev/sdf"].throughput == 500
    )
    error_message = "The volume must be as asked for, and encrypted."
  }
  assert {
    condition     = aws_volume_attachment.this["/dev/sdf"].device_name == "/dev/sdf"
    error_message = "The volume must have the name that the restore uses."
  }
}
