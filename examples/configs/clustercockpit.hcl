# API tokens for ClusterCockpit: what a job scheduler's script shows to cc-backend,
# and what reads from cc-metric-store. The agent runs as root.

source "local_key" "cockpit" {
  # The line JWT_PRIVATE_KEY="…" of cc-backend's .env, or what stands between its
  # quotes; nothing else of .env. gen-keypair prints it, and so does
  #
  #   tokenagent key create --algorithm EdDSA --format clustercockpit -
  #
  # cc-backend and cc-metric-store are given the public half:
  #
  #   tokenagent key public --format clustercockpit /etc/tokenagent/keys/clustercockpit
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

# Writes metrics: cc-metric-collector sends them to cc-metric-store. It reads the
# token from the file with its sinks, once: so the agent writes the whole file and
# restarts it. For other hosts distribute this file: the key stays on this one.
token "collector" {
  source  = source.local_key.cockpit
  profile = "clustercockpit"
  subject = "cc-collector"
  claims = {
    roles = ["api"]
  }
  lifetime = "2d"

  sink "file" {
    path     = "/etc/cc-metric-collector/sinks.json"
    owner    = "clustercockpit" # the User= of its unit
    template = <<-EOT
      {
        "store": {
          "type": "http",
          "url": "https://metrics.example.org/api/write",
          "jwt": {{json .token}}
        }
      }
    EOT
  }

  hook "on_change" {
    command = ["/usr/bin/systemctl", "try-restart", "cc-metric-collector"]
  }
}
