variable "restores" {
  description = "What to restore at boot. `source` and `path` are needed; `device` is a volume id, an EC2 device name, a link in /dev/disk/by-id or `instance-store`, and makes `path` its mount point. The other keys are those of the `burst:` section of cloud-init; what is null is left out."
  type = list(object({
    name          = optional(string)
    source        = string
    path          = string
    device        = optional(string)
    wait_seconds  = optional(number)
    label         = optional(string)
    mount_options = optional(string)
    sink          = optional(string)
    owner         = optional(string)
    required      = optional(bool)
    order         = optional(number)
    options = optional(object({
      region               = optional(string)
      endpoint_url         = optional(string)
      profile              = optional(string)
      in_flight            = optional(number)
      memory_mib           = optional(number)
      paths                = optional(list(string))
      ca_bundle            = optional(string)
      no_sign_request      = optional(bool)
      start_jitter_seconds = optional(number)
      acl                  = optional(string)
    }))
  }))

  validation {
    condition     = length(var.restores) > 0
    error_message = "There must be at least one restore."
  }
  validation {
    condition     = alltrue([for r in var.restores : can(regex("^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/[^/]", r.source))])
    error_message = "Each source must be an S3 object: s3://bucket/key, with ?versionId=... for one version of it."
  }
  validation {
    condition     = alltrue([for r in var.restores : can(regex("^(/[^/[:cntrl:]]+)+$", r.path)) && !can(regex("/\\.{1,2}(/|$)", r.path))])
    error_message = "Each path must be absolute, other than /, and without //, /./, /../ or a slash at its end."
  }
  validation {
    condition     = length(distinct(var.restores[*].path)) == length(var.restores)
    error_message = "Each path may be restored once."
  }
  validation {
    condition = alltrue([for r in var.restores : r.device == null ? true :
      can(regex("^(vol-[0-9a-f]{8,17}|instance-store|/dev/[A-Za-z0-9/._:+-]+)$", r.device))
    ])
    error_message = "Each device must be a volume id (vol-...), a path below /dev, or instance-store."
  }
  validation {
    condition     = length(distinct(compact(var.restores[*].device))) == length(compact(var.restores[*].device))
    error_message = "Each device may be used once."
  }
  validation {
    condition     = alltrue([for n in compact(var.restores[*].name) : can(regex("^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$", n))])
    error_message = "Each name must be 1 to 64 letters, digits, dots, dashes or underscores, and begin with a letter or digit."
  }
  validation {
    condition     = length(distinct(compact(var.restores[*].name))) == length(compact(var.restores[*].name))
    error_message = "Names must differ."
  }
  validation {
    condition     = alltrue([for r in var.restores : r.sink == null ? true : contains(["mount", "device"], r.sink)])
    error_message = "Each sink must be mount or device."
  }
  validation {
    condition     = alltrue([for r in var.restores : r.sink == "device" ? r.device != null : true])
    error_message = "A sink device needs a device: the blank one that becomes the file system."
  }
  validation {
    condition = alltrue([for r in var.restores : alltrue([for n in [r.wait_seconds, r.order] :
      n == null ? true : n >= 0 && floor(n) == n
    ])])
    error_message = "wait_seconds and order must be whole numbers, 0 or more."
  }
  validation {
    condition = alltrue([for r in var.restores : r.options == null ? true : alltrue([
      for n in [r.options.in_flight, r.options.memory_mib] : n == null ? true : n >= 1 && floor(n) == n
    ])])
    error_message = "in_flight and memory_mib must be whole numbers, 1 or more."
  }
  validation {
    condition = alltrue([for r in var.restores : try(r.options.start_jitter_seconds, null) == null ? true :
      r.options.start_jitter_seconds >= 0 && r.options.start_jitter_seconds <= 86400 && floor(r.options.start_jitter_seconds) == r.options.start_jitter_seconds
    ])
    error_message = "start_jitter_seconds must be a whole number of seconds, 0 to 86400."
  }
  validation {
    condition = alltrue([for r in concat([for r in var.restores : r.options], [var.defaults.options]) :
      try(r.acl, null) == null ? true : contains(["require", "warn"], r.acl)
    ])
    error_message = "acl must be require or warn."
  }
  validation {
    condition     = alltrue([for r in var.restores : r.label == null ? true : can(regex("^[A-Za-z0-9_.:-]{1,255}$", r.label))])
    error_message = "Each label must be 1 to 255 letters, digits, dots, colons, dashes or underscores."
  }
  validation {
    condition     = alltrue([for r in var.restores : r.mount_options == null ? true : can(regex("^[^[:space:][:cntrl:]]+$", r.mount_options))])
    error_message = "mount_options must be separated by commas, without spaces."
  }
  validation {
    condition     = alltrue([for r in var.restores : r.owner == null ? true : can(regex("^[A-Za-z0-9_][A-Za-z0-9_.-]*:[A-Za-z0-9_][A-Za-z0-9_.-]*$", r.owner))])
    error_message = "Each owner must be user:group, as names or numbers."
  }
  validation {
    condition = alltrue([for r in var.restores : try(r.options.endpoint_url, null) == null ? true :
      can(regex("^https?://[^@/?#[:space:]]+/?$", r.options.endpoint_url))
    ])
    error_message = "endpoint_url must be http:// or https:// and a host, nothing more: user data is not secret."
  }
  validation {
    condition = alltrue([for r in var.restores : try(r.options.region, null) == null ? true :
      can(regex("^[a-z0-9-]+$", r.options.region))
    ])
    error_message = "region must look like eu-central-1."
  }
  validation {
    condition = alltrue([for r in var.restores : try(r.options.ca_bundle, null) == null ? true :
      startswith(r.options.ca_bundle, "/")
    ])
    error_message = "ca_bundle must be the absolute path of a PEM file in the image."
  }
  validation {
    condition = alltrue([for r in var.restores : try(r.options.paths, null) == null ? true :
      length(r.options.paths) > 0 && !contains(r.options.paths, "")
    ])
    error_message = "paths must be a list of paths within the archive, one at least."
  }
}

