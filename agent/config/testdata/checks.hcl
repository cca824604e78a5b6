source "fake" "s" {
  issuer = "https://x"
}

token "missing" { # ERROR: aud: it is missing
  source  = source.fake.s
  profile = "wlcg"
  sink "fake" { path = "/srv/missing" }
}

token "wrong" {
  source = source.fake.s
  scope  = ["odd"] # WARNING: scope: odd is unusual
  claims = {
    right = 1
    wrong = 2 # ERROR: wrong: it is never right
  }
  sink "fake" { path = "/srv/wrong" }
}

token "merged" {
  source = source.fake.s
  claims = merge({ wrong = 2 }, {}) # ERROR: wrong: it is never right
  sink "fake" { path = "/srv/merged" }
}

token "unkept" { # WARNING: no sink block
  source = source.fake.s
}
