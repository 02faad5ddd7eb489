variable "region" {
  description = "Region of everything."
  type        = string
  default     = "eu-central-1"
}

variable "bucket" {
  description = "Name of the bucket for archives, which is made."
  type        = string
}

variable "key" {
  description = "Key of the archive, as given to burst snapshot."
  type        = string
  default     = "trees/data.zip"
}

variable "ami_id" {
  description = "An image made by packer/."
  type        = string
}

variable "vpc_id" {
  description = "VPC of the subnets; it gets a gateway endpoint for S3."
  type        = string
}

variable "route_table_ids" {
  description = "Route tables of the subnets."
  type        = list(string)
}

variable "security_group_ids" {
  description = "Security groups that let HTTPS out."
  type        = list(string)
}

variable "subnet_ids" {
  description = "Subnets of the instances."
  type        = list(string)
}

variable "archive_version" {
  description = "Version id of the archive (printed by `aws s3api head-object`). A new one replaces the instances, some at a time."
  type        = string
}
