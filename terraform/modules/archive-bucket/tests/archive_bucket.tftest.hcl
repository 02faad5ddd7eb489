mock_provider "aws" {
  mock_resource "aws_s3_bucket" {
    defaults = { id = "my-archives", arn = "arn:aws:s3:::my-archives" }
  }
  mock_data "aws_region" {
    defaults = { region = "eu-central-1" }
  }
}

variables {
  bucket = "my-archives"
}

run "defaults" {
  assert {
    condition = alltrue([
      aws_s3_bucket_public_access_block.this.block_public_acls, aws_s3_bucket_public_access_block.this.block_public_policy,
      aws_s3_bucket_public_access_block.this.ignore_public_acls, aws_s3_bucket_public_access_block.this.restrict_public_buckets,
    ])
    error_message = "Nothing may be public."
  }
  assert {
    condition     = aws_s3_bucket_versioning.this.versioning_configuration[0].status == "Enabled"
    error_message = "Versions must be kept."
  }
  assert {
    condition     = one(aws_s3_bucket_server_side_encryption_configuration.this.rule).apply_server_side_encryption_by_default[0].sse_algorithm == "AES256"
    error_message = "Without a key of one's own: SSE-S3."
  }
  assert {
    condition     = one([for r in aws_s3_bucket_lifecycle_configuration.this.rule : r if r.id == "incomplete-uploads"]).abort_incomplete_multipart_upload[0].days_after_initiation == 3
    error_message = "Incomplete uploads must not be paid for ever."
  }
  assert {
    condition     = one([for r in aws_s3_bucket_lifecycle_configuration.this.rule : r if r.id == "old-versions"]).noncurrent_version_expiration[0].noncurrent_days == 90
    error_message = "Old versions must go after a time."
  }
  assert {
    condition = [for s in jsondecode(aws_s3_bucket_policy.this.policy).Statement : s.Effect] == ["Deny", "Deny"] && alltrue([
      for s in jsondecode(aws_s3_bucket_policy.this.policy).Statement : s.Resource == ["arn:aws:s3:::my-archives", "arn:aws:s3:::my-archives/*"]
    ])
    error_message = "The policy must deny for the bucket and all in it."
  }
  assert {
    condition     = jsondecode(aws_s3_bucket_policy.this.policy).Statement[0].Condition == { Bool = { "aws:SecureTransport" = "false" } }
    error_message = "Plain HTTP must be denied."
  }
  assert {
    condition     = length(aws_vpc_endpoint.s3) == 0
    error_message = "No endpoint unless asked for."
  }
}

run "own_key_and_endpoint" {
  variables {
    kms_key_arn            = "arn:aws:kms:eu-central-1:123456789012:key/11112222-3333-4444-5555-666677778888"
    keep_old_versions_days = 0
    gateway_endpoint       = { vpc_id = "vpc-0123456789abcdef0", route_table_ids = ["rtb-1", "rtb-2"] }
  }

  assert {
    condition = (
      one(aws_s3_bucket_server_side_encryption_configuration.this.rule).apply_server_side_encryption_by_default[0].sse_algorithm == "aws:kms" &&
      one(aws_s3_bucket_server_side_encryption_configuration.this.rule).bucket_key_enabled
    )
    error_message = "SSE-KMS must come with a bucket key, which saves nearly all requests to KMS."
  }
  assert {
    condition     = join(",", aws_s3_bucket_lifecycle_configuration.this.rule[*].id) == "incomplete-uploads"
    error_message = "0 days: old versions stay."
  }
  assert {
    condition = (
      aws_vpc_endpoint.s3[0].vpc_endpoint_type == "Gateway" && aws_vpc_endpoint.s3[0].service_name == "com.amazonaws.eu-central-1.s3" &&
      length(aws_vpc_endpoint.s3[0].route_table_ids) == 2
    )
    error_message = "The endpoint must be a gateway for S3 in all route tables."
  }
}
