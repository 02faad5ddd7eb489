run "all_keys" {
  variables {
    restores = [{
      name          = "data"
      source        = "s3://my-bucket/data.zip?versionId=abc"
      path          = "/data"
      device        = "vol-0123456789abcdef0"
      wait_seconds  = 300
      label         = "data"
      mount_options = "noatime,nodev"
      sink          = "device"
      owner         = "www-data:www-data"
      required      = true
      order         = 1
      options = {
        region       = "eu-central-1"
        endpoint_url = "https://s3.example.com/"
        in_flight    = 32
        memory_mib   = 512
        ca_bundle    = "/etc/ssl/own.pem"
      }
      }, {
      source  = "s3://my-bucket/more.zip"
      path    = "/data/more"
      options = { paths = ["share", "lib"], no_sign_request = true }
    }]
    defaults = { wait_seconds = 600, options = { profile = "restore" } }
  }

  assert {
    condition     = startswith(output.cloud_config, "#cloud-config\n")
    error_message = "cloud-init knows cloud-config by its first line."
  }
  assert {
    condition     = base64decode(output.user_data_base64) == output.cloud_config
    error_message = "Alone, the cloud-config is the user data."
  }
  assert {
    condition     = yamldecode(output.cloud_config).burst.restores[0].options.in_flight == 32
    error_message = "Options must be there."
  }
  assert {
    condition = yamldecode(output.cloud_config).burst.restores[1] == {
      source  = "s3://my-bucket/more.zip"
      path    = "/data/more"
      options = { paths = ["share", "lib"], no_sign_request = true }
    }
    error_message = "A key that was not given must be absent, not null."
  }
  assert {
    condition     = yamldecode(output.cloud_config).burst.defaults == { wait_seconds = 600, options = { profile = "restore" } }
    error_message = "Defaults must be there."
  }
}

run "no_defaults" {
  variables {
    restores = [{ source = "s3://my-bucket/data.zip", path = "/data" }]
  }

  assert {
    condition     = keys(yamldecode(output.cloud_config).burst) == ["restores"]
    error_message = "Without defaults there is no such key."
  }
}
