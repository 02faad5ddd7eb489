# From which image, on which instance.

locals {
  # Names as their distributors give them; each has one owner, so that nobody else's image of that name is taken.
  sources = {
    "debian-12" = {
      owner = "136693071363"
      user  = "admin"
      name  = { x86_64 = "debian-12-amd64-*", arm64 = "debian-12-arm64-*" }
    }
    "ubuntu-24.04" = {
      owner = "099720109477"
      user  = "ubuntu"
      name = {
        x86_64 = "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-*"
        arm64  = "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-arm64-server-*"
      }
    }
    "al2023" = {
      owner = "amazon"
      user  = "ec2-user"
      name  = { x86_64 = "al2023-ami-2023.*-x86_64", arm64 = "al2023-ami-2023.*-arm64" }
    }
  }
  source        = local.sources[var.distribution]
  instance_type = var.instance_type != "" ? var.instance_type : var.architecture == "arm64" ? "t4g.small" : "t3.small"
  time          = formatdate("YYYYMMDD-hhmmss", timestamp())

  tags = merge(var.tags, {
    Name                 = "burst-${var.burst_version}-${var.distribution}-${var.architecture}"
    "burst:version"      = var.burst_version
    "burst:distribution" = var.distribution
    "burst:architecture" = var.architecture
    "burst:source-ami"   = "{{ .SourceAMI }}"
    "burst:source-name"  = "{{ .SourceAMIName }}"
  })
}

source "amazon-ebs" "burst" {
  region              = var.region
  custom_endpoint_ec2 = var.custom_endpoint_ec2
  instance_type       = local.instance_type
  subnet_id           = var.subnet_id
  ssh_username        = local.source.user
  ena_support         = true

  temporary_security_group_source_cidrs = var.ssh_source_cidrs

  source_ami_filter {
    most_recent = true
    owners      = [var.source_ami_owner != "" ? var.source_ami_owner : local.source.owner]
    filters = {
      name                = local.source.name[var.architecture]
      architecture        = var.architecture
      root-device-type    = "ebs"
      virtualization-type = "hvm"
    }
  }

  # IMDSv2 alone: for the build, and for all instances of the image.
  imds_support = "v2.0"
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  launch_block_device_mappings {
    device_name           = var.distribution == "ubuntu-24.04" ? "/dev/sda1" : "/dev/xvda"
    volume_type           = "gp3"
    volume_size           = var.root_volume_gib
    throughput            = var.root_volume_throughput
    iops                  = var.root_volume_iops
    delete_on_termination = true
  }

  ami_name           = "burst-${var.burst_version}-${var.distribution}-${var.architecture}-${local.time}"
  ami_description    = "BURST ${var.burst_version} on ${var.distribution}, ${var.architecture}"
  encrypt_boot       = true
  kms_key_id         = var.kms_key_id
  ami_regions        = var.ami_regions
  region_kms_key_ids = var.region_kms_key_ids
  ami_users          = var.ami_users
  snapshot_users     = var.ami_users
  tags               = local.tags
  snapshot_tags      = local.tags
  run_tags           = { Name = "packer-burst" }
  run_volume_tags    = { Name = "packer-burst" }

  # A key pair for this build alone, which clean.sh takes out of the image again.
  temporary_key_pair_type = "ed25519"
}
