output "instance_id" {
  description = "Id of the instance."
  value       = aws_instance.this.id
}

output "private_ip" {
  description = "Its address in the VPC."
  value       = aws_instance.this.private_ip
}

output "volume_ids" {
  description = "Ids of the volumes by device name."
  value       = { for name, volume in aws_ebs_volume.this : name => volume.id }
}

output "role_name" {
  description = "Name of the role of the instance, for further policies."
  value       = aws_iam_role.this.name
}

output "cloud_config" {
  description = "The `burst:` section that the instance gets."
  value       = module.user_data.cloud_config
}
