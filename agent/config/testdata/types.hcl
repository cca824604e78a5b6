agent {
  name        = "a/b"    # ERROR: not a name for a configuration
  state_dir   = "state"  # ERROR: state_dir is a relative path
  control     = 5        # ERROR: wrong type for control
  log_format  = "xml"    # ERROR: unknown log_format "xml"
  require_all = "true"   # ERROR: wrong type for require_all
  log_level   = "chatty" # ERROR: unknown log_level "chatty"
}

source "fake" "a" {
  issuer   = ["https://x"] # ERROR: wrong type for issuer
  key_file = "~/key.pem"   # ERROR: key_file is a relative path
  size     = 1.5           # ERROR: size is not a whole number
  share    = "0.5"         # ERROR: wrong type for share
  wait     = 30            # ERROR: wrong type for wait
}

source "fake" "b" {
  issuer = ""        # ERROR: issuer is empty
  size   = 1e30      # ERROR: size is not a whole number
  wait   = "30"      # ERROR: wait is not a duration
}

source "fake" "c" {
  issuer = "https://x\n" # ERROR: issuer has control characters
  size   = true          # ERROR: wrong type for size
  wait   = "-5m"         # ERROR: wait is not a duration
}

source "fake" "d" {
  issuer = "https://x"
  size   = 10 # ERROR: size is too large
}

source "fake" "good" {
  issuer = "https://x"
}

token "strings" {
  source   = source.fake.good
  subject  = true                # ERROR: wrong type for subject
  audience = "https://x"         # ERROR: wrong type for audience
  scope    = ["read:/", 5, true] # ERROR: wrong type in scope # ERROR: wrong type in scope
  claims   = ["a"]               # ERROR: wrong type for claims
  lifetime = 3600                # ERROR: wrong type for lifetime
  sink "fake" {
    path       = "tokens/a" # ERROR: path is a relative path
    mode       = 640        # ERROR: wrong type for mode
    create_dir = 1          # ERROR: wrong type for create_dir
  }
}

token "more" {
  source   = source.fake.good
  subject  = null
  audience = [""] # ERROR: empty string in audience
  lifetime = "20s" # ERROR: the lifetime is too short
  claims = {
    fine    = 1
    nothing = null # ERROR: wrong value in claims
  }
  sink "fake" {
    path = "/srv/types"
    mode = "rw-------" # ERROR: mode is not a file mode
  }
}

token "long" {
  source   = source.fake.good
  lifetime = "4000d" # ERROR: the lifetime is too long
  claims   = { big = 1e300 } # ERROR: wrong value in claims
  sink "fake" {
    path = "/srv/long"
    mode = "0999" # ERROR: mode is not a file mode
  }
}
