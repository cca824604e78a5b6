token "a" {
  source = source.fake. # ERROR: invalid attribute name
}

token "b" {
  subject = "x"
  subject = "y" # ERROR: attribute redefined
}
