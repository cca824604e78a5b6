# A simple issuer for pilots: a collaboration signs with its own key and
# publishes the public half on a web server. Each CE gets a token of its own,
# because a CE accepts no token whose audience is not its own name and port.

locals {
  # Adding a CE is adding a line; the tokens of the others are left alone.
  ces = toset([
    "ce1.example.org",
    "ce2.example.org",
  ])
}

source "local_key" "ospool" {
  # Byte for byte the "issuer" of https://ospool.example.org/.well-known/openid-configuration:
  # a slash too many at its end, and every CE refuses the tokens.
  issuer = "https://ospool.example.org"

  # RSA of 2048 bits or more, or EC P-256: nothing else is allowed by the
  # profile. Owned by root and readable by nobody else.
  key_file = "/etc/tokenagent/keys/ospool.pem"

  # The "kid" of this key in the published JWKS. Verifiers keep the JWKS for up
  # to four days: publish a new key that long before signing with it.
  key_id = "2026-11"
}

token "pilot" {
  for_each = local.ces # pilot["ce1.example.org"], pilot["ce2.example.org"]
  source   = source.local_key.ospool
  profile  = "scitokens"

  # The CE's mapfile turns issuer and subject into an account:
  #   SCITOKENS /^https:\/\/ospool\.example\.org,ospool-pilot$/ osg
  subject  = "ospool-pilot"
  audience = ["${each.value}:9619"] # HTCondor-CE: exactly its host name and port
  scope    = ["condor:/READ", "condor:/WRITE"]
  lifetime = "1h"

  renew {
    # A pilot takes its token along when it is submitted: whenever that is, it
    # still finds this much life in it.
    min_remaining = "40m"
  }

  sink "file" {
    # The absfname of <credential type="scitoken" …> in the frontend's
    # configuration. The folder is the frontend's: root writes there as that user.
    path  = "/var/lib/gwms-frontend/tokens.d/${each.value}.scitoken"
    owner = "frontend" # who reads it; nobody else can (0600)
  }
}
