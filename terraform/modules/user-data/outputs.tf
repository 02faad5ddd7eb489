output "cloud_config" {
  description = "The `#cloud-config` text with the `burst:` section alone."
  value       = local.cloud_config
}

output "user_data_base64" {
  description = "User data for an instance or a launch template: the cloud-config, or with extra parts a MIME message in gzip; in base64."
  value       = local.user_data_base64

  precondition {
    condition     = length(local.user_data_base64) <= 21848
    error_message = "The user data is larger than the 16 KiB that EC2 takes: move the extra parts into the image."
  }
}
