# An access point (schedd) that talks to two central managers (HA), each with a
# signing key and a trust domain of its own: one IDTOKEN for each of them. Where
# both have the same key and trust domain, one source and one token will do.

source "htcondor" "cm1" {
  # A copy of the key that lies in /etc/condor/passwords.d of the manager, byte for
  # byte: a line end at its end is part of the key. Owned by root, chmod 0600.
  # Whoever has a key signs as any identity of its pool, condor@… ADMINISTRATOR
  # included. Give each host a named key of its own, which can be taken from it
  # alone, or sign on the manager.
  key_file = "/etc/condor/passwords.d/cm1"

  # The manager's TRUST_DOMAIN, byte for byte (there: condor_config_val TRUST_DOMAIN).
  # Left out, it is that of this machine's own HTCondor; so is the key_file.
  trust_domain = "cm1.example.org"

  # The name of the key at the manager. By default that of the file here; write
  # "POOL" if it is the manager's pool key, for that is used in another way.
  # key_id = "POOL"
}

source "htcondor" "cm2" {
  key_file     = "/etc/condor/passwords.d/cm2"
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
  # once for both tokens, and never for a renewal.
  hook "on_first" {
    command = ["/usr/sbin/condor_reconfig"]
  }
}
