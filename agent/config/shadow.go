package config

import (
	"fmt"
	"path/filepath"

	"github.com/hashicorp/hcl/v2"
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

// contend notes the files of the token that HTCondor chooses among.
func (t *token) contend() {
	key := t.from.Key
	if key.Issuer == "" || key.ID == "" {
		return
	}
	for _, s := range t.sinks {
		if !s.Condor || s.Path == "" {
			continue
		}
		where := t.load.places.locate(s.Path)
		first, own := t.writer(where)
		if !own {
			continue
		}
		folder := location{where.device, where.inode, filepath.Dir(where.rest)}
		t.load.contenders = append(t.load.contenders, contender{
			contest: contest{folder, s.CondorUID, key.Issuer, key.ID},
			block:   t.Block,
			path:    s.Path,
			name:    filepath.Base(where.rest),
			at:      first.at,
			idtoken: t.request.Profile == "htcondor",
		})
	}
}

// reportShadows reports the tokens that another hides. HTCondor takes the first of an
// issuer and key in the order of the bytes of the names, looks at neither its
// scope nor its expiry, and tries no second one.
func (l *loading) reportShadows() {
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
