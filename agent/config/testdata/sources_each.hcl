source "fake" "vo" {
  for_each = { cms = "https://cms", atlas = "https://atlas" }
  issuer   = each.value
}

source "fake" "one" {
  issuer = "https://one"
}

source "fake" "wrong" {
  for_each = ["a"]           # ERROR: wrong value for for_each
  issuer   = each.key
  sise     = 1               # ERROR: unknown attribute sise
  wait     = each.valu       # ERROR: unknown each.valu
}

source "fake" "values" {
  for_each = { a = "https://a", b = 5 }
  issuer   = each.value # ERROR: wrong type for issuer
}

source "fake" "none" {
  for_each = {}
  issuer   = each.value
  size     = 10 # ERROR: size is too large
}

source "fake" "early" {
  for_each = toset([each.key]) # ERROR: each is not known here
  issuer   = "https://early"
}

source "fake" "without" {
  issuer = each.key # ERROR: each is not known here
}

source "fake" "misspelt" {
  for_eech = toset(["a"]) # ERROR: unknown attribute for_eech
  issuer   = "https://x"
}

token "right" {
  for_each = toset(["cms", "atlas"])
  source   = source.fake.vo[each.key]
  sink "fake" { path = "/srv/right-${each.key}" }
}

token "literal" {
  source = source.fake.vo["cms"]
  sink "fake" { path = "/srv/literal" }
}

token "keyless" {
  source  = source.fake.vo # ERROR: wrong type for source
  sink "fake" { path = "/srv/keyless" }
}

token "missing" {
  for_each = toset(["cms", "lhcb"])
  source   = source.fake.vo[each.key] # ERROR: unknown source.fake.vo["lhcb"]
  sink "fake" { path = "/srv/missing-${each.key}" }
}

token "typo" {
  source = source.fake.vo["cmz"] # ERROR: unknown source.fake.vo["cmz"]
  sink "fake" { path = "/srv/typo" }
}

token "keyed" {
  source = source.fake.one["cms"] # ERROR: unknown source.fake.one["cms"]
  sink "fake" { path = "/srv/keyed" }
}

token "deeper" {
  source = source.fake.vo["cms"].issuer # ERROR: a source has no attributes to refer to
  sink "fake" { path = "/srv/deeper" }
}

token "of_none" {
  for_each = {}
  source   = source.fake.none[each.key]
  subject  = 5 # ERROR: wrong type for subject
  sink "fake" { path = "/srv/none-${each.key}" }
}

token "of_empty" {
  source = source.fake.none["a"] # ERROR: unknown source.fake.none["a"]
  sink "fake" { path = "/srv/empty" }
}

token "of_wrong" {
  source = source.fake.wrong["a"]
  sink "fake" { path = "/srv/of_wrong" }
}
