output "arn" {
  description = "ARN of the policy."
  value       = aws_iam_policy.this.arn
}

output "json" {
  description = "The policy, to be put elsewhere."
  value       = local.policy
}
