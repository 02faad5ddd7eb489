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
      can(regex("^(vol-[0-9a-f]{17}|instance-store|/dev/[A-Za-z0-9/._:+-]+)$", r.device))
    ])
    error_message = "Each device must be a volume id (vol- and 17 hexadecimal digits), a path below /dev, or instance-store."
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
    condition     = alltrue([for r in var.restores : r.sink == "device" ? r.device != null : true])
    error_message = "A sink device needs a device: the blank one that becomes the file system."
  }
  validation {
    condition     = alltrue([for r in var.restores : r.order == null ? true : floor(r.order) == r.order])
    error_message = "order must be a whole number."
  }
  validation {
    condition     = alltrue([for r in var.restores : r.label == null ? true : can(regex("^[A-Za-z0-9_.:-]{1,255}$", r.label))])
    error_message = "Each label must be 1 to 255 letters, digits, dots, colons, dashes or underscores."
  }

  # What defaults may hold, too: one that is wrong would be found by the first boot.
  validation {
    condition     = alltrue([for r in concat(var.restores, [var.defaults]) : r.sink == null ? true : contains(["mount", "device"], r.sink)])
    error_message = "Each sink must be mount or device."
  }
  validation {
    condition = alltrue([for r in concat(var.restores, [var.defaults]) : r.wait_seconds == null ? true :
      r.wait_seconds >= 0 && r.wait_seconds <= 604800 && floor(r.wait_seconds) == r.wait_seconds
    ])
    error_message = "wait_seconds must be a whole number of seconds, 0 to 604800."
  }
  validation {
    condition     = alltrue([for r in concat(var.restores, [var.defaults]) : r.mount_options == null ? true : can(regex("^[^[:space:][:cntrl:]]+$", r.mount_options))])
    error_message = "mount_options must be separated by commas, without spaces."
  }
  validation {
    condition     = alltrue([for r in concat(var.restores, [var.defaults]) : r.owner == null ? true : can(regex("^[A-Za-z0-9_][A-Za-z0-9_.-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?$", r.owner))])
    error_message = "Each owner must be user or user:group, as names or numbers."
  }
  validation {
    condition = alltrue([for o in concat(var.restores, [var.defaults])[*].options : try(o.in_flight, null) == null ? true :
      o.in_flight >= 1 && o.in_flight <= 4096 && floor(o.in_flight) == o.in_flight
    ])
    error_message = "in_flight must be a whole number, 1 to 4096."
  }
  validation {
    condition = alltrue([for o in concat(var.restores, [var.defaults])[*].options : try(o.memory_mib, null) == null ? true :
      o.memory_mib >= 1 && floor(o.memory_mib) == o.memory_mib
    ])
    error_message = "memory_mib must be a whole number, 1 or more."
  }
  validation {
    condition = alltrue([for o in concat(var.restores, [var.defaults])[*].options : try(o.start_jitter_seconds, null) == null ? true :
      o.start_jitter_seconds >= 0 && o.start_jitter_seconds <= 86400 && floor(o.start_jitter_seconds) == o.start_jitter_seconds
    ])
    error_message = "start_jitter_seconds must be a whole number of seconds, 0 to 86400."
  }
  validation {
    condition = alltrue([for o in concat(var.restores, [var.defaults])[*].options : try(o.acl, null) == null ? true :
      contains(["require", "warn"], o.acl)
    ])
    error_message = "acl must be require or warn."
  }
  validation {
    condition = alltrue([for o in concat(var.restores, [var.defaults])[*].options : try(o.endpoint_url, null) == null ? true :
      can(regex("^https?://[^@/?#[:space:]]+/?$", o.endpoint_url))
    ])
    error_message = "endpoint_url must be http:// or https:// and a host, nothing more: user data is not secret."
  }
  validation {
    condition = alltrue([for o in concat(var.restores, [var.defaults])[*].options : try(o.region, null) == null ? true :
      can(regex("^[a-z0-9-]+$", o.region))
    ])
    error_message = "region must look like eu-central-1."
  }
  validation {
    condition = alltrue([for o in concat(var.restores, [var.defaults])[*].options : try(o.profile, null) == null ? true :
      o.profile != ""
    ])
    error_message = "profile must be the name of a profile in the image."
  }
  validation {
    condition = alltrue([for o in concat(var.restores, [var.defaults])[*].options : try(o.ca_bundle, null) == null ? true :
      startswith(o.ca_bundle, "/")
    ])
    error_message = "ca_bundle must be the absolute path of a PEM file in the image."
  }
  validation {
    condition = alltrue([for o in concat(var.restores, [var.defaults])[*].options : try(o.paths, null) == null ? true :
      length(o.paths) > 0 && !contains(o.paths, "")
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
