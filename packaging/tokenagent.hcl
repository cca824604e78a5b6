# Which tokens are kept fresh, who issues them, and where their readers find them.
#
# This file defines none, and until it or a file in /etc/tokenagent/conf.d does,
# tokenagent.service does not start. Write them here, or begin with a whole
# configuration for a situation such as yours:
#
#   tokenagent init condor-schedd > /etc/tokenagent/conf.d/schedd.hcl
#   tokenagent check
#   systemctl enable --now tokenagent
#
# "tokenagent init --help" lists the situations; the folder of this package's
# documents has the reference, configuration.md. Keys belong into
# /etc/tokenagent/keys, client secrets into /etc/tokenagent/secrets.

# source "local_key" "site" {
#   issuer   = "https://tokens.example.org"
#   key_file = "/etc/tokenagent/keys/site.pem" # tokenagent key create
# }
#
# token "robot" {
#   source   = source.local_key.site
#   profile  = "wlcg"
#   subject  = "robot"
#   audience = ["https://wlcg.cern.ch/jwt/v1/any"]
#   scope    = ["storage.read:/data"]
#   lifetime = "1h"
#
#   sink "file" {
#     path  = "/var/lib/robot-tokens/token"
#     owner = "robot"
#   }
# }
