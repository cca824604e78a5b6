# A pod in which containers read a storage token, as they do with OSG's token
# operator: the agent runs beside them, signs with a key from a Secret, and writes
# the token into a folder that they share. packaging/kubernetes has the manifests
# around this file; what it says there of paths is theirs.

source "local_key" "osdf" {
  issuer   = "https://issuer.example.com/" # CHANGE: as its metadata says it, to the last slash
  key_id   = "my-jwt-key"                  # CHANGE: its "kid" in the issuer's JWKS
  key_file = "/var/run/secrets/tokenagent/key.pem"
}

token "storage" {
  source   = source.local_key.osdf
  profile  = "wlcg"     # sets wlcg.ver
  subject  = "john.doe" # CHANGE
  audience = ["https://wlcg.cern.ch/jwt/v1/any"]
  scope    = ["storage.read:/", "storage.create:/"] # CHANGE
  lifetime = "1h"                                   # the agent is always there: a day, as with the operator, is not needed

  sink "file" {
    # BEARER_TOKEN_FILE of the containers that read it. They run as the user that
    # the agent runs as, who alone can read it (0600): XRootD's client takes no other.
    path = "/var/run/secrets/jwt/token"
  }
}
