package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tokenagent/tokenagent/sinks/condor"
	"github.com/tokenagent/tokenagent/sinks/mapfile"
	"github.com/tokenagent/tokenagent/sinks/tokendir"
)

// A mapping is what doctor --mapfile shows.
type mapping struct{ mapfile.Mapping }

// mapToken says which line of a map file the token hits.
func (d doctor) mapToken(c *cobra.Command, f *doctorFlags) (m mapping, err error) {
	_, t, name, err := readToken(c, []string{f.token})
	if err != nil {
		return m, err
	}
	var token mapfile.SciToken
	token.Issuer, _ = t.Claims["iss"].(string)
	token.Subject, _ = t.Claims["sub"].(string)
	if token.Issuer == "" || token.Subject == "" {
		return m, fmt.Errorf("%s: no line maps a token without iss or sub; HTCondor refuses it", name)
	}
	exclude, _ := tokendir.Systems()[0].Exclude(d.knob) // it only counts for what is included
	m.Mapping, err = mapfile.Explain(f.mapfile, token, condor.HashKeys(d.knob, f.mapfile), exclude.Excludes)
	return m, err
}

func (m mapping) print(w io.Writer) {
	fmt.Fprintf(w, "%s maps the SciToken of %s\n", plain(m.File), plain(m.Name))
	switch {
	case m.Line != nil:
		fmt.Fprintf(w, "  %s: %s\n  it becomes %s\n", plain(m.Line.Place()), plain(m.Line.String()), plain(identityOf(m.Identity)))
	case m.Identity == "":
		io.WriteString(w, "  what it becomes depends on how the server reads the file\n")
	default:
		fmt.Fprintf(w, "  no line matches: it becomes %s, whom most servers allow nothing. A line for it is %s\n", mapfile.Unmapped, plain(m.Suggestion()))
	}
	for _, l := range m.Unsure {
		fmt.Fprintf(w, "  tokenagent cannot replay %s (%s): HTCondor may take that line instead\n", plain(l.Place()), plain(l.Unsure))
	}
	for _, l := range m.Ignored {
		fmt.Fprintf(w, "  HTCondor passes over %s: %s\n", plain(l.Place()), plain(l.Fault))
	}
	for _, hint := range m.Hints {
		fmt.Fprintf(w, "  %s\n", plain(hint))
	}
}

// identityOf is the user with the domain that HTCondor adds to one without.
func identityOf(user string) string {
	if strings.Contains(user, "@") {
		return user
	}
	return user + "@ the server's UID_DOMAIN"
}

// ill reports whether no line maps the token, or nobody can tell.
func (m mapping) ill() bool { return m.Line == nil || len(m.Unsure) > 0 }
