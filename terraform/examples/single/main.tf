provider "aws" {
  region = var.region

  default_tags {
    tags = { Project = "burst-single" }
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

  name       = "burst-single-restore"
  bucket_arn = module.archives.arn
  keys       = [var.key]
}

module "host" {
  source = "../../modules/instance"

  name               = "burst-single"
  ami_id             = var.ami_id
  instance_type      = "m7g.large"
  subnet_id          = var.subnet_id
  availability_zone  = var.availability_zone
  security_group_ids = var.security_group_ids
  policy_arns        = [module.may_restore.arn]

  volumes = {
    "/dev/sdf" = { size_gib = 200, throughput = 500, iops = 4000 }
  }
  restores = [{
    source = "s3://${module.archives.bucket}/${var.key}"
    device = "/dev/sdf"
    path   = "/data"
  }]
}
