output "autoscaling_group_name" {
  description = "Name of the Auto Scaling group."
  value       = aws_autoscaling_group.this.name
}

output "launch_template_id" {
  description = "Id of the launch template."
  value       = aws_launch_template.this.id
}

output "role_name" {
  description = "Name of the role of the instances, for further policies."
  value       = aws_iam_role.this.name
}

output "cloud_config" {
  description = "The `burst:` section that the instances get."
  value       = module.user_data.cloud_config
}
