# API tokens for ClusterCockpit: what a job scheduler's script shows to cc-backend,
# and what reads from cc-metric-store. The agent runs as root.

source "local_key" "cockpit" {
  # The line JWT_PRIVATE_KEY="…" of cc-backend's .env, or what stands between its
  # quotes; nothing else of .env. gen-keypair prints it, and so does
  #
  #   tokenagent key create --algorithm EdDSA --format clustercockpit -
  #
  # cc-backend and cc-metric-store are given the public half.
  key_file = "/etc/tokenagent/keys/clustercockpit"
}

# Starts and stops jobs by the REST API.
token "jobs" {
  source  = source.local_key.cockpit
  profile = "clustercockpit"
  subject = "slurm-api" # a user of cc-backend with the role api: ./cc-backend -add-user slurm-api:api:…
  claims = {
    roles = ["api"] # a list; without "api" the REST API refuses
  }
  lifetime = "12h"

  sink "file" {
    # Read at each call, since it changes; the argument list shows no token:
    #
    #   echo "Authorization: Bearer $(cat /var/lib/slurm-api/token)" |
    #     curl -H @- https://cockpit.example.org/api/jobs/start_job/ -d @job.json
    path  = "/var/lib/slurm-api/token"
    owner = "slurm"
  }
}

# Reads metrics.
token "metrics" {
  source  = source.local_key.cockpit
  profile = "clustercockpit"
  subject = "metrics"
  claims = {
    roles = ["api"]
  }
  lifetime = "12h"

  sink "file" {
    path  = "/var/lib/metrics-reader/token"
    owner = "metrics"
  }
}
