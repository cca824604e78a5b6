package main

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tokenagent/tokenagent/agent/profile"
	"github.com/tokenagent/tokenagent/sinks/mapfile"
	"github.com/tokenagent/tokenagent/sinks/tokendir"
)

// unmapped is who the bearer of a SciToken is whom no line maps.
const unmapped = "scitokens@unmapped"

// A mapping is what becomes of a SciToken by a map file.
type mapping struct {
	File     string         `json:"file"`
	Name     string         `json:"name"`                // that is mapped: issuer,subject
	HashKeys *bool          `json:"hash_keys,omitempty"` // CERTIFICATE_MAPFILE_ASSUME_HASH_KEYS; nil: nobody tells, so both ways were tried
	Line     *mapfile.Line  `json:"hit,omitempty"`
	Identity string         `json:"identity,omitempty"` // that the bearer gets; "" where it depends
	Ignored  []mapfile.Line `json:"ignored,omitempty"`  // lines that HTCondor passes over
	Unsure   []mapfile.Line `json:"unsure,omitempty"`   // lines before the hit that cannot be replayed
	Hints    []string       `json:"hints,omitempty"`

	reading mapfile.Map
}

// mapToken says which line of a map file the token hits.
func (d doctor) mapToken(c *cobra.Command, f *doctorFlags) (m mapping, err error) {
	token, name, err := readTokenText(c, []string{f.token})
	if err != nil {
		return m, err
	}
	decoded, err := profile.Decode(strings.TrimSpace(token.Reveal()))
	if err != nil {
		return m, fmt.Errorf("%s: %w", name, err)
	}
	iss, _ := decoded.Claims["iss"].(string)
	sub, _ := decoded.Claims["sub"].(string)
	if iss == "" || sub == "" {
		return m, fmt.Errorf("%s: a token without iss or sub is mapped by no line; HTCondor refuses it", name)
	}
	return d.mapping(f.mapfile, iss, sub)
}

// ill reports whether no line maps the token, or nobody can tell.
func (m mapping) ill() bool { return m.Line == nil || len(m.Unsure) > 0 }

// mapping maps the name. Where nobody tells how names are meant, both ways are
// tried: when they differ there is no hit, and the hints say why.
func (d doctor) mapping(path, iss, sub string) (mapping, error) {
	if hash, known := d.hashKeys(path); known {
		m, err := d.mappingBy(path, iss, sub, hash)
		m.HashKeys = &hash
		return m, err
	}
	literal, err := d.mappingBy(path, iss, sub, true)
	if err != nil {
		return literal, err
	}
	expressions, err := d.mappingBy(path, iss, sub, false)
	for _, l := range expressions.Unsure {
		if !slices.ContainsFunc(literal.Unsure, func(o mapfile.Line) bool { return o.Place() == l.Place() }) {
			literal.Unsure = append(literal.Unsure, l)
		}
	}
	if literal.Identity != expressions.Identity {
		literal.Hints = append(literal.Hints, fmt.Sprintf("with CERTIFICATE_MAPFILE_ASSUME_HASH_KEYS = True the token becomes %s, with False %s; HTCondor-CE sets it to True, HTCondor's default is False: see `condor_config_val CERTIFICATE_MAPFILE_ASSUME_HASH_KEYS` on the server",
			literal.Identity, expressions.Identity))
		literal.Line, literal.Identity = nil, ""
	}
	return literal, err
}

// hashKeys is how a system of this host whose map file it is means its names.
func (d doctor) hashKeys(path string) (hash, known bool) {
	whole, err := filepath.Abs(path)
	if err != nil {
		return false, false
	}
	for _, s := range tokendir.Systems() {
		if own, set := d.knob(s, "CERTIFICATE_MAPFILE"); set && filepath.Clean(own) == whole {
			text, _ := d.knob(s, "CERTIFICATE_MAPFILE_ASSUME_HASH_KEYS")
			return strings.EqualFold(text, "true") || text == "1", true
		}
	}
	return false, false
}

func (d doctor) mappingBy(path, iss, sub string, hash bool) (mapping, error) {
	exclude := tokendir.Exclude{}
	if text, set := d.knob(tokendir.Systems()[0], tokendir.ExcludeKnob); set {
		exclude, _ = tokendir.ParseExclude(text) // it only counts for what is included
	}
	read, err := mapfile.Read(path, mapfile.Rules{HashKeys: hash, Excludes: exclude.Excludes})
	m := mapping{File: path, Name: iss + "," + sub, reading: read}
	if err != nil {
		return m, err
	}
	hit, found, unsure := read.Find("SCITOKENS", m.Name)
	m.Unsure, m.Identity = unsure, unmapped
	if found {
		m.Line, m.Identity = &hit.Line, hit.Mapped
	}
	for _, l := range read.Lines {
		if l.Fault != "" {
			m.Ignored = append(m.Ignored, l)
		}
	}
	m.hint(iss, sub, hash)
	return m, nil
}

// hint finds what is often wrong with a line that was meant for the token.
func (m *mapping) hint(iss, sub string, hash bool) {
	if m.Line != nil {
		if strings.HasSuffix(m.Line.User, "\r") {
			m.Hints = append(m.Hints, "the line ends in CR LF, and the CR becomes part of the user; write it with LF")
		}
		return
	}
	other := strings.TrimSuffix(iss, "/")
	if other == iss {
		other += "/"
	}
	if hit, found, _ := m.reading.Find("SCITOKENS", other+","+sub); found {
		m.Hints = append(m.Hints, fmt.Sprintf("line %d is for the issuer %s, the token's is %s: they must be the same byte for byte, the last / too", hit.Number, other, iss))
	}
	for _, l := range m.reading.Lines {
		if !hash && strings.EqualFold(l.Method, "SCITOKENS") && strings.HasPrefix(l.Name, "/") {
			m.Hints = append(m.Hints, fmt.Sprintf("line %d begins its expression with /, which means nothing unless CERTIFICATE_MAPFILE_ASSUME_HASH_KEYS is True: it can match no name", l.Number))
			break
		}
	}
}

func (m mapping) print(w io.Writer) {
	fmt.Fprintf(w, "%s maps the SciToken of %s\n", plain(m.File), plain(m.Name))
	switch {
	case m.Line != nil:
		fmt.Fprintf(w, "  %s: %s\n  it becomes %s\n", plain(m.Line.Place()), plain(m.Line.String()), plain(identityOf(m.Identity)))
	case m.Identity == "":
		io.WriteString(w, "  what it becomes depends on how the server reads the file\n")
	default:
		fmt.Fprintf(w, "  no line matches: it becomes %s, whom most servers allow nothing. A line for it is %s\n", unmapped, plain(m.suggestion()))
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

// suggestion is a line for the name, in the form that the server reads.
func (m mapping) suggestion() string {
	line := func(mark string) string {
		return fmt.Sprintf("`SCITOKENS %s^%s$%[1]s USER`", mark, escapedForMap(m.Name))
	}
	switch {
	case m.HashKeys == nil:
		return line("/") + " where CERTIFICATE_MAPFILE_ASSUME_HASH_KEYS is True, and " + line(`"`) + " where it is False"
	case *m.HashKeys:
		return line("/")
	}
	return line(`"`)
}

// escapedForMap is the name as an expression between slashes or quotation marks.
func escapedForMap(name string) string {
	return strings.NewReplacer(`\`, `\\\\`, "/", `\/`, `"`, `\"`, ".", `\.`, "+", `\+`, "*", `\*`, "?", `\?`, "(", `\(`, ")", `\)`, "[", `\[`, "|", `\|`, "$", `\$`, "^", `\^`).Replace(name)
}
