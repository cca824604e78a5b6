package config

import (
	"github.com/hashicorp/hcl/v2"

	"github.com/tokenagent/tokenagent/agent/host"
)

// A configuration names programs that its agent runs. For an agent that runs as root nobody
// else may be able to change the files, nor a folder or link on the way to them.
const (
	untrusted = "others than root can change the configuration, and so what root runs"
	refusedBy = "; run, once, exec, login, token create and check --issue refuse it"
)

// A guard reports who else could change the files of a configuration.
type guard struct {
	trust   *host.Trust // nil: it does not matter
	strict  bool        // a configuration that others can change is refused
	found   *findings
	doubts  []string        // see Config.Doubts
	known   map[string]bool // paths that were reported: files have their folders in common
	refused bool
}

func (g *guard) open(name string) (*host.File, error) {
	if g.trust == nil {
		return host.OpenPlain(name)
	}
	f, weaknesses, err := g.trust.Open(name)
	g.report(name, weaknesses)
	return f, err
}

func (g *guard) folder(name string) {
	if g.trust != nil {
		weaknesses, _ := g.trust.Weaknesses(name) // reading the folder fails with the same error
		g.report(name, weaknesses)
	}
}

func (g *guard) report(name string, weaknesses []*host.Weakness) {
	for _, w := range weaknesses {
		if g.known[w.Path] {
			continue
		}
		g.known[w.Path] = true
		g.found.number(name)
		f := finding{severity: severityWarning, at: hcl.Range{Filename: name}, summary: untrusted, detail: w.Error()}
		switch {
		case w.Sudo:
			f.detail += "; only a warning, as that is the user who called sudo"
		case g.strict:
			f.severity = severityError
			g.refused = true
		default:
			f.detail += refusedBy
		}
		g.found.list = append(g.found.list, f)
		g.doubts = append(g.doubts, name+": "+untrusted+": "+w.Error())
	}
}
