variable "name" {
  description = "Name of the policy."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9+=,.@_-]{1,128}$", var.name))
    error_message = "name must be 1 to 128 letters, digits or any of +=,.@_-."
  }
}

variable "bucket_arn" {
  description = "ARN of the bucket with the archives."
  type        = string

  validation {
    condition     = can(regex("^arn:[a-z-]+:s3:::[a-z0-9][a-z0-9.-]+$", var.bucket_arn))
    error_message = "bucket_arn must be the ARN of a bucket alone: arn:aws:s3:::name."
  }
}

variable "keys" {
  description = "Keys of the archives; * stands for any characters."
  type        = list(string)

  validation {
    condition     = length(var.keys) > 0 && alltrue([for k in var.keys : can(regex("^[^/]", k))])
    error_message = "There must be at least one key, and none may be empty or begin with a slash."
  }
}

variable "actions" {
  description = "What is allowed: restore (also ls and verify), snapshot, or both."
  type        = set(string)
  default     = ["restore"]

  validation {
    condition     = length(var.actions) > 0 && length(setsubtract(var.actions, ["restore", "snapshot"])) == 0
    error_message = "actions must be restore, snapshot or both."
  }
}

variable "kms_key_arn" {
  description = "ARN of the KMS key that encrypts the archives, if one does."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null ? true : can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$", var.kms_key_arn))
    error_message = "kms_key_arn must be the ARN of a key (not an alias): arn:aws:kms:region:account:key/id."
  }
}

variable "versions" {
  description = "Whether restores may name a version (?versionId=)."
  type        = bool
  default     = true
}

variable "list_bucket" {
  description = "Whether to be told that an archive does not exist, rather than that access is denied. It also allows listing the keys of the whole bucket."
  type        = bool
  default     = false
}

variable "object_tags" {
  description = "Whether snapshots may set tags (burst snapshot --tag)."
  type        = bool
  default     = false
}

variable "tags" {
  description = "Tags of the policy."
  type        = map(string)
  default     = {}
}
