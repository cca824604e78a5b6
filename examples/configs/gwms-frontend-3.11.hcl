# A GlideinWMS frontend of version 3.11 (before: gwms-frontend): an IDTOKEN for itself at
# the user pool and another at the factory, and for each CE a SciToken and the IDTOKEN
# with which the pilots there join the pool. The agent runs as root; the files are
# frontend's. What the frontend does was read in its source (commit 00c2cf94 of
# glideinWMS); tokens and rights were tried with HTCondor 23.9.6.

locals {
  # Adding a CE is adding a line; the tokens of the others are left alone.
  ces = toset(["ce1.example.org", "ce2.example.org"])
}

# The key of the user pool, which signs the tokens of the frontend and the pilots.
source "htcondor" "pool" {
  # A copy of the key at the pool's collector, byte for byte; its name is the key's.
  # Not in /etc/condor/passwords.d: with it root's HTCondor here could do everything
  # without a token. Not in ~frontend/cred.d/passwords.d either: with a key there the
  # frontend makes the pilots' tokens by itself where frontend.xml names none.
  key_file     = "/etc/tokenagent/keys/FRONTEND"
  trust_domain = "cm.example.org" # there: condor_config_val TRUST_DOMAIN
}

# What the frontend and its tools show to the user pool. It publishes ads of a kind of
# its own (UPDATE_AD_GENERIC), for which the collector wants DAEMON. HTCondor uses only
# the first token of a pool in this folder; a second one is a fault.
token "frontend" {
  source  = source.htcondor.pool
  subject = "vofrontend_service@frontend.example.org"
  scope   = ["condor:/READ", "condor:/WRITE", "condor:/DAEMON"]

  sink "file" {
    path       = "/var/lib/gwms-frontend/.condor/tokens.d/10-pool" # the home of frontend
    owner      = "frontend"                                        # HTCondor skips the files of others
    create_dir = true
  }
}

# The factory's collector is of another pool, whose key is not here: ask it for tokens.
# Once, as root:  tokenagent login factory
source "htcondor_fetch" "factory" {
  token_dir = "/etc/tokenagent/condor/factory"
  pool      = "factory.example.org"
  type      = "COLLECTOR"
}

# What the frontend shows to the factory's collector, where it puts its requests
# (UPDATE_MASTER_AD). The subject is my_identity of the collector in frontend.xml.
token "factory" {
  source  = source.htcondor_fetch.factory
  subject = "vofrontend_service@factory.example.org"
  scope   = ["condor:/READ", "condor:/ADVERTISE_MASTER"]

  sink "file" {
    path       = "/var/lib/gwms-frontend/.condor/tokens.d/20-factory"
    owner      = "frontend"
    create_dir = true
  }
}

# What the pilots join the pool with: they advertise themselves, and can do nothing
# else. In frontend.xml, one line a CE:
#
#   <credential type="idtoken" purpose="callback" absfname="/var/lib/gwms-frontend/cred.d/tokens.d/ce1.example.org.idtoken"
#               security_class="frontend" trust_domain="ce1.example.org"/>
#
# The frontend stops at a token without nbf or exp: ours have both, those of
# condor_token_create and condor_token_fetch have no nbf.
token "callback" {
  for_each = local.ces
  source   = source.htcondor.pool
  subject  = "${each.key}@frontend.example.org"
  scope    = ["condor:/READ", "condor:/ADVERTISE_STARTD", "condor:/ADVERTISE_MASTER"]
  lifetime = "24h"

  renew {
    # A pilot is given the token that lies there, and may wait in a queue with it.
    min_remaining = "20h"
  }

  sink "file" {
    path  = "/var/lib/gwms-frontend/cred.d/tokens.d/${each.key}.idtoken"
    owner = "frontend"
  }
}

# The collaboration's issuer, which the CEs trust.
source "local_key" "vo" {
  issuer   = "https://vo.example.org"
  key_file = "/etc/tokenagent/keys/vo.pem"
  key_id   = "2026-11" # its "kid" in the issuer's JWKS
}

# What the factory submits pilots with. In frontend.xml, one line a CE:
#
#   <credential type="scitoken" purpose="request" absfname="/var/lib/gwms-frontend/cred.d/tokens.d/ce1.example.org.scitoken"
#               security_class="frontend" trust_domain="ce1.example.org"/>
#
# Of several with the same trust_domain the frontend takes one for all entries, and that
# may be for another CE. So each CE has its own: the factory's entries for it must have
# the same trust_domain (GLIDEIN_TrustDomain).
token "ce" {
  for_each = local.ces
  source   = source.local_key.vo
  profile  = "scitokens"
  subject  = "pilot"
  audience = ["${each.key}:9619"] # HTCondor-CE: exactly its host name and port
  scope    = ["condor:/READ", "condor:/WRITE"]
  lifetime = "2h"

  renew {
    min_remaining = "90m"
  }

  sink "file" {
    path  = "/var/lib/gwms-frontend/cred.d/tokens.d/${each.key}.scitoken"
    owner = "frontend"
  }
}

# Whether a pool takes the tokens, and for what, only the pool can say. On this host:
#   sudo tokenagent doctor --pool cm.example.org --as frontend
