package config

import (
	"fmt"
	"path/filepath"

	"github.com/hashicorp/hcl/v2"
)

// A choice is one that HTCondor makes between token files: of one folder, reader, issuer
// and key it uses one file.
type choice struct {
	folder        location
	reader        int
	issuer, keyID string
}

// A candidate is a file that HTCondor may choose.
type candidate struct {
	choice
	block      *Block
	path, name string
	at         hcl.Range
	idtoken    bool // otherwise it is there for other readers
}

// addCandidates notes the files of the token that HTCondor chooses among.
func (t *token) addCandidates() {
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
		t.load.candidates = append(t.load.candidates, candidate{
			choice:  choice{folder, s.CondorUID, key.Issuer, key.ID},
			block:   t.Block,
			path:    s.Path,
			name:    filepath.Base(where.rest),
			at:      first.at,
			idtoken: t.request.Profile == "htcondor",
		})
	}
}

// reportShadows reports the tokens that another hides. HTCondor sorts the names by their
// bytes and takes the first token of an issuer and key. It does not look at the scope and
// the expiry, and tries no second one.
func (l *loading) reportShadows() {
	first := map[choice]candidate{}
	for _, c := range l.candidates {
		if f, taken := first[c.choice]; !taken || c.name < f.name {
			first[c.choice] = c
		}
	}
	for _, c := range l.candidates {
		f := first[c.choice]
		if !c.idtoken || f.block.name == c.block.name {
			continue
		}
		c.block.report(severityError, c.at, "HTCondor would never use this token", fmt.Sprintf(
			"token %s, at %s, puts %s before it; of all tokens of the issuer %q and the key %q HTCondor takes the one in the first file, whatever its scope and expiry, and tries no other; make one token with the scopes of both",
			f.block.name, placeText(f.at), f.path, c.issuer, c.keyID))
	}
}
