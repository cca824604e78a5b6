package mapfile

import (
	"fmt"
	"slices"
	"strings"
)

// Unmapped is the identity of a SciToken that no line maps.
const Unmapped = "scitokens@unmapped"

// A Mapping is what a map file makes of a SciToken.
type Mapping struct {
	File     string   `json:"file"`
	Name     string   `json:"name"`                // that is mapped: issuer,subject
	HashKeys *bool    `json:"hash_keys,omitempty"` // see Explain
	Line     *Line    `json:"hit,omitempty"`
	Identity string   `json:"identity,omitempty"` // that the bearer gets; "" where it depends on HashKeys
	Ignored  []Line   `json:"ignored,omitempty"`  // lines that HTCondor passes over
	Unsure   []Line   `json:"unsure,omitempty"`   // lines before the hit that cannot be replayed
	Hints    []string `json:"hints,omitempty"`    // what is often wrong with a line that was meant for the token
}

// A SciToken is what a map file knows of one.
type SciToken struct{ Issuer, Subject string }

func (t SciToken) name() string { return t.Issuer + "," + t.Subject }

// Explain reads the map file, and says which line maps the token. hash is the
// server's CERTIFICATE_MAPFILE_ASSUME_HASH_KEYS; nil where that is not known. Then
// both ways are tried: where they differ there is no hit, and a hint says why.
func Explain(path string, t SciToken, hash *bool, excludes func(name string) bool) (Mapping, error) {
	if hash != nil {
		m, err := explain(path, t, Rules{HashKeys: *hash, Excludes: excludes})
		m.HashKeys = hash
		return m, err
	}
	m, err := explain(path, t, Rules{HashKeys: true, Excludes: excludes})
	if err != nil {
		return m, err
	}
	other, err := explain(path, t, Rules{Excludes: excludes})
	for _, l := range other.Unsure {
		if !slices.ContainsFunc(m.Unsure, func(o Line) bool { return o.Place() == l.Place() }) {
			m.Unsure = append(m.Unsure, l)
		}
	}
	if m.Identity != other.Identity {
		m.Hints = append(m.Hints, fmt.Sprintf("with CERTIFICATE_MAPFILE_ASSUME_HASH_KEYS = True the token becomes %s, with False %s; HTCondor-CE sets it to True, HTCondor's default is False: see `condor_config_val CERTIFICATE_MAPFILE_ASSUME_HASH_KEYS` on the server",
			m.Identity, other.Identity))
		m.Line, m.Identity = nil, ""
	}
	return m, err
}

func explain(path string, t SciToken, rules Rules) (Mapping, error) {
	m := Mapping{File: path, Name: t.name()}
	read, err := Read(path, rules)
	if err != nil {
		return m, err
	}
	hit, found, unsure := read.Find("SCITOKENS", m.Name)
	m.Unsure, m.Identity = unsure, Unmapped
	if found {
		m.Line, m.Identity = &hit.Line, hit.Mapped
	}
	for _, l := range read.Lines {
		if l.Fault != "" {
			m.Ignored = append(m.Ignored, l)
		}
	}
	m.Hints = read.hints(t, m.Line, rules.HashKeys)
	return m, nil
}

// hints finds what is often wrong with a line that was meant for the token.
func (m Map) hints(t SciToken, hit *Line, hash bool) (hints []string) {
	if hit != nil {
		if strings.HasSuffix(hit.User, "\r") {
			hints = append(hints, "the line ends in CR LF, and the CR becomes part of the user; write it with LF")
		}
		return hints
	}
	other := SciToken{strings.TrimSuffix(t.Issuer, "/"), t.Subject}
	if other == t {
		other.Issuer += "/"
	}
	if hit, found, _ := m.Find("SCITOKENS", other.name()); found {
		hints = append(hints, fmt.Sprintf("line %d is for the issuer %s, the token's is %s: they must be the same byte for byte, the last / too", hit.Number, other.Issuer, t.Issuer))
	}
	for _, l := range m.Lines {
		if !hash && strings.EqualFold(l.Method, "SCITOKENS") && strings.HasPrefix(l.Name, "/") {
			return append(hints, fmt.Sprintf("line %d begins its expression with /, which means nothing unless CERTIFICATE_MAPFILE_ASSUME_HASH_KEYS is True: it can match no name", l.Number))
		}
	}
	return hints
}

// Suggestion is a line for the name, in the form that the server reads.
func (m Mapping) Suggestion() string {
	line := func(mark string) string {
		return fmt.Sprintf("`SCITOKENS %s^%s$%[1]s USER`", mark, escaped(m.Name))
	}
	switch {
	case m.HashKeys == nil:
		return line("/") + " where CERTIFICATE_MAPFILE_ASSUME_HASH_KEYS is True, and " + line(`"`) + " where it is False"
	case *m.HashKeys:
		return line("/")
	}
	return line(`"`)
}

// escaped is the name as an expression between slashes or quotation marks.
func escaped(name string) string {
	var text strings.Builder
	for _, r := range name {
		switch {
		case r == '\\':
			text.WriteString(`\\\`) // the map file takes one pair away
		case strings.ContainsRune(`/".+*?()[|$^`, r):
			text.WriteByte('\\')
		}
		text.WriteRune(r)
	}
	return text.String()
}
