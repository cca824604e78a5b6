package sinks

import (
	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/host"
	"github.com/tokenagent/tokenagent/sinks/safefile"
)

// Private returns a sink that no configuration names: the file at path, which
// holds the token that req asks for and is for the user of this process alone.
// Its folder should be that user's too.
func Private(path string, req agent.Request) agent.Target {
	me := host.Self()
	target := safefile.Target{Path: path, Owner: me, Group: me.GID, Mode: 0o600}
	return (&file{format: formats["token"], safe: safefile.New(target), forStorage: opensStorage(req)}).target()
}
