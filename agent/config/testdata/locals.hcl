locals {
  a = "${local.b}x" # ERROR: local.a refers to itself
  b = local.c
  c = [local.a]
  self = local.self # ERROR: local.self refers to itself
  twice = 1
}

locals {
  twice = 2 # ERROR: local.twice is defined twice
  wrong = 1 + "x" # ERROR: invalid operand
  after = local.wrong # says nothing more
  inner { # ERROR: unknown block inner
  }
}

source "fake" "s" {
  issuer = local.after # says nothing more
}

token "t" {
  source  = source.fake.s # says nothing more
  subject = local.a
  lifetime = "1s" # ERROR: the lifetime is too short
  sink "fake" { path = "/srv/locals" }
}
