token "a" {
  source = source.fake. # ERROR: invalid attribute name
}

token "b" { # ERROR: missing attribute source # WARNING: no sink block
  subject = "x"
  subject = "y" # ERROR: attribute redefined
}
