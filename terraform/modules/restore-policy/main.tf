# What `burst restore` and `burst snapshot` need, and no more.

locals {
  restore  = contains(var.actions, "restore")
  snapshot = contains(var.actions, "snapshot")
  objects  = [for key in var.keys : "${var.bucket_arn}/${key}"]

  object_actions = concat(
    # A snapshot asks first whether the object exists.
    ["s3:GetObject"],
    local.restore && var.versions ? ["s3:GetObjectVersion"] : [],
    local.snapshot ? ["s3:PutObject", "s3:AbortMultipartUpload"] : [],
    local.snapshot && var.object_tags ? ["s3:PutObjectTagging"] : [],
  )

  statements = concat(
    [{
      Sid       = "Archives"
      Effect    = "Allow"
      Action    = local.object_actions
      Resource  = local.objects
      Condition = {}
    }],
    var.list_bucket ? [{
      Sid       = "TellNotFound"
      Effect    = "Allow"
      Action    = ["s3:ListBucket"]
      Resource  = [var.bucket_arn]
      Condition = {}
    }] : [],
    # Only for objects of this bucket, and only as S3 asks for them. With a bucket key the context is the bucket, without
    # one the object.
    var.kms_key_arn == null ? [] : [{
      Sid      = "ArchiveKey"
      Effect   = "Allow"
      Action   = concat(["kms:Decrypt"], local.snapshot ? ["kms:GenerateDataKey"] : [])
      Resource = [var.kms_key_arn]
      Condition = {
        StringLike = {
          "kms:ViaService"                   = "s3.*.amazonaws.com*"
          "kms:EncryptionContext:aws:s3:arn" = concat([var.bucket_arn], local.objects)
        }
      }
    }],
  )

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [for s in local.statements : {
      for key, value in s : key => value if !(key == "Condition" && try(length(value), 0) == 0)
    }]
  })
}

resource "aws_iam_policy" "this" {
  name        = var.name
  description = "burst ${join(" and ", sort(var.actions))}: ${var.bucket_arn}"
  policy      = local.policy
  tags        = var.tags
}
