# A simple issuer for pilots: a collaboration signs with keys of its own and
# publishes their public halves on a web server. tokenagent makes the keys,
# publishes them and lets them take turns. Each CE gets a token of its own,
# because a CE accepts no token whose audience is not its own name and port.

locals {
  # Adding a CE is adding a line; the tokens of the others are left alone.
  ces = toset([
    "ce1.example.org",
    "ce2.example.org",
  ])
}

issuer "ospool" {
  # The claim "iss" of the tokens, byte for byte: a slash too many at its end,
  # and every CE refuses them.
  url = "https://ospool.example.org"

  # The private keys. An existing key is put in here: if the published document
  # holds it already, it goes on to sign.
  keys_dir = "/var/lib/tokenagent/issuers/ospool"

  # The folder that the web server shows at the URL.
  web_root = "/var/www/ospool"

  # A key signs for so long. Its successor is published at least four days
  # before it signs: so long verifiers may keep an old document.
  rotate_after = "180d"
}

token "pilot" {
  for_each = local.ces # pilot["ce1.example.org"], pilot["ce2.example.org"]
  source   = issuer.ospool
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
