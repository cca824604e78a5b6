# A GlideinWMS frontend: one IDTOKEN for itself, one for the pilots of each site,
# and one SciToken for each CE. The agent runs as root; the files are frontend's.

locals {
  # Adding a site or a CE is adding a line; the tokens of the others are left alone.
  sites = toset(["Site_North", "Site_South"])
  ces   = toset(["ce1.example.org", "ce2.example.org"])
}

# The key of the user pool, which signs the tokens of the frontend and the pilots.
source "htcondor" "pool" {
  # A copy of the key at the pool's collector, byte for byte; its name is the key's.
  # Not in ~frontend/passwords.d: where the frontend finds a key it makes the
  # pilots' tokens by itself, in the same files, whenever one is an hour old.
  # Whoever has a key signs as any identity of its pool, condor@… ADMINISTRATOR
  # included. Give each host a named key of its own, which can be taken from it
  # alone, or sign on the manager.
  key_file     = "/etc/condor/passwords.d/FRONTEND"
  trust_domain = "cm.example.org" # there: condor_config_val TRUST_DOMAIN
}

# What the frontend and its tools show to the pool. HTCondor uses only the first
# token of a pool in this folder; a second one is a fault.
token "frontend" {
  source  = source.htcondor.pool
  subject = "vofrontend_service@frontend.example.org"
  scope   = ["condor:/READ"]

  sink "file" {
    path       = "/var/lib/gwms-frontend/.condor/tokens.d/10-pool" # the home of frontend
    owner      = "frontend"                                        # HTCondor skips the files of others
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
    # The frontend reads this file on each cycle. Newer ones look for one a group:
    # "/var/lib/gwms-frontend/tokens.d/GROUP.${each.key}.idtoken"
    path  = "/var/lib/gwms-frontend/tokens.d/${each.key}.idtoken"
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
#               security_class="frontend" trust_domain="grid"/>
#
# in which trust_domain is that of the factory's entries for this CE.
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
