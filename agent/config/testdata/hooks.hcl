source "fake" "s" {
  issuer = "https://x"
}

token "events" {
  source     = source.fake.s
  on_expired = "delete" # ERROR: unknown on_expired "delete"
  on_remove  = "remov"  # ERROR: unknown on_remove "remov"
  sink "fake" { path = "/srv/events" }

  hook "on_frist" { # ERROR: unknown event "on_frist"
    command = ["/bin/true"]
  }
  hook "daily" { # ERROR: unknown event "daily"
    comand = ["/bin/true"] # ERROR: unknown attribute comand
  }
  hook "on_first" "twice" { # ERROR: hook with 2 labels # ERROR: missing attribute command
  }
  hook "on_change" { # ERROR: missing attribute command
  }
  hook "on_change" {
    command = "/bin/true" # ERROR: wrong type for command
    sink "fake" {         # ERROR: unknown block sink
    }
  }
}

token "no_sink" { # WARNING: no sink block
  source = source.fake.s
  hook "on_first" { # ERROR: a hook without a sink
    command = ["/bin/true"]
  }
}

token "instances" {
  for_each = { a = 1, b = "b" }
  source   = source.fake.s
  sink "fake" { path = "/srv/instances/${each.key}" }

  hook "on_chance" { # ERROR: unknown event "on_chance"
    command = [1]    # ERROR: wrong type in command
  }
  hook "on_change" {
    command = [each.value] # ERROR: wrong type in command
  }
  hook "on_change" {
    command = [each.name] # ERROR: unknown each.name
  }
}

token "nobody" {
  for_each = toset([])
  source   = source.fake.s
  sink "fake" { path = "/srv/nobody/${each.key}" }
  hook "on_first" {
    command = [each.key, local.missing] # ERROR: unknown local.missing
  }
}

token "expiring" {
  source   = source.fake.s
  lifetime = "1h"
  sink "fake" { path = "/srv/expiring" }

  hook "on_expiring" {
    before  = "30m" # ERROR: before is too long for the lifetime
    command = ["/bin/true"]
  }
  hook "on_expiring" {
    before  = "29m"
    command = ["/bin/true"]
  }
}

token "expiring_later" {
  for_each = { a = "50m", b = "30m" }
  source   = source.fake.s
  lifetime = "1h"
  renew { min_remaining = "45m" }
  sink "fake" { path = "/srv/expiring/${each.key}" }

  hook "on_expiring" {
    before  = each.value # ERROR: before is too long for the lifetime
    command = ["/bin/true"]
  }
}
