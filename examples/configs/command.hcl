# Tokens that other programs get. Each prints one to its standard output and nothing
# else; it runs without a shell, with the HOME of its user, and what it says when it
# fails stands in the log. Delete what you do not need.

# condor_token_fetch: an access point without the pool's key. It needs a token to
# ask for the next one with; the first one an administrator of the pool approves.
# Once, as root:
#
#   condor_token_request -pool cm.example.org -type COLLECTOR -identity schedd@example.org \
#     -authz READ -authz ADVERTISE_MASTER -authz ADVERTISE_SCHEDD -token 10-collector
#
# and, on the manager: condor_token_request_approve -reqid NUMBER
#
# From then on each token is asked for with the one before it. When the pool was gone
# for longer than they live, request once more.

source "command" "pool" {
  command = [
    "/usr/bin/condor_token_fetch", "-pool", "cm.example.org", "-type", "COLLECTOR", "-lifetime", "86400",
    "-authz", "READ", "-authz", "ADVERTISE_MASTER", "-authz", "ADVERTISE_SCHEDD",
  ]
}

token "collector" {
  source  = source.command.pool
  profile = "htcondor"
  subject = "schedd@example.org" # what the pool makes of it may not be anything else
  scope   = ["condor:/READ", "condor:/ADVERTISE_MASTER", "condor:/ADVERTISE_SCHEDD"]

  sink "file" {
    path = "/etc/condor/tokens.d/10-collector"
  }
}

# htgettoken: a robot with a Kerberos keytab at HTVault (kinit -k keeps its ticket, or
# k5start). -q keeps all but the token off the standard output; --minsecs is half
# of the life of the tokens, so that Vault does not give an old one again. What it
# stores lies in /run/robot, which has to be opened in a drop-in of the agent's unit:
# ReadWritePaths=/run/robot

source "command" "htvault" {
  command = [
    "/usr/bin/env", "KRB5CCNAME=FILE:/run/robot/krb5cc",
    "/usr/bin/htgettoken", "-q", "-a", "htvault.example.org", "-i", "cms", "-r", "robot", "--nooidc",
    "--vaulttokenfile=/run/robot/vault-token", "--configdir=/run/robot/htgettoken", "--minsecs=5400", "-o", "/dev/stdout",
  ]
  timeout = "1m"
  user    = "robot"
}

token "htvault" {
  source  = source.command.htvault
  profile = "wlcg"

  sink "file" {
    path  = "/var/lib/robot-tokens/htvault"
    owner = "robot"
  }
}

# oidc-token: from an oidc-agent that has the account iam-robot loaded and was
# started with --socket-path=/run/robot/oidc-agent.sock. --time as --minsecs above.

source "command" "oidc_agent" {
  command = [
    "/usr/bin/env", "OIDC_SOCK=/run/robot/oidc-agent.sock",
    "/usr/bin/oidc-token", "--time=1800", "--aud=https://storage.example.org", "--scope=storage.read:/", "iam-robot",
  ]
  user = "robot"
}

token "oidc_agent" {
  source   = source.command.oidc_agent
  audience = ["https://storage.example.org"] # for the program to ask for, for the agent to hold the token against
  scope    = ["storage.read:/"]

  sink "file" {
    path  = "/var/lib/robot-tokens/oidc-agent"
    owner = "robot"
  }
}

# vault: a JWT of its identity engine, asked for with the token in ~/.vault-token,
# which Vault Agent keeps.

source "command" "vault" {
  command = ["/usr/bin/env", "VAULT_ADDR=https://vault.example.org:8200", "/usr/bin/vault", "read", "-field=token", "identity/oidc/token/robot"]
  user    = "robot"
}

token "vault" {
  source = source.command.vault

  sink "file" {
    path  = "/var/lib/robot-tokens/vault"
    owner = "robot"
  }
}
