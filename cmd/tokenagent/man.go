//go:build man

package main

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/packaging/man"
)

// With the build tag man, this program writes its manual pages into the folder that
// its argument names and does nothing else. make man runs it; it is never shipped.
func init() {
	manual := man.Manual{
		Source: "tokenagent " + versionText(),
		Files:  []man.Entry{{Word: "/var/lib/tokenagent", Meaning: "what the agent remembers across restarts; never a token"}},
		Also:   "The reference of the configuration, configuration.md, and the operator's guide, operating.md, in the folder of the package's documents.",
	}
	if at := builtAt(); !at.IsZero() {
		manual.Date = at.UTC().Format(time.DateOnly)
	}
	for _, exit := range []struct {
		code    int
		meaning string
	}{
		{0, "fine"},
		{exitFailed, "it was tried and failed"},
		{exitUsage, "the command line makes no sense, or names no token that there is"},
		{exitNotValid, "a required token is not valid"},
		{exitNoAgent, "no agent answers"},
		{exitConfiguration, "the configuration has faults"},
	} {
		manual.Exits = append(manual.Exits, man.Entry{Word: strconv.Itoa(exit.code), Meaning: exit.meaning})
	}
	for _, path := range config.DefaultPaths() {
		manual.Files = append(manual.Files, man.Entry{Word: path, Meaning: "the configuration, unless --config names another"})
	}
	if err := manual.Write(newRoot(), os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(exitFailed)
	}
	os.Exit(0)
}
