variable "bucket" {
  description = "Name of the bucket."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.bucket))
    error_message = "A bucket name is 3 to 63 lower-case letters, digits and dashes (no dots: TLS certificates do not cover them)."
  }
}

variable "kms_key_arn" {
  description = "ARN of the KMS key that encrypts the archives. Without it S3's own keys do (SSE-S3), which count against no quota."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null ? true : can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$", var.kms_key_arn))
    error_message = "kms_key_arn must be the ARN of a key (not an alias): arn:aws:kms:region:account:key/id."
  }
}

variable "keep_old_versions_days" {
  description = "Days after which an archive that was replaced or deleted is gone for good. A fleet bound to a version needs it as long as instances may start from it. 0 keeps all for ever."
  type        = number
  default     = 90

  validation {
    condition     = var.keep_old_versions_days >= 0 && floor(var.keep_old_versions_days) == var.keep_old_versions_days
    error_message = "keep_old_versions_days must be a whole number of days, or 0."
  }
}

variable "abort_uploads_days" {
  description = "Days after which an upload that was never completed is removed."
  type        = number
  default     = 3

  validation {
    condition     = var.abort_uploads_days >= 1 && floor(var.abort_uploads_days) == var.abort_uploads_days
    error_message = "abort_uploads_days must be a whole number of days, 1 or more."
  }
}

variable "gateway_endpoint" {
  description = "A VPC and its route tables that get a gateway endpoint for S3: no NAT gateway in the way, no charge. A VPC takes one; leave this out where it has one."
  type = object({
    vpc_id          = string
    route_table_ids = list(string)
  })
  default = null

  validation {
    condition     = var.gateway_endpoint == null ? true : can(regex("^vpc-[0-9a-f]+$", var.gateway_endpoint.vpc_id))
    error_message = "gateway_endpoint.vpc_id must be the id of a VPC: vpc-..."
  }
  validation {
    condition     = var.gateway_endpoint == null ? true : length(var.gateway_endpoint.route_table_ids) > 0
    error_message = "gateway_endpoint.route_table_ids must name at least one route table: without one the endpoint is not used."
  }
}

variable "tags" {
  description = "Tags of all resources."
  type        = map(string)
  default     = {}
}
