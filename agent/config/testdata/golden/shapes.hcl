source "fake" "s" {
  issuer = "https://x"
	key_file	= "kéy.pem" # a tab before, and one in front of the equals sign
  /* 日本 */ size = "3"
  client_secret = "hunter2hunter2"
  share = "long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long "
}
token "pilot" {
  for_each = toset(["a/1", "a/2", "b"])
  source   = source.fake.t
  audience = ["${each.key}", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s", "t", "u", "v", "w", "x", "y", "z", 5, "after"]
  claims = {
    nothing = [
      null,
    ]
  }
  sink "fake" { path = "/srv/${each.key}" }
}
