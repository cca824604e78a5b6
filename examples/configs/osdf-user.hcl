# A user of OSDF, or of another Pelican federation, who has the key of the issuer
# of a namespace: a token where pelican, xrdcp and gfal find it by themselves.
#
#   tokenagent run --config FOLDER/tokenagent.hcl         as that user, for as long as data is used
#   pelican object get pelican://osg-htc.org/example/file .
#
# Or a token for one command alone, which then finds it in BEARER_TOKEN_FILE:
#
#   tokenagent exec --config FOLDER/tokenagent.hcl -- pelican object get …

source "local_key" "namespace" {
  issuer   = "https://origin.example.org:8443" # CHANGE: as the Director names it for the namespace, byte for byte
  key_file = "${path.config}/key.pem"          # CHANGE: or /etc/pelican/issuer.jwk, on the origin itself
}

token "data" {
  source   = source.local_key.namespace
  profile  = "wlcg"
  subject  = "alice" # CHANGE
  audience = ["https://wlcg.cern.ch/jwt/v1/any"]

  # CHANGE: paths below the namespace's prefix: /example/alice/x is "/alice/x" in
  # the namespace /example. To replace files too takes storage.modify.
  scope    = ["storage.read:/", "storage.create:/alice"]
  lifetime = "1h"

  renew {
    # A transfer is authorized when it begins, and its caches give no leeway: it
    # begins with a token that lives for this long at least.
    min_remaining = "20m"
  }

  sink "file" {
    path = path.discovery # $XDG_RUNTIME_DIR/bt_uUID, else /tmp/bt_uUID: WLCG Bearer Token Discovery
  }
}
