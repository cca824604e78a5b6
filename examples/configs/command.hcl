# Tokens that other programs get. Each prints one to its standard output and nothing
# else; it runs without a shell, with the HOME of its user, and what it says when it
# fails stands in the log. Delete what you do not need.

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
