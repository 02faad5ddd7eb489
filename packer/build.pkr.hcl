# One script for each task; each can be run by hand as root, and again.

build {
  sources = ["source.amazon-ebs.burst"]

  provisioner "shell" {
    inline = ["mkdir /tmp/burst-build"]
  }
  provisioner "file" {
    source      = var.burst_package
    destination = "/tmp/burst-build/${basename(var.burst_package)}"
  }
  provisioner "file" {
    source      = var.mkfs_btrfs_path
    destination = "/tmp/burst-build/mkfs.btrfs"
  }
  provisioner "shell" {
    execute_command = "chmod +x {{ .Path }}; sudo env {{ .Vars }} {{ .Path }}"
    environment_vars = [
      "FILES=/tmp/burst-build",
      "BURST_VERSION=${var.burst_version}",
    ]
    scripts = [
      "provision/packages.sh",
      "provision/burst.sh",
      "provision/validate.sh",
      "provision/clean.sh",
    ]
  }

  post-processor "manifest" {
    output     = "manifest.json"
    strip_path = true
    custom_data = {
      burst_version = var.burst_version
      distribution  = var.distribution
      architecture  = var.architecture
    }
  }
}
