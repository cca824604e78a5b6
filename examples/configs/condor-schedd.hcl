# An access point (schedd) that talks to two central managers (HA), each with a
# signing key and a trust domain of its own: one IDTOKEN for each of them. Where
# both have the same key and trust domain, one source and one token will do.
# Tried with HTCondor 23.9.6; docs/htcondor.md tells how keys are made and changed.

source "htcondor" "cm1" {
  # A copy of the key that lies in /etc/condor/passwords.d of the manager, byte for
  # byte: a line end at its end is part of the key. Owned by root, chmod 0600.
  # On this host keep it out of /etc/condor/passwords.d: with a key there HTCondor's
  # tools and daemons of root can be condor@password, with every right, and need no
  # token. Whoever has a key signs as any identity of its pool. Give each host a key
  # of its own, which can be taken from it alone.
  key_file = "/etc/tokenagent/keys/cm1"

  # The manager's TRUST_DOMAIN, byte for byte (there: condor_config_val TRUST_DOMAIN).
  # On this host the answer may be this host's name, which the managers do not know.
  trust_domain = "cm1.example.org"

  # The name of the key at the manager. By default that of the file here; write
  # "POOL" if it is the manager's pool key, for that is used in another way.
  # key_id = "POOL"
}

source "htcondor" "cm2" {
  key_file     = "/etc/tokenagent/keys/cm2"
  trust_domain = "cm2.example.org"
}

token "collector" {
  for_each = toset(["cm1", "cm2"]) # collector["cm1"], collector["cm2"]
  source   = source.htcondor[each.key]
  subject  = "schedd@example.org" # whom the manager takes the bearer for: user@domain

  # All that it may do. To HTCondor a token without such words may do everything,
  # so that a slip in one of them is a fault here.
  scope    = ["condor:/READ", "condor:/ADVERTISE_MASTER", "condor:/ADVERTISE_SCHEDD"]
  lifetime = "24h" # renewed at two thirds of it

  sink "file" {
    # HTCondor reads the files of this folder in the order of their names, and
    # again at each new connection. Of two with the same trust domain and key it
    # uses the first alone, so that check takes a second one for a fault.
    path = "/etc/condor/tokens.d/10-${each.key}"
  }

  # Daemons that found no token when they started look again only after this. Run
  # once for both tokens, and never for a renewal. While HTCondor does not run yet
  # it is tried again, quietly.
  hook "on_first" {
    command = ["/usr/sbin/condor_reconfig"]
  }
}

# Whether a pool takes the token, and for what, only the pool can say. On this host:
#   sudo tokenagent doctor --pool cm1.example.org
