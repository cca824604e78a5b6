# Tokens of one issuer and key in one token directory: HTCondor uses the first by
# the bytes of the names alone.

source "fake" "cm" {
  issuer = "cm.example.org"
}

source "fake" "cm2" {
  issuer = "cm2.example.org"
}

source "fake" "same" {
  issuer = "cm.example.org"
}

token "read" {
  source  = source.fake.cm
  profile = "htcondor"
  sink "fake" { path = "/srv/tokens.d/token10" }
  sink "fake" { path = "/srv/tokens.d/zz" } # its own second file hides nothing from anybody
}

token "advertise" {
  source  = source.fake.same
  profile = "htcondor"
  sink "fake" { path = "/srv/x/../tokens.d/token9" } # ERROR: HTCondor would never use this token
  sink "fake" { path = "/srv/case/tokens.d/Z" }
}

token "late" {
  source  = source.fake.cm
  profile = "htcondor"
  sink "fake" { path = "/srv/case/tokens.d/a" } # ERROR: HTCondor would never use this token
}

# Another issuer, another reader, another directory, no directory of tokens, no
# IDTOKEN: none is hidden.
token "other" {
  source  = source.fake.cm2
  profile = "htcondor"
  sink "fake" { path = "/srv/tokens.d/c" }
}

token "free" {
  source  = source.fake.cm
  profile = "htcondor"
  sink "fake" {
    path = "/srv/tokens.d/everybodys"
    mode = "0400" # the reader of the fake is another user then
  }
  sink "fake" { path = "/srv/ce/tokens.d/d" }
  sink "fake" { path = "/srv/elsewhere/d" }
}

token "scitoken" {
  source  = source.fake.cm
  profile = "scitokens"
  sink "fake" { path = "/srv/tokens.d/zzz" }
}

token "each" {
  for_each = toset(["1", "2", "3"])
  source   = source.fake.cm
  profile  = "htcondor"
  sink "fake" { path = "/srv/each/tokens.d/${each.key}" } # ERROR: HTCondor would never use this token
}
