// Package configs holds complete configurations to start from, one a
// situation. Each is loaded by a test, and `tokenagent init` prints them.
package configs

import "embed"

// Files holds the configurations under their file names, such as
// quickstart.hcl. What lies in the folder of a configuration that `init` writes
// is named through path.config; its signing key is always key.pem.
//
//go:embed *.hcl
var Files embed.FS
