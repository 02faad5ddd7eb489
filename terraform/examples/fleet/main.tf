provider "aws" {
  region = var.region

  default_tags {
    tags = { Project = "burst-fleet" }
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

  name       = "burst-fleet-restore"
  bucket_arn = module.archives.arn
  keys       = [var.key]
}

module "fleet" {
  source = "../../modules/fleet"

  name               = "burst-fleet"
  ami_id             = var.ami_id
  instance_type      = "m7g.2xlarge"
  subnet_ids         = var.subnet_ids
  security_group_ids = var.security_group_ids
  policy_arns        = [module.may_restore.arn]
  size               = { min = 3, max = 30 }

  volumes = {
    "/dev/sdf" = { size_gib = 100, throughput = 500, iops = 4000 }
  }
  restores = [{
    source = "s3://${module.archives.bucket}/${var.key}?versionId=${var.archive_version}"
    device = "/dev/sdf"
    path   = "/data"
    sink   = "device"
  }]
}
