# One token that lives for a minute, so that its renewal can be watched:
#
#   tokenagent run --config .quickstart/tokenagent.hcl      keeps it fresh
#   tokenagent status --config .quickstart/tokenagent.hcl   what it does, from another terminal
#   tokenagent token inspect .quickstart/token              what the token says
#
# Everything it needs and makes lies in the folder of this file; delete the
# folder, and nothing is left.

agent {
  state_dir = "${path.config}/state"
  control   = "${path.config}/control.sock"
}

source "local_key" "quickstart" {
  issuer   = "https://quickstart.example.org" # nobody publishes this key: good for looking at, not for use
  key_file = "${path.config}/key.pem"
}

token "quickstart" {
  source   = source.local_key.quickstart
  profile  = "wlcg"
  subject  = "quickstart"
  audience = ["https://wlcg.cern.ch/jwt/v1/any"] # any service that accepts WLCG tokens
  scope    = ["storage.read:/"]
  lifetime = "1m" # renewed after half of it; an hour is usual, so check warns of this one

  sink "file" {
    path = "${path.config}/token"
  }
}
