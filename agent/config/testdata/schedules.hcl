source "fake" "s" {
  issuer = "https://x"
}

token "early" {
  source = source.fake.s
  renew {
    at            = 0.01  # ERROR: at is out of range
    min_remaining = "58m" # ERROR: min_remaining is too long for the lifetime
    cron          = "30 4 30 2 *" # ERROR: cron is not a schedule
  }
  sink "fake" { path = "/srv/early" }
}

token "late" {
  source   = source.fake.s
  lifetime = "1m"
  renew {
    at            = 0.96 # ERROR: at is out of range
    min_remaining = "51s" # ERROR: min_remaining is too long for the lifetime
    cron          = "TZ=UTC" # ERROR: cron is not a schedule
  }
  sink "fake" { path = "/srv/late" }
}

token "wrong" {
  source = source.fake.s
  renew {
    min_remaining = "0s" # ERROR: min_remaining is zero
    cron          = "every day" # ERROR: cron is not a schedule
  }
  renew { # ERROR: a second renew block
  }
  sink "fake" { path = "/srv/wrong" }
}

token "types" {
  source = source.fake.s
  renew {
    at    = "0.5" # ERROR: wrong type for at
    crown = "* * * * *" # ERROR: unknown attribute crown
  }
  sink "fake" { path = "/srv/types" }
}

token "just" {
  source   = source.fake.s
  lifetime = "1m"
  renew {
    at            = 0.95
    min_remaining = "50s"
    cron          = "*/5 * * * *"
  }
  sink "fake" { path = "/srv/just" }
}
