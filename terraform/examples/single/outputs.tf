output "instance_id" {
  description = "Id of the instance."
  value       = module.host.instance_id
}

output "cloud_config" {
  description = "What it restores."
  value       = module.host.cloud_config
}
