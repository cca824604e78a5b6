# A robot of a collaboration: a client of its own at INDIGO IAM, Keycloak or another
# OpenID Connect issuer. One token for all storage, and one for each CE.
#
# Register the client at the issuer as a confidential one, with the grant
# client_credentials and the scopes below, and leave its secret to root alone:
#
#   install -m 0600 /dev/stdin /etc/tokenagent/secrets/iam
#
# Then have the issuer asked whether all of it fits: tokenagent check --online

locals {
  ces = toset(["ce1.example.org", "ce2.example.org"])
}

source "client_credentials" "iam" {
  # Byte for byte as the issuer says it in ISSUER/.well-known/openid-configuration:
  # IAM with a slash at the end, Keycloak as https://HOST/realms/REALM.
  issuer             = "https://iam.example.org/"
  client_id          = "4ccf9a51-5d07-4a4c-b6c1-c1b5e1d5a3f6"
  client_secret_file = "/etc/tokenagent/secrets/iam" # or "${path.credentials}/iam", with LoadCredential= in the unit

  # What the issuer calls the audience. Keycloak has no such parameter: there the
  # audience comes with a client scope, and a token without it is refused here.
  audience_parameter = "audience"
}

token "storage" {
  source   = source.client_credentials.iam
  profile  = "wlcg"
  audience = ["https://wlcg.cern.ch/jwt/v1/any"]
  scope    = ["storage.read:/", "storage.modify:/robot"] # a token with less is not installed

  sink "file" {
    path  = "/var/lib/robot-tokens/storage"
    owner = "robot"
  }
}

token "ce" {
  for_each = local.ces
  source   = source.client_credentials.iam
  profile  = "wlcg"
  audience = ["${each.key}:9619"]
  scope    = ["compute.read", "compute.modify", "compute.create", "compute.cancel"]

  renew {
    min_remaining = "20m" # however long the issuer lets its tokens live, if they live longer than this
  }

  sink "file" {
    path  = "/var/lib/robot-tokens/${each.key}"
    owner = "robot"
  }
}
