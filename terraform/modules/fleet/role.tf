# The role of the instances: the policies that were given, and telling the group that a restore is complete.

data "aws_partition" "current" {}

data "aws_region" "current" {}

data "aws_caller_identity" "current" {}

locals {
  # Built from the name, as the group itself refers to the role.
  group_arn = join(":", [
    "arn", data.aws_partition.current.partition, "autoscaling", data.aws_region.current.region,
    data.aws_caller_identity.current.account_id, "autoScalingGroup:*:autoScalingGroupName/${var.name}",
  ])
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

resource "aws_iam_role_policy" "ready" {
  name = "report-ready"
  role = aws_iam_role.this.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = "autoscaling:CompleteLifecycleAction"
      Resource = local.group_arn
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
