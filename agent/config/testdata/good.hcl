# Everything that is allowed, once. No line of it is a fault.

agent {
  name          = "site-1.example_org"
  state_dir     = "${path.config}/state"
  control       = "/run/tokenagent/control.sock"
  control_group = "operators"
  log_level     = "debug"
  log_format    = "json"
  require_all   = true
}

locals {
  later  = "${local.domain}."
  domain = "example.org"
  ces    = toset(["ce1.${local.domain}", "ce2.${local.domain}"])
  hosts  = { for i in range(3) : "h${i}" => "h${i}.${local.domain}" }
}

source "fake" "main" {
  issuer = "https://${local.domain}"
  size   = 9
  share  = 0.5
  wait   = "2d12h"
}

source "fake" "ce1.example.org" {
  issuer = "https://${env("SITE")}.${hostname()}"
}

token "plain" {
  source   = source.fake.main
  profile  = "wlcg"
  subject  = upper("robot")
  audience = concat(["https://a"], values(local.hosts))
  scope    = split(" ", "storage.read:/a storage.read:/b")
  lifetime = "1h30m"
  required = false
  claims = {
    "wlcg.groups" = ["/cms/Role=pilot", "/cms"]
    number        = 5
    share         = 0.5
    flag          = true
    inner         = { deep = [1, "two", { three = 3 }] }
  }

  renew {
    at            = 0.5
    min_remaining = "40m"
    cron          = "CRON_TZ=UTC 30 4 * * *"
  }

  sink "fake" {
    path       = path.discovery
    mode       = "0640"
    create_dir = true
  }
  sink "fake" {
    path = "/srv/./tokens/../tokens/plain"
    mode = null
  }
  hook "on_first" {
    command = ["/bin/true"]
  }
  hook "on_change" {
    command = ["/bin/true"]
  }
  hook "on_change" {
    command = ["/bin/true"]
  }
}

token "map" {
  for_each = local.hosts
  source   = source.fake[each.key == "h0" ? "main" : "ce1.example.org"]
  subject  = each.key
  audience = ["${each.value}:9619"]

  on_expired = "remove"
  on_remove  = "delete"

  sink "fake" { path = format("/srv/tokens/%s", each.key) }
  hook "on_failure" { command = ["/bin/logger", each.key] }
  hook "on_recover" { command = ["/bin/logger", local.domain] }
}

token "set" {
  for_each = local.ces
  source   = source.fake["main"]
  audience = [lower(each.value)]
  sink "fake" { path = "/srv/tokens/${replace(each.value, ".", "-")}" }
}

token "slash" {
  for_each = toset(["atlas/pilot"])
  source   = source.fake.main
  sink "fake" { path = "/srv/tokens/${replace(each.key, "/", "-")}" }
}

token "none" {
  for_each = toset([])
  source   = source.fake.main
  sink "fake" { path = "/srv/tokens/${each.key}" }
}
