package sinks

import (
	"io/fs"
	"path/filepath"

	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/sinks/safefile"
)

// A fileBlock is a file that holds one token for its readers:
//
//	sink "file" {
//	  path       = "/var/lib/gwms-frontend/tokens.d/ce1.scitoken"
//	  owner      = "frontend" # default: the agent's user
//	  group      = "frontend" # default: the owner's group
//	  mode       = "0600"
//	  format     = "token"    # or "raw", "json", "env"; or a template instead
//	  create_dir = true       # make tokens.d when it is missing
//	}
type fileBlock struct {
	Path      string      `hcl:"path,path"`
	Owner     string      `hcl:"owner,optional"`
	Group     string      `hcl:"group,optional"`
	Mode      fs.FileMode `hcl:"mode,optional"`
	Format    string      `hcl:"format,optional"`
	Template  string      `hcl:"template,optional,lines"`
	CreateDir bool        `hcl:"create_dir,optional"`
}

// bare reports whether the file holds the token and nothing else than a line end.
func (f fileBlock) bare() bool {
	return f.Template == "" && (f.Format == "token" || f.Format == "raw")
}

// validateFile reports what is wrong with a block on any machine, and resets that.
func validateFile(b *config.Block, block *fileBlock) {
	if problem := safefile.CheckName(filepath.Base(block.Path)); block.Path != "" && problem != "" {
		b.Fault("path", "the path names no file that can be written", problem)
		block.Path = ""
	}
	if _, known := formats[block.Format]; !known {
		b.Fault("format", "unknown format", `it is "token" (the token and a newline), "raw" (the token alone), "json" or "env"; for another layout write a template`)
		block.Format = "token"
	}
	if block.Mode&0o400 == 0 {
		b.Fault("mode", "the owner could not read the file", `usual are "0600" and, for readers in a group, "0640"`)
		block.Mode = 0o600
	}
}
