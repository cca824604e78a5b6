package config

import (
	"io"

	"github.com/hashicorp/hcl/v2"

	"github.com/tokenagent/tokenagent/agent/host"
)

// A configuration names programs that its agent runs. As root it must be one that
// nobody else can change: neither its files nor a folder or link on the way to them.

const (
	untrusted = "others than root can change the configuration, and so what root runs"
	refusedBy = "; run, once, exec, login, token create and check --issue refuse it"
)

// Trust is the Environment's, for other files that a source or hook names; of none
// it is that for what root alone may change.
func (b *Block) Trust() host.Trust {
	if b.load.env.Trust == nil {
		return host.Trust{}
	}
	return *b.load.env.Trust
}

// Trusting reports whether decoders look at who else could change a file.
func (b *Block) Trusting() bool { return b.load.env.Trust != nil && !b.DefinitionsOnly() }

// readTrusted reads the file, at most one byte more than is allowed, and reports who
// else could change it. The file that was looked at is the one that is read.
func (l *loading) readTrusted(name string) ([]byte, error) {
	f, err := l.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, mostText+1))
}

func (l *loading) open(name string) (*host.File, error) {
	if l.env.Trust == nil {
		return host.OpenPlain(name)
	}
	f, found, err := l.env.Trust.Open(name)
	l.distrust(name, found)
	return f, err
}

// trustFolder reports who else could put files into the folder, or another in its place.
func (l *loading) trustFolder(name string) {
	if l.env.Trust != nil {
		found, _ := l.env.Trust.Weaknesses(name) // whoever reads the folder reports the error
		l.distrust(name, found)
	}
}

// distrust reports each weakness once: files have their folders in common.
func (l *loading) distrust(name string, found []*host.Weakness) {
	for _, w := range found {
		if l.distrusted[w.Path] {
			continue
		}
		l.distrusted[w.Path] = true
		l.number(name)
		f := finding{severity: severityWarning, at: hcl.Range{Filename: name}, summary: untrusted, detail: w.Error()}
		switch {
		case w.Sudo:
			f.detail += "; only a warning, as that is the user who called sudo"
		case l.env.Strict:
			f.severity = severityError
			l.refused = true
		default:
			f.detail += refusedBy
		}
		l.found = append(l.found, f)
		l.doubts = append(l.doubts, name+": "+untrusted+": "+w.Error())
	}
}
