# What is built. (Checks use functions that Packer 1.6 knows: not regexall, not can(regex()).)

variable "distribution" {
  description = "Debian 12, Ubuntu 24.04 or Amazon Linux 2023. See README.md for what was tried of each."
  type        = string
  default     = "debian-12"

  validation {
    condition     = contains(["debian-12", "ubuntu-24.04", "al2023"], var.distribution)
    error_message = "The distribution must be debian-12, ubuntu-24.04 or al2023."
  }
}

variable "architecture" {
  description = "Architecture of the image and of the program."
  type        = string
  default     = "x86_64"

  validation {
    condition     = contains(["x86_64", "arm64"], var.architecture)
    error_message = "The architecture must be x86_64 or arm64."
  }
}

variable "burst_package" {
  description = "The package with the program, the cloud-init module and the units, for the architecture: a .deb, for al2023 a .rpm. cloud-init/package/build makes both."
  type        = string

  validation {
    condition     = length(var.burst_package) > 4 && regex_replace(var.burst_package, "\\.(deb|rpm)$", "") != var.burst_package
    error_message = "The burst_package must be the path of a .deb or .rpm."
  }
}

variable "burst_version" {
  description = "Version of the program, for names and tags; validate.sh compares it with what the program says."
  type        = string

  validation {
    condition     = var.burst_version != "" && regex_replace(var.burst_version, "^[0-9]+\\.[0-9]+\\.[0-9]+$", "") == ""
    error_message = "The burst_version must look like 1.2.3."
  }
}

variable "mkfs_btrfs_path" {
  description = "A mkfs.btrfs without shared libraries, for distributions without btrfs-progs (al2023). Others ignore it."
  type        = string
  default     = "/dev/null"
}

# Where and how it is built.

variable "region" {
  description = "Region of the build."
  type        = string

  validation {
    condition     = var.region != "" && regex_replace(var.region, "^[a-z]{2}(-[a-z]+)+-[0-9]$", "") == ""
    error_message = "The region must look like eu-central-1."
  }
}

variable "instance_type" {
  description = "Type of the build's instance; by default a small one of the architecture."
  type        = string
  default     = ""
}

variable "subnet_id" {
  description = "Subnet of the build's instance; by default one of the default VPC."
  type        = string
  default     = ""

  validation {
    condition     = regex_replace(var.subnet_id, "^(subnet-[0-9a-f]+)?$", "") == ""
    error_message = "The subnet_id must be the id of a subnet: subnet-..."
  }
}

variable "ssh_source_cidrs" {
  description = "Where SSH to the build's instance may come from: best the addresses of who builds."
  type        = list(string)
  default     = ["0.0.0.0/0"]
}

variable "source_ami_owner" {
  description = "Account that the source image must belong to; by default the distributor's."
  type        = string
  default     = ""

  validation {
    condition     = regex_replace(var.source_ami_owner, "^([0-9]{12}|self|amazon)?$", "") == ""
    error_message = "The source_ami_owner must be an account of 12 digits, self or amazon."
  }
}

variable "custom_endpoint_ec2" {
  description = "Another address of the EC2 API, for private clouds and tests."
  type        = string
  default     = ""
}

# What the image is like.

variable "root_volume_gib" {
  description = "Size of the root volume in GiB."
  type        = number
  default     = 8

  validation {
    condition     = var.root_volume_gib >= 8 && var.root_volume_gib <= 16384
    error_message = "The root_volume_gib must lie between 8 and 16384."
  }
}

variable "root_volume_throughput" {
  description = "Throughput of the root volume (gp3) in MiB/s."
  type        = number
  default     = 125

  validation {
    condition     = var.root_volume_throughput >= 125 && var.root_volume_throughput <= 1000
    error_message = "The root_volume_throughput must lie between 125 and 1000."
  }
}

variable "root_volume_iops" {
  description = "IOPS of the root volume (gp3); 4 are needed for each MiB/s."
  type        = number
  default     = 3000

  validation {
    condition     = var.root_volume_iops >= 3000 && var.root_volume_iops <= 16000
    error_message = "The root_volume_iops must lie between 3000 and 16000."
  }
}

variable "kms_key_id" {
  description = "KMS key that encrypts the image; by default the account's key for EBS. An image with the latter cannot be shared."
  type        = string
  default     = ""
}

variable "ami_regions" {
  description = "More regions that get the image."
  type        = list(string)
  default     = []
}

variable "region_kms_key_ids" {
  description = "KMS key of each of these regions and of the build's, if they get keys of their own."
  type        = map(string)
  default     = {}
}

variable "ami_users" {
  description = "Accounts that may use the image. They need kms_key_id to be a key that they may use."
  type        = list(string)
  default     = []

  validation {
    condition     = length([for a in var.ami_users : a if a == "" || regex_replace(a, "^[0-9]{12}$", "") != ""]) == 0
    error_message = "The ami_users must be accounts of 12 digits."
  }
}

variable "tags" {
  description = "More tags of the image and its snapshots."
  type        = map(string)
  default     = {}
}