variable "defaults" {
  description = "What holds for each restore that does not say otherwise."
  type = object({
    wait_seconds  = optional(number)
    mount_options = optional(string)
    sink          = optional(string)
    owner         = optional(string)
    required      = optional(bool)
    options = optional(object({
      region               = optional(string)
      endpoint_url         = optional(string)
      profile              = optional(string)
      in_flight            = optional(number)
      memory_mib           = optional(number)
      paths                = optional(list(string))
      ca_bundle            = optional(string)
      no_sign_request      = optional(bool)
      start_jitter_seconds = optional(number)
      acl                  = optional(string)
    }))
  })
  default = {}

  validation {
    condition     = var.defaults.wait_seconds == null ? true : var.defaults.wait_seconds >= 0 && floor(var.defaults.wait_seconds) == var.defaults.wait_seconds
    error_message = "defaults.wait_seconds must be a whole number, 0 or more."
  }
  validation {
    condition     = var.defaults.sink == null ? true : contains(["mount", "device"], var.defaults.sink)
    error_message = "defaults.sink must be mount or device."
  }
  validation {
    condition = try(var.defaults.options.start_jitter_seconds, null) == null ? true : (
      var.defaults.options.start_jitter_seconds >= 0 && var.defaults.options.start_jitter_seconds <= 86400
      && floor(var.defaults.options.start_jitter_seconds) == var.defaults.options.start_jitter_seconds
    )
    error_message = "defaults.options.start_jitter_seconds must be a whole number of seconds, 0 to 86400."
  }
}

variable "extra_parts" {
  description = "More user data beside BURST's: scripts, cloud-config. With any, the user data becomes a MIME multi-part message."
  type = list(object({
    content_type = string
    content      = string
  }))
  default = []

  validation {
    condition     = alltrue([for p in var.extra_parts : contains(["text/x-shellscript", "text/cloud-config", "text/cloud-boothook", "text/jinja2"], p.content_type)])
    error_message = "content_type must be text/x-shellscript, text/cloud-config, text/cloud-boothook or text/jinja2."
  }
}
