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

# What cannot be read is not checked a second time; all else is.
token "both" {
  source   = source.fake.s
  profile  = "wlcg"
  audeince = ["x"] # ERROR: unknown attribute audeince
  claims   = { wrong = 1 } # ERROR: wrong: it is never right
  sink "fake" { path = "/srv/both" }
}

token "half" { # ERROR: aud: it is missing
  source  = source.fake.s
  profile = "wlcg"
  subject = 5 # ERROR: wrong type for subject
  claims  = { right = 1, wrong = null } # ERROR: wrong value in claims
  scope   = ["odd", 1] # ERROR: wrong type in scope
  sink "fake" { path = "/srv/half" }
}

token "twice" {
  source = source.fake.s
  claims = { a = 1, "a" = 2 } # ERROR: claims has a twice
  sink "fake" { path = "/srv/claim-twice" }
}

token "unkept" { # WARNING: no sink block
  source = source.fake.s
}
