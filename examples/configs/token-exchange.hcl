# A pod in Kubernetes that exchanges its own identity for a token of a storage
# issuer (RFC 8693), as a sidecar. No secret of its own, if the issuer trusts the
# cluster; the kubelet keeps the subject token fresh:
#
#   volumes:
#   - name: identity
#     projected:
#       sources:
#       - serviceAccountToken:
#           path: token
#           audience: https://issuer.example.org
#           expirationSeconds: 3600
#   - name: jwt
#     emptyDir: { medium: Memory }
#
# The container of tokenagent mounts identity at /var/run/secrets/identity, and
# both mount jwt at /var/run/secrets/jwt. The other one finds its token by
# BEARER_TOKEN_FILE=/var/run/secrets/jwt/token.

agent {
  state_dir = "/var/run/secrets/jwt/.tokenagent"
}

source "token_exchange" "storage" {
  issuer             = "https://issuer.example.org"
  client_auth        = "none" # the subject token says who asks; else client_id and client_secret_file
  subject_token_file = "/var/run/secrets/identity/token"
  subject_token_type = "urn:ietf:params:oauth:token-type:jwt"
}

token "storage" {
  source   = source.token_exchange.storage
  profile  = "wlcg"
  audience = ["https://storage.example.org"]
  scope    = ["storage.read:/data"]

  sink "file" {
    path = "/var/run/secrets/jwt/token"
  }
}
