source "fake" "s" {
  issuer = "https://x"
}

token "all" {
  for_each = toset(["a", "b", "c"])
  source   = source.fake.s
  audience = [each.key, 5]
  scope    = [1]
  sink "fake" { path = "srv/${each.key}" }
}

token "some" {
  for_each = { "a" = "/srv/a", "b" = "srv/b", "c" = 5 }
  source   = source.fake.s
  lifetime = each.key == "a" ? "1h" : "1s"
  sink "fake" { path = each.value }
}

token "other" {
  source = source.fake.s
  sink "fake" {
    path = "/srv/a"
    mode = "\u001b[31m"
  }
  sink "fake" { path = "\u0000" }
}
