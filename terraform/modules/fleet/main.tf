# Instances that restore their data at boot, and take work when it is there.

locals {
  hook = "burst-restore"

  # A restore that is not required must not keep an instance out of service.
  watched = [for r in var.restores : r.path if coalesce(r.required, var.defaults.required, true)]

  ready = replace(file("${path.module}/ready.py"), "\"@SETTINGS@\"", jsonencode(jsonencode({
    group           = var.name
    hook            = local.hook
    paths           = local.watched
    timeout_seconds = var.restore_timeout_seconds
  })))
}

module "user_data" {
  source = "../user-data"

  restores = var.restores
  defaults = var.defaults
  # The last of the scripts, which run one after the other: an instance that is in service has done them all.
  extra_parts = concat(var.extra_user_data, [{ content_type = "text/x-shellscript", content = local.ready }])
}

resource "aws_launch_template" "this" {
  name                   = var.name
  image_id               = var.ami_id
  instance_type          = var.instance_type
  vpc_security_group_ids = var.security_group_ids
  user_data              = module.user_data.user_data_base64
  ebs_optimized          = true
  update_default_version = true
  tags                   = var.tags

  iam_instance_profile {
    arn = aws_iam_instance_profile.this.arn
  }

  # Version 2 alone; a hop limit of 1 keeps containers away from the role.
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  dynamic "block_device_mappings" {
    for_each = var.volumes

    content {
      device_name = block_device_mappings.key

      ebs {
        volume_type           = "gp3"
        volume_size           = block_device_mappings.value.size_gib
        throughput            = block_device_mappings.value.throughput
        iops                  = block_device_mappings.value.iops
        encrypted             = true
        kms_key_id            = block_device_mappings.value.kms_key_id
        delete_on_termination = true
      }
    }
  }

  dynamic "tag_specifications" {
    for_each = ["instance", "volume"]

    content {
      resource_type = tag_specifications.value
      tags          = merge(var.tags, { Name = var.name })
    }
  }

  lifecycle {
    precondition {
      condition = alltrue([for r in var.restores :
        startswith(coalesce(r.device, "-"), "/dev/sd") ? contains(keys(var.volumes), r.device) : true
      ])
      error_message = "A restore names a device /dev/sd? that is not in volumes."
    }
    precondition {
      condition     = alltrue([for r in var.restores : !startswith(coalesce(r.device, "-"), "vol-")])
      error_message = "A fleet has no volume ids: each instance gets its own volumes. Name a device of volumes."
    }
  }
}

resource "aws_autoscaling_group" "this" {
  name                = var.name
  min_size            = var.size.min
  max_size            = var.size.max
  desired_capacity    = var.size.desired
  vpc_zone_identifier = var.subnet_ids
  target_group_arns   = var.target_group_arns
  health_check_type   = length(var.target_group_arns) == 0 ? "EC2" : "ELB"
  # Counted from the moment when the instance is in service, which is when its data is there.
  health_check_grace_period = 60
  default_instance_warmup   = 0
  # terraform apply does not wait longer than the instances may take.
  wait_for_capacity_timeout = "${var.restore_timeout_seconds + 600}s"

  launch_template {
    id = aws_launch_template.this.id
    # Not "$Latest": a number that changes begins an instance refresh.
    version = aws_launch_template.this.latest_version
  }

  # Within the group, not a resource of its own: the first instances would start before that exists.
  initial_lifecycle_hook {
    name                 = local.hook
    lifecycle_transition = "autoscaling:EC2_INSTANCE_LAUNCHING"
    heartbeat_timeout    = var.restore_timeout_seconds
    default_result       = "ABANDON"
  }

  # A new archive version, image or setting makes a new launch template version, and that new instances, some at a time.
  instance_refresh {
    strategy = "Rolling"

    preferences {
      min_healthy_percentage = var.min_healthy_percentage
      instance_warmup        = 0
      auto_rollback          = true
    }
  }

  dynamic "tag" {
    for_each = var.tags

    content {
      key                 = tag.key
      value               = tag.value
      propagate_at_launch = false
    }
  }

  # An instance needs its permissions when it starts.
  depends_on = [aws_iam_role_policy.ready, aws_iam_role_policy_attachment.this]
}
