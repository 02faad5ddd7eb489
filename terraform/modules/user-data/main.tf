# Typed restores to the user data that cloud-init's `burst` module reads. No resources, no provider.

locals {
  # A key that is null is one that was not given.
  restores = [for r in var.restores : {
    for key, value in merge(r, {
      options = r.options == null ? null : { for k, v in r.options : k => v if v != null }
    }) : key => value if value != null
  }]
  defaults = {
    for key, value in merge(var.defaults, {
      options = var.defaults.options == null ? null : { for k, v in var.defaults.options : k => v if v != null }
    }) : key => value if value != null
  }

  cloud_config = "#cloud-config\n${yamlencode({
    burst = merge({ restores = local.restores }, length(local.defaults) == 0 ? {} : { defaults = local.defaults })
  })}"

  parts = concat([{ content_type = "text/cloud-config", content = local.cloud_config }], var.extra_parts)
  # A digest of the parts cannot occur in them.
  boundary = sha256(jsonencode(local.parts))
  message = join("", concat(
    ["MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"${local.boundary}\"\n\n"],
    [for part in local.parts : join("\n", [
      "--${local.boundary}",
      "Content-Type: ${part.content_type}; charset=\"utf-8\"",
      "Content-Transfer-Encoding: base64",
      "",
      base64encode(part.content),
      "",
    ])],
    ["--${local.boundary}--\n"],
  ))

  # EC2 takes 16 KiB. Scripts in base64 would waste a quarter of that: the whole message is compressed, which cloud-init
  # undoes.
  user_data_base64 = length(var.extra_parts) == 0 ? base64encode(local.cloud_config) : base64gzip(local.message)
}
