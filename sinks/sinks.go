// Package sinks puts tokens where their readers look for them. Each kind of
// sink has a file of its own and is reached through [Kinds] alone.
package sinks

import "github.com/tokenagent/tokenagent/agent/config"

// Kinds are the kinds of sink that a token block may hold, by their label.
var Kinds = map[string]config.SinkDecoder{
	"file": decodeFile,
}
