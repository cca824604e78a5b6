source "fake" "s" {
  issuer = "https://x"
}

token "no_name" {
  source = source.fake # ERROR: wrong type for source
  sink "fake" { path = "/srv/no_name" }
}

token "list" {
  for_each = ["a", "b"] # ERROR: wrong value for for_each
  source   = source.fake.s
  subject  = 5 # ERROR: wrong type for subject
  sink "fake" { path = "/srv/list-${each.key}" }
}

token "text" {
  for_each = "a" # ERROR: wrong value for for_each
  source   = source.fake.s
  sink "fake" { path = "/srv/text" }
}

token "null" {
  for_each = null # ERROR: wrong value for for_each
  source   = source.fake.s
  sink "fake" { path = "/srv/null" }
}

token "numbers" {
  for_each = toset([1, 2]) # ERROR: wrong value for for_each
  source   = source.fake.s
  sink "fake" { path = "/srv/numbers-${each.key}" }
}

token "keys" {
  for_each = { "a\tb" = 1 } # ERROR: wrong key in for_each
  source   = source.fake.s
  sink "fake" { path = "/srv/keys" }
}

token "itself" {
  for_each = toset([each.key]) # ERROR: each is not known here
  source   = source.fake.s
  sink "fake" { path = "/srv/itself" }
}

token "none" {
  for_each = toset([])
  source   = source.fake.s
  sink "fake" { path = "/srv/one" } # taken by nobody
}

token "empty" {
  for_each = toset([])
  source   = source.fake.s
  subject  = 5 # ERROR: wrong type for subject
  sink "fake" { path = "srv/empty" } # ERROR: path is a relative path
}

token "folders" {
  for_each = toset(["a/b", "fine"])
  source   = source.fake.s
  sink "fake" { path = "/srv/${each.value}" } # ERROR: a key of for_each changes the folder of path
}

token "parent" {
  for_each = { "..x" = "/etc" }
  source   = source.fake.s
  sink "fake" { path = "/srv/${each.key}" } # ERROR: a key of for_each changes the folder of path
  sink "fake" { path = "${each.value}/shadow" }
}

token "dot" {
  for_each = toset([".ssh"])
  source   = source.fake.s
  sink "fake" { path = format("/home/%s", each.key) } # ERROR: a key of for_each changes the folder of path
  sink "fake" { path = "/home/a${each.key}" }
}

token "rewritten" {
  for_each = { "a.b/c" = "d" }
  source   = source.fake.s
  sink "fake" { path = "/srv/${replace(each.key, ".", "-")}" } # ERROR: a key of for_each changes the folder of path
  sink "fake" { path = { "a.b/c" = "/srv/known/folder" }[each.key] }
}

token "one_path" {
  for_each = toset(["a", "b", "c"])
  source   = source.fake.s
  sink "fake" { path = "/srv/one" } # ERROR: the same path for several instances
}
