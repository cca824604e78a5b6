stray = 1 # ERROR: attribute stray outside of a block

agents { # ERROR: unknown block agents
}

token { # ERROR: missing attribute source # ERROR: token with 0 labels # WARNING: no sink block
}

source "fake" { # ERROR: missing attribute issuer # ERROR: source with 1 labels
}

source "fak" "a" { # ERROR: unknown kind of source "fak"
  issuer = "https://x"
}

source "fake" "b" {
  isuer = "https://x" # ERROR: unknown attribute isuer
  nested {            # ERROR: unknown block nested
  }
}

source "fake" "c" { # ERROR: missing attribute issuer
}

source "fake" "d" { # ERROR: missing attribute issuer
  issuer = null
}

source "fake" "bell\u0007" { # ERROR: not a name
  issuer = "https://x"
}

source "fake" "good" {
  issuer = "https://x"
}

token "a/b" { # WARNING: no sink block # ERROR: not a name for a token
  source = source.fake.good
}

token "unlimited" {
  source    = source.fake.good
  unlimited = true # ERROR: unlimited is for IDTOKENs alone
  renew     = "1h" # ERROR: unknown attribute renew
  hook { # ERROR: hook with 0 labels # ERROR: missing attribute command
  }
  sink "fake" "two" { # ERROR: missing attribute path # ERROR: sink with 2 labels
  }
  sink "fil" { # ERROR: unknown kind of sink "fil"
    path = "/x"
  }
  sink "fake" {
    path  = "/srv/names"
    owner = "root" # ERROR: unknown attribute owner
  }
}

token "no_source" { # ERROR: missing attribute source
  profile = "wlgc" # ERROR: unknown profile "wlgc"
  sink "fake" {    # ERROR: missing attribute path
  }
}
