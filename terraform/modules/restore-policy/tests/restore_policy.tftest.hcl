mock_provider "aws" {
  mock_resource "aws_iam_policy" {
    defaults = { arn = "arn:aws:iam::123456789012:policy/may-restore" }
  }
}

variables {
  name       = "may"
  bucket_arn = "arn:aws:s3:::my-archives"
  keys       = ["trees/*"]
}

run "restore" {
  assert {
    condition = jsondecode(aws_iam_policy.this.policy).Statement == [{
      Sid      = "Archives"
      Effect   = "Allow"
      Action   = ["s3:GetObject", "s3:GetObjectVersion"]
      Resource = ["arn:aws:s3:::my-archives/trees/*"]
    }]
    error_message = "A restore reads its objects and may do nothing else."
  }
  assert {
    condition     = output.json == aws_iam_policy.this.policy
    error_message = "The output must be the policy."
  }
}

run "latest_version_only" {
  variables {
    versions = false
  }

  assert {
    condition     = jsondecode(aws_iam_policy.this.policy).Statement[0].Action == ["s3:GetObject"]
    error_message = "Without versions, the object alone."
  }
}

run "snapshot" {
  variables {
    actions     = ["snapshot"]
    object_tags = true
  }

  assert {
    condition     = jsondecode(aws_iam_policy.this.policy).Statement[0].Action == ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload", "s3:PutObjectTagging"]
    error_message = "A snapshot asks for the object, uploads, aborts and tags."
  }
}

run "own_key_and_list" {
  variables {
    actions     = ["restore", "snapshot"]
    kms_key_arn = "arn:aws:kms:eu-central-1:123456789012:key/11112222-3333-4444-5555-666677778888"
    list_bucket = true
  }

  assert {
    condition     = jsondecode(aws_iam_policy.this.policy).Statement[1] == { Sid = "TellNotFound", Effect = "Allow", Action = ["s3:ListBucket"], Resource = ["arn:aws:s3:::my-archives"] }
    error_message = "Listing is of the bucket, not of objects."
  }
  assert {
    condition     = jsondecode(aws_iam_policy.this.policy).Statement[2].Action == ["kms:Decrypt", "kms:GenerateDataKey"]
    error_message = "Both directions need the key."
  }
  assert {
    condition     = jsondecode(aws_iam_policy.this.policy).Statement[2].Condition.StringLike["kms:EncryptionContext:aws:s3:arn"] == ["arn:aws:s3:::my-archives", "arn:aws:s3:::my-archives/trees/*"]
    error_message = "The key is for this bucket only."
  }
}
