package config

import (
	"fmt"
	"path/filepath"

	"github.com/hashicorp/hcl/v2"

	"github.com/tokenagent/tokenagent/agent"
)

// A contest is among the tokens that HTCondor takes for one and the same.
type contest struct {
	folder        location
	reader        int
	issuer, keyID string
}

// A contender is a file with a token that contends with others.
type contender struct {
	contest
	block      *Block
	path, name string
	at         hcl.Range
	idtoken    bool // and not one that lies there for other readers
}

// contend takes note of the files of the token that HTCondor chooses among.
func (b *Block) contend(from *source, req agent.Request, sinks []Sink) {
	key := from.Key
	if key.Issuer == "" || key.ID == "" {
		return
	}
	for _, s := range sinks {
		if !s.Condor || s.Path == "" {
			continue
		}
		where := b.load.locate(s.Path)
		first := b.load.written[where]
		if first.what != "token "+b.name {
			continue
		}
		folder := location{where.device, where.inode, filepath.Dir(where.rest)}
		b.load.contenders = append(b.load.contenders, contender{
			contest: contest{folder, s.CondorUID, key.Issuer, key.ID},
			block:   b,
			path:    s.Path,
			name:    filepath.Base(where.rest),
			at:      first.at,
			idtoken: req.Profile == "htcondor",
		})
	}
}

// shadows reports the tokens that another hides. HTCondor takes the first of an
// issuer and key in the order of the bytes of the names, looks at neither its
// scope nor its expiry, and tries no second one.
func (l *loading) shadows() {
	first := map[contest]contender{}
	for _, c := range l.contenders {
		if f, taken := first[c.contest]; !taken || c.name < f.name {
			first[c.contest] = c
		}
	}
	for _, c := range l.contenders {
		f := first[c.contest]
		if !c.idtoken || f.block.name == c.block.name {
			continue
		}
		c.block.report(severityError, c.at, "HTCondor would never use this token", fmt.Sprintf(
			"token %s, at %s, puts %s before it; of all tokens of the issuer %q and the key %q HTCondor takes the one in the first file, whatever its scope and expiry, and tries no other; make one token with the scopes of both",
			f.block.name, placeText(f.at), f.path, c.issuer, c.keyID))
	}
}
