locals {
  site  = "north"
  copy  = local.sit      # ERROR: unknown local.sit
  bad   = source.fake.s  # ERROR: a source cannot be used here
  early = each.key       # ERROR: each is not known here
  all   = local          # ERROR: local without a name
}

source "fake" "s" {
  issuer = local.copy
}

source "fake" "t" {
  issuer = path.cofig # ERROR: unknown path.cofig
}

source "fake" "u" {
  issuer = path.credentials # ERROR: path.credentials is not known here
}

token "a" {
  source  = source.fake.unknown # ERROR: unknown source.fake.unknown
  profile = wlcg                # ERROR: unknown name wlcg
  subject = locals.site         # ERROR: unknown name locals
  sink "fake" { path = "/srv/${local.sight}" } # ERROR: unknown local.sight
}

token "b" {
  source = "source.fake.s" # ERROR: wrong type for source
  sink "fake" { path = "/srv/b" }
}

token "d" {
  source  = source.fake.s.issuer # ERROR: a source has no attributes to refer to
  subject = source.fake.s        # ERROR: a source cannot be used here
  sink "fake" { path = "/srv/${each.key}" } # ERROR: each is not known here
}

token "e" {
  for_each = toset(["s", "missing"])
  source   = source.fake[each.key] # ERROR: unknown source.fake.missing
  subject  = each.name             # ERROR: unknown each.name
  audience = [local.site.north]    # ERROR: unsupported attribute
  sink "fake" { path = "/srv/e-${each.key}" }
}

token "f" {
  source = source[local.site].s # ERROR: source without a kind
  sink "fake" { path = "/srv/f" }
}

token "g" {
  source = source.fak["s"] # ERROR: unknown source.fak.s
  sink "fake" { path = "/srv/g" }
}
