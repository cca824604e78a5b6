# A token that something else keeps fresh, for readers with other owners, names or
# formats: here what HTCondor's credential monitor for Vault writes for the user
# robot, for an XRootD proxy and for a service that reads its environment.
# Read in HTCondor's documentation of 23.x; not tried with that monitor.

source "file" "credmon" {
  # A line, BEARER_TOKEN=…, or JSON with access_token. It is copied as soon as it
  # changes; what is no token, or has expired, is not.
  path = "/var/lib/condor/oauth_credentials/robot/vault.use"

  # How long after the file has changed a token is good that does not say it itself.
  # assume_lifetime = "20m"
}

token "vault" {
  source = source.file.credmon

  sink "file" {
    path  = "/var/lib/xrootd/vault.token"
    owner = "xrootd"
    mode  = "0400"
  }

  sink "file" {
    path   = "/var/lib/transfer/vault.env"
    owner  = "transfer"
    format = "env"
  }

  hook "on_change" {
    command = ["/usr/bin/systemctl", "try-reload-or-restart", "transfer"]
  }
}
