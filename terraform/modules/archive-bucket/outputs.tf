output "bucket" {
  description = "Name of the bucket, once it may be used."
  value       = aws_s3_bucket.this.id
  depends_on  = [aws_s3_bucket_policy.this, aws_s3_bucket_server_side_encryption_configuration.this]
}

output "arn" {
  description = "ARN of the bucket."
  value       = aws_s3_bucket.this.arn
}

output "kms_key_arn" {
  description = "ARN of the key that encrypts archives, or null."
  value       = var.kms_key_arn
}

output "gateway_endpoint_id" {
  description = "Id of the gateway endpoint, or null."
  value       = one(aws_vpc_endpoint.s3[*].id)
}
