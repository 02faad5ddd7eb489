output "autoscaling_group_name" {
  description = "Name of the Auto Scaling group."
  value       = module.fleet.autoscaling_group_name
}

output "cloud_config" {
  description = "What each instance restores."
  value       = module.fleet.cloud_config
}
