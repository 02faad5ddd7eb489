# One machine with volumes that outlive it.

module "user_data" {
  source = "../user-data"

  restores    = var.restores
  defaults    = var.defaults
  extra_parts = var.extra_user_data
}

resource "aws_iam_role" "this" {
  name = var.name
  tags = var.tags

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "ec2.amazonaws.com" }
    }]
  })
}

resource "aws_iam_role_policy_attachment" "this" {
  # By position: an ARN may not be known before it is made, the number of them is.
  count = length(var.policy_arns)

  role       = aws_iam_role.this.name
  policy_arn = var.policy_arns[count.index]
}

resource "aws_iam_instance_profile" "this" {
  name = var.name
  role = aws_iam_role.this.name
  tags = var.tags
}

resource "aws_instance" "this" {
  # checkov:skip=CKV_AWS_126: Detailed monitoring costs per instance; the caller decides.
  ami                    = var.ami_id
  instance_type          = var.instance_type
  subnet_id              = var.subnet_id
  vpc_security_group_ids = var.security_group_ids
  iam_instance_profile   = aws_iam_instance_profile.this.name
  ebs_optimized          = true
  user_data_base64       = module.user_data.user_data_base64
  # cloud-init reads it at each boot, but nobody boots a machine because a variable changed.
  user_data_replace_on_change = true
  tags                        = merge(var.tags, { Name = var.name })

  # Version 2 alone; a hop limit of 1 keeps containers away from the role.
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  root_block_device {
    encrypted = true
  }

  lifecycle {
    precondition {
      condition = alltrue([for r in var.restores :
        startswith(coalesce(r.device, "-"), "/dev/sd") ? contains(keys(var.volumes), r.device) : true
      ])
      error_message = "A restore names a device /dev/sd? that is not in volumes."
    }
  }

  # The first boot restores: it needs the permissions.
  depends_on = [aws_iam_role_policy_attachment.this]
}

resource "aws_ebs_volume" "this" {
  for_each = var.volumes

  availability_zone = var.availability_zone
  type              = "gp3"
  size              = each.value.size_gib
  throughput        = each.value.throughput
  iops              = each.value.iops
  encrypted         = true
  kms_key_id        = each.value.kms_key_id
  tags              = merge(var.tags, { Name = "${var.name} ${each.key}" })
}

# Volumes come when the instance runs already: a restore waits for its device (wait_seconds).
resource "aws_volume_attachment" "this" {
  for_each = var.volumes

  device_name                    = each.key
  instance_id                    = aws_instance.this.id
  volume_id                      = aws_ebs_volume.this[each.key].id
  stop_instance_before_detaching = true
}
