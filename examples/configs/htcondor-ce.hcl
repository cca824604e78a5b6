# An HTCondor-CE, and who submits to it: a SciToken for the CE, and the line by
# which the CE turns it into an account. Here it is a probe that tests the CE from
# the host that this agent runs on; pilots are submitted in the same way. Read in
# HTCondor's documentation of 23.x; not tried with an HTCondor-CE.

source "local_key" "site" {
  # Byte for byte the "issuer" of
  # https://tokens.example.org/.well-known/openid-configuration, from where the CE
  # takes the key to verify the token with.
  issuer   = "https://tokens.example.org"
  key_file = "/etc/tokenagent/keys/site.pem"
  key_id   = "2026-11"
}

# On the CE, in a file of /etc/condor-ce/mapfiles.d, then condor_ce_reconfig. The
# expression holds issuer and subject with a comma between; dots and slashes have a
# backslash, and without ^ and $ other issuers and subjects would match as well:
#
#   SCITOKENS /^https:\/\/tokens\.example\.org,ce-probe$/ probe
#
# in which probe is an account of the CE's host.
token "ce-probe" {
  source   = source.local_key.site
  profile  = "scitokens"
  subject  = "ce-probe"
  audience = ["ce.example.org:9619"]           # the CE's host name and port, and nothing else
  scope    = ["condor:/READ", "condor:/WRITE"] # look at jobs, and submit them
  lifetime = "1h"

  sink "file" {
    # Used by:
    #
    #   export BEARER_TOKEN_FILE=/var/lib/ce-probe/token
    #   condor_ce_trace ce.example.org
    #
    # HTCondor refuses it when this is a symbolic link.
    path  = "/var/lib/ce-probe/token"
    owner = "probe" # who submits; nobody else can read it (0600)
  }
}

# Whether the CE takes the token, and for what, only the CE can say. As the user whom
# BEARER_TOKEN_FILE is set for, where HTCondor is installed:
#   tokenagent doctor --pool ce.example.org:9619 --type SCHEDD --method SCITOKENS
