# A robot that acts for a collaboration at CILogon, or at any issuer that gives
# refresh tokens (INDIGO IAM, Keycloak, HTVault): a person lets it in once, and it
# has tokens by itself from then on. Change the lines marked CHANGE, then, as the
# user that tokenagent runs as:
#
#   tokenagent check --online     the issuer, and what this client may do there
#   tokenagent login cilogon      prints an address and a code for any browser
#   tokenagent run
#
# The refresh token lies in the state folder, only for that user. Issuers such as
# CILogon replace it at each use: do not copy it to a second machine, log in there.

source "refresh_token" "cilogon" {
  issuer             = "https://cilogon.org"                 # CHANGE: as its metadata says it, to the last slash
  client_id          = "cilogon:/client_id/0123456789abcdef" # CHANGE: as the issuer registered the client
  client_secret_file = "/etc/tokenagent/secrets/cilogon"     # CHANGE: owned by root or tokenagent's user, mode 0600

  # One that you have already, in the place of a login:
  # refresh_token_file = "/etc/tokenagent/secrets/cilogon.refresh"
}

token "robot" {
  source   = source.refresh_token.cilogon
  profile  = "wlcg"
  audience = ["https://wlcg.cern.ch/jwt/v1/any"]         # CHANGE: the service that it is for
  scope    = ["storage.read:/", "storage.modify:/robot"] # CHANGE: what it allows; the login asks for it too

  sink "file" {
    path  = "/var/lib/robot-tokens/token" # CHANGE: where its reader looks (BEARER_TOKEN_FILE)
    owner = "robot"                       # CHANGE: who reads it; nobody else can (0600)
  }
}
