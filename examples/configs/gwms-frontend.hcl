# A GlideinWMS frontend of version 3.9.5 to 3.10 (for 3.11: gwms-frontend-3.11): an
# IDTOKEN for itself at the user pool and another at the factory, one for the pilots
# of each site, and a SciToken for each CE. The agent runs as root; the files are
# frontend's. What the frontend does was read in its source (commit c0fd453e of
# glideinWMS); tokens and rights were tried with HTCondor 23.9.6.

locals {
  group = "main" # of frontend.xml; one block "site" for each group

  # Adding a site or a CE is adding a line; the tokens of the others are left alone.
  sites = toset(["Site_North", "Site_South"])
  ces   = toset(["ce1.example.org", "ce2.example.org"])
}

# The key of the user pool, which signs the tokens of the frontend and the pilots.
source "htcondor" "pool" {
  # A copy of the key at the pool's collector, byte for byte; its name is the key's.
  # Not in /etc/condor/passwords.d: with it root's HTCondor here could do everything
  # without a token. Not in ~frontend/passwords.d either: where the frontend finds a
  # key it makes the pilots' tokens by itself, whenever one is an hour old.
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

# What the pilots of a site join the pool with: they advertise themselves, and can
# do nothing else.
token "site" {
  for_each = local.sites # GLIDEIN_Site of the factory's entries
  source   = source.htcondor.pool
  subject  = "${each.key}@frontend.example.org"
  scope    = ["condor:/READ", "condor:/ADVERTISE_STARTD", "condor:/ADVERTISE_MASTER"]
  lifetime = "24h"

  renew {
    # A pilot is given the token that lies there, and may wait in a queue with it.
    min_remaining = "20h"
  }

  sink "file" {
    # The frontend reads GROUP.SITE.idtoken on each cycle (before 3.9.5: SITE.idtoken).
    path  = "/var/lib/gwms-frontend/tokens.d/${local.group}.${each.key}.idtoken"
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
#   <credential type="scitoken" absfname="/var/lib/gwms-frontend/tokens.d/ce1.example.org.scitoken"
#               security_class="frontend" trust_domain="ce1.example.org"/>
#
# Of several with the same trust_domain the frontend takes the last for all entries, and
# that is for another CE. So each CE has its own: the factory's entries for it must have
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
    path  = "/var/lib/gwms-frontend/tokens.d/${each.key}.scitoken"
    owner = "frontend"
  }
}

# Whether a pool takes the tokens, and for what, only the pool can say. On this host:
#   sudo tokenagent doctor --pool cm.example.org --as frontend
