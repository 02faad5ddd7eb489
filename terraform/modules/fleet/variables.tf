variable "name" {
  description = "Name of the Auto Scaling group and of what belongs to it."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9_-]{0,54}$", var.name))
    error_message = "name must be 1 to 55 letters, digits, dashes or underscores."
  }
}

variable "ami_id" {
  description = "An image with BURST and its cloud-init module, as made by packer/."
  type        = string

  validation {
    condition     = can(regex("^ami-[0-9a-f]{8,17}$", var.ami_id))
    error_message = "ami_id must be the id of an image: ami-..."
  }
}

variable "instance_type" {
  description = "Type of the instances."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9-]+\\.[a-z0-9-]+$", var.instance_type))
    error_message = "instance_type must look like m7g.large."
  }
}

variable "subnet_ids" {
  description = "Subnets of the instances."
  type        = list(string)

  validation {
    condition     = length(var.subnet_ids) > 0 && alltrue([for s in var.subnet_ids : can(regex("^subnet-[0-9a-f]+$", s))])
    error_message = "subnet_ids must be ids of subnets: subnet-..."
  }
}

variable "security_group_ids" {
  description = "Security groups. They must let HTTPS out to S3."
  type        = list(string)

  validation {
    condition     = length(var.security_group_ids) > 0 && alltrue([for s in var.security_group_ids : can(regex("^sg-[0-9a-f]+$", s))])
    error_message = "security_group_ids must be ids of security groups: sg-..."
  }
}

variable "policy_arns" {
  description = "Policies of the instance role: one of restore-policy, and what else the machine needs."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for a in var.policy_arns : can(regex("^arn:[a-z-]+:iam::([0-9]{12}|aws):policy/", a))])
    error_message = "policy_arns must be ARNs of IAM policies."
  }
}

variable "size" {
  description = "Number of instances: at least, at most, and at first."
  type = object({
    min     = number
    max     = number
    desired = optional(number)
  })

  validation {
    condition     = var.size.min >= 0 && var.size.max >= var.size.min && var.size.max >= 1
    error_message = "size must have 0 <= min <= max, and max at least 1."
  }
  validation {
    condition     = var.size.desired == null ? true : var.size.desired >= var.size.min && var.size.desired <= var.size.max
    error_message = "size.desired must lie between min and max."
  }
}

variable "restores" {
  description = "What to restore at boot: see the module user-data, which also checks it."
  type = list(object({
    name          = optional(string)
    source        = string
    path          = string
    device        = optional(string)
    wait_seconds  = optional(number)
    label         = optional(string)
    mount_options = optional(string)
    sink          = optional(string)
    owner         = optional(string)
    required      = optional(bool)
    order         = optional(number)
    options = optional(object({
      region               = optional(string)
      endpoint_url         = optional(string)
      profile              = optional(string)
      in_flight            = optional(number)
      memory_mib           = optional(number)
      paths                = optional(list(string))
      ca_bundle            = optional(string)
      no_sign_request      = optional(bool)
      start_jitter_seconds = optional(number)
      acl                  = optional(string)
    }))
  }))
}

variable "defaults" {
  description = "What holds for each restore that does not say otherwise."
  type = object({
    wait_seconds  = optional(number)
    mount_options = optional(string)
    sink          = optional(string)
    owner         = optional(string)
    required      = optional(bool)
    options = optional(object({
      region               = optional(string)
      endpoint_url         = optional(string)
      profile              = optional(string)
      in_flight            = optional(number)
      memory_mib           = optional(number)
      paths                = optional(list(string))
      ca_bundle            = optional(string)
      no_sign_request      = optional(bool)
      start_jitter_seconds = optional(number)
      acl                  = optional(string)
    }))
  })
  default = {}
}

variable "volumes" {
  description = "EBS volumes by device name (/dev/sdf to /dev/sdp): what `restores` name as their device. They are blank, gp3 and encrypted; `throughput` in MiB/s."
  type = map(object({
    size_gib   = number
    throughput = optional(number, 125)
    iops       = optional(number, 3000)
    kms_key_id = optional(string)
  }))
  default = {}

  validation {
    condition     = alltrue([for name in keys(var.volumes) : can(regex("^/dev/sd[f-p]$", name))])
    error_message = "The names of volumes must be /dev/sdf to /dev/sdp, which EC2 leaves to data volumes."
  }
  validation {
    condition     = alltrue([for v in values(var.volumes) : v.size_gib >= 1 && v.size_gib <= 65536 && floor(v.size_gib) == v.size_gib])
    error_message = "size_gib must be a whole number from 1 to 65536."
  }
  validation {
    condition     = alltrue([for v in values(var.volumes) : v.throughput >= 125 && v.throughput <= 2000 && v.iops >= 3000 && v.iops <= 80000])
    error_message = "gp3 has a throughput of 125 to 2000 MiB/s and 3000 to 80000 IOPS."
  }
  validation {
    condition     = alltrue([for v in values(var.volumes) : v.throughput * 4 <= v.iops])
    error_message = "gp3 needs 4 IOPS for each MiB/s of throughput."
  }
  validation {
    condition     = alltrue([for v in values(var.volumes) : v.iops <= max(3000, v.size_gib * 500)])
    error_message = "gp3 has at most 500 IOPS for each GiB above the first 3000."
  }
}

variable "restore_timeout_seconds" {
  description = "Time from the start of an instance until `burst status` must find all required restores complete. Until then it gets no work; after it the instance is replaced."
  type        = number
  default     = 1800

  validation {
    condition     = var.restore_timeout_seconds >= 60 && var.restore_timeout_seconds <= 7200 && floor(var.restore_timeout_seconds) == var.restore_timeout_seconds
    error_message = "restore_timeout_seconds must be a whole number from 60 to 7200."
  }
}

variable "min_healthy_percentage" {
  description = "How much of the group stays in service while a new image or archive version is rolled out."
  type        = number
  default     = 90

  validation {
    condition     = var.min_healthy_percentage >= 0 && var.min_healthy_percentage <= 100
    error_message = "min_healthy_percentage must lie between 0 and 100."
  }
}

variable "target_group_arns" {
  description = "Load balancer target groups. With any, their health checks count too."
  type        = list(string)
  default     = []
}

variable "extra_user_data" {
  description = "More user data beside BURST's: scripts, cloud-config. Scripts find the data in place, and have run when the instance gets work."
  type = list(object({
    content_type = string
    content      = string
  }))
  default = []
}

variable "tags" {
  description = "Tags of all resources, instances and volumes."
  type        = map(string)
  default     = {}
}
