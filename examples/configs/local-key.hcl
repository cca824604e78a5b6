# A signing key of your own and one storage token of an hour, to start from.
#
# Change the lines marked CHANGE, then:
#
#   tokenagent check      every fault of this file at once, against the rules of the profile
#   tokenagent once       writes the token now
#   tokenagent run        keeps it fresh
#
# key.pem beside this file signs the tokens: whoever can read it can make any
# token of this issuer. `tokenagent key public key.pem` prints the half that the
# issuer publishes in its JWKS.

source "local_key" "site" {
  issuer   = "https://tokens.example.org" # CHANGE: as the issuer's metadata says it, to the last slash
  key_file = "${path.config}/key.pem"
  # key_id = "2026-11"                    # default: the thumbprint of the key (RFC 7638)
}

token "storage" {
  source   = source.local_key.site
  profile  = "wlcg"                              # or "scitokens"; sets the version claim and checks the rest
  subject  = "robot"                             # CHANGE: whom the token stands for
  audience = ["https://wlcg.cern.ch/jwt/v1/any"] # CHANGE: the service that it is for
  scope    = ["storage.read:/data"]              # CHANGE: what it allows
  lifetime = "1h"                                # renewed after half of it

  sink "file" {
    path = "${path.config}/tokens/storage" # CHANGE: where its reader looks (BEARER_TOKEN_FILE)
    # owner = "robot"                      # CHANGE: who reads it; nobody else can (0600)

    create_dir = true # makes the last folder of path
  }
}
