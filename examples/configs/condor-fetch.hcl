# An access point (schedd) without the pool's key: condor_token_fetch asks the pool for
# each token. A daemon never gives a token that outlives the one it is asked with, so
# a long-lived one is asked for once, kept apart, and used for all that follow. Tried
# with HTCondor 23.9.6.
#
# Once, as root:            tokenagent login pool
# It prints a number. On the manager, an administrator of the pool types
#                           condor_token_request_approve -reqid NUMBER
# and the login ends. `tokenagent status` tells when that token ends; the log warns of
# it a month before. Then log in once more.

source "htcondor_fetch" "pool" {
  # Where the long-lived token lies, for root alone. Never below tokens.d: every
  # client on this host would send it, whatever it needs.
  token_dir = "/etc/tokenagent/condor/pool"

  pool = "cm.example.org"
  type = "COLLECTOR" # left out, the pool's schedd of this host's configuration is asked
}

token "collector" {
  source  = source.htcondor_fetch.pool
  subject = "schedd@example.org" # the identity that the login asks for: user@domain

  # What each token may do, and all that the login asks for. The lifetime and these
  # are always sent: without them HTCondor gives a token that may do everything, for
  # ever.
  scope    = ["condor:/READ", "condor:/ADVERTISE_MASTER", "condor:/ADVERTISE_SCHEDD"]
  lifetime = "24h"

  sink "file" {
    path = "/etc/condor/tokens.d/10-collector"
  }

  # Daemons that found no token when they started look again only after this.
  hook "on_first" {
    command = ["/usr/sbin/condor_reconfig"]
  }
}

# Whether the pool takes the token, and for what, only the pool can say. On this host:
#   sudo tokenagent doctor --pool cm.example.org
