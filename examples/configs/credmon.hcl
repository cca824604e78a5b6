# Tokens for jobs: a SciToken for each user of an access point, in the place and the
# form in which HTCondor's credential monitors leave theirs. A job asks for it by
#
#   use_oauth_services = scitokens
#
# and finds it in $_CONDOR_CREDS/scitokens.use. No monitor may look after the same
# service, or the two overwrite each other's files. What else HTCondor needs, such as a
# file scitokens.top for each user, is in docs/jobs.md. Tried with HTCondor 23.9.6.

locals {
  users   = toset(["alice", "bob"])
  folder  = "/var/lib/condor-credentials" # as SEC_CREDENTIAL_DIRECTORY_OAUTH; root's from / down
  service = "scitokens"                   # or SERVICE_HANDLE, as in use_oauth_services
}

source "local_key" "ap" {
  issuer   = "https://ap.example.org"
  key_file = "/etc/tokenagent/keys/ap.pem"
  key_id   = "2026-11"
}

token "job" {
  for_each = local.users
  source   = source.local_key.ap
  profile  = "scitokens"
  subject  = each.key
  audience = ["https://storage.example.org"]
  scope    = ["read:/user/${each.key}", "write:/user/${each.key}"]
  lifetime = "1h"

  renew {
    min_remaining = "40m" # a job starts with the token that lies there: so much is left of it
  }

  sink "file" {
    path       = "${local.folder}/${each.key}/${local.service}.use"
    format     = "json" # access_token and expires_in, as the monitors write them
    mode       = "0400" # root's: HTCondor gives the job a copy of its own
    create_dir = true   # the user's folder, where HTCondor has not made it yet
  }
}
