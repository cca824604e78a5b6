agent {
}

agent { # ERROR: a second agent block
}

source "fake" "s" {
  issuer   = "https://x"
  key_file = "/srv/keys/s"
}

source "fake" "s" { # ERROR: source.fake.s is defined twice
  issuer = "https://y"
}

token "t" {
  source = source.fake.s
  sink "fake" { path = "/srv/twice" }
  sink "fake" { path = "/srv/./twice" } # ERROR: duplicate path
}

token "t" { # WARNING: no sink block # ERROR: token "t" is defined twice
  source = source.fake.s
}

token "u" {
  source = source.fake.s
  sink "fake" { path = "/srv/x/../twice" } # ERROR: duplicate path
  sink "fake" { path = "/srv/keys/s" } # ERROR: a token would replace a file that is read
  sink "fake" { path = "${path.config}/twice.hcl" } # ERROR: a token would replace a file that is read
}
