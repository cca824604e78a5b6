source "fake" "a" {
  issuer = env("API_TOKEN") # ERROR: invalid function argument
}

source "fake" "b" {
  issuer = env("NOT_SET") # ERROR: invalid function argument
}

source "fake" "c" {
  issuer = fqdn() # ERROR: error in function call
}

source "fake" "d" {
  issuer = loewr("X") # ERROR: call to unknown function
}

source "fake" "e" {
  issuer = templatefile("/etc/shadow", {}) # ERROR: call to unknown function
}

source "fake" "f" {
  issuer = join(",", range(2000)) # ERROR: error in function call
}

token "t" {
  source = source.fake.a
  sink "fake" { path = "/srv/functions" }
}
