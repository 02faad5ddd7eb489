mock_provider "aws" {
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
  name               = "workers"
  ami_id             = "ami-0123456789abcdef0"
  instance_type      = "m7g.2xlarge"
  subnet_ids         = ["subnet-01", "subnet-02"]
  security_group_ids = ["sg-01"]
  policy_arns        = ["arn:aws:iam::123456789012:policy/may-restore"]
  size               = { min = 2, max = 10 }
  volumes            = { "/dev/sdf" = { size_gib = 100, throughput = 500, iops = 4000 } }
  restores = [
    { source = "s3://my-archives/data.zip?versionId=one", device = "/dev/sdf", path = "/data" },
    { source = "s3://my-archives/cache.zip", path = "/var/cache/app", required = false },
  ]
  tags = { Team = "data" }
}

run "launch_template" {
  assert {
    condition = (
      aws_launch_template.this.metadata_options[0].http_tokens == "required" &&
      aws_launch_template.this.metadata_options[0].http_put_response_hop_limit == 1
    )
    error_message = "The metadata service must want tokens, and answer no container."
  }
  assert {
    condition = (
      one(aws_launch_template.this.block_device_mappings).device_name == "/dev/sdf" &&
      one(aws_launch_template.this.block_device_mappings).ebs[0].volume_type == "gp3" &&
      one(aws_launch_template.this.block_device_mappings).ebs[0].volume_size == 100 &&
      one(aws_launch_template.this.block_device_mappings).ebs[0].throughput == 500 &&
      one(aws_launch_template.this.block_device_mappings).ebs[0].iops == 4000 &&
      tobool(one(aws_launch_template.this.block_device_mappings).ebs[0].encrypted)
    )
    error_message = "The volume must be as asked for, and encrypted."
  }
  assert {
    condition     = [for s in aws_launch_template.this.tag_specifications : s.tags.Team] == ["data", "data"]
    error_message = "Instances and volumes must have the tags."
  }
  assert {
    condition = yamldecode(output.cloud_config).burst.restores == [
      { source = "s3://my-archives/data.zip?versionId=one", device = "/dev/sdf", path = "/data" },
      { source = "s3://my-archives/cache.zip", path = "/var/cache/app", required = false },
    ]
    error_message = "The restores must reach cloud-init as they are."
  }
}

run "group" {
  assert {
    condition = (
      aws_autoscaling_group.this.initial_lifecycle_hook != null &&
      one(aws_autoscaling_group.this.initial_lifecycle_hook).lifecycle_transition == "autoscaling:EC2_INSTANCE_LAUNCHING" &&
      one(aws_autoscaling_group.this.initial_lifecycle_hook).default_result == "ABANDON" &&
      one(aws_autoscaling_group.this.initial_lifecycle_hook).heartbeat_timeout == 1800
    )
    error_message = "An instance without its data must not get into service."
  }
  assert {
    condition     = aws_autoscaling_group.this.launch_template[0].version == "7"
    error_message = "The group must name the version: a new one begins an instance refresh."
  }
  assert {
    condition = (
      aws_autoscaling_group.this.instance_refresh[0].strategy == "Rolling" &&
      aws_autoscaling_group.this.instance_refresh[0].preferences[0].min_healthy_percentage == 90
    )
    error_message = "Instances must be replaced some at a time."
  }
  assert {
    condition     = aws_autoscaling_group.this.health_check_type == "EC2"
    error_message = "Without a load balancer EC2's own checks hold."
  }
  assert {
    condition = jsondecode(aws_iam_role_policy.ready.policy).Statement == [{
      Effect   = "Allow"
      Action   = "autoscaling:CompleteLifecycleAction"
      Resource = "arn:aws:autoscaling:eu-central-1:123456789012:autoScalingGroup:*:autoScalingGroupName/workers"
    }]
    error_message = "The role may tell its own group only."
  }
  assert {
    condition     = aws_iam_role_policy_attachment.this[*].policy_arn == ["arn:aws:iam::123456789012:policy/may-restore"]
    error_message = "The policies must be attached."
  }
}

run "with_a_script" {
  variables {
    extra_user_data = [{ content_type = "text/x-shellscript", content = "#!/bin/sh\nexec begin-work\n" }]
  }

  assert {
    condition     = length(module.user_data.user_data_base64) <= 21848
    error_message = "It must fit into what EC2 takes."
  }
}

run "behind_a_load_balancer" {
  variables {
    target_group_arns = ["arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/a/1"]
  }

  assert {
    condition     = aws_autoscaling_group.this.health_check_type == "ELB"
    error_message = "Its health checks must count."
  }
}
