provider "aws" {
  region = var.region

  default_tags {
    tags = { Project = "burst-instance-store" }
  }
}

module "archives" {
  source = "../../modules/archive-bucket"

  bucket = var.bucket
  gateway_endpoint = {
    vpc_id          = var.vpc_id
    route_table_ids = var.route_table_ids
  }
}

module "may_restore" {
  source = "../../modules/restore-policy"

  name       = "burst-instance-store-restore"
  bucket_arn = module.archives.arn
  keys       = [var.key]
}

module "fleet" {
  source = "../../modules/fleet"

  name               = "burst-instance-store"
  ami_id             = var.ami_id
  instance_type      = "i4i.xlarge"
  subnet_ids         = var.subnet_ids
  security_group_ids = var.security_group_ids
  policy_arns        = [module.may_restore.arn]
  size               = { min = 1, max = 10 }

  # All disks of the instance as one BTRFS (RAID 0). They are blank after each stop, and restored again.
  restores = [{
    source = "s3://${module.archives.bucket}/${var.key}?versionId=${var.archive_version}"
    device = "instance-store"
    path   = "/scratch"
  }]
}
