source "fake" "s" {
  issuer = "https://x"
}

token "wrong" {
  source = source.fake.s
  sink "fake" { path = "/srv/wrong" }

  validate "twice" { # ERROR: missing attribute command # ERROR: validate with 1 labels
  }
  validate { # ERROR: a second validate block
    command = "/bin/true" # ERROR: wrong type for command
    comand  = []          # ERROR: unknown attribute comand
    hook "on_first" {     # ERROR: unknown block hook
    }
  }
}

token "no_sink" { # WARNING: no sink block
  source = source.fake.s
  validate { # ERROR: a validate block without a sink
    command = ["/bin/true"]
  }
}

token "instances" {
  for_each = { a = 1, b = "b" }
  source   = source.fake.s
  sink "fake" { path = "/srv/instances/${each.key}" }

  validate {
    command = [each.value] # ERROR: wrong type in command
  }
}
