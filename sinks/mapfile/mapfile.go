// Package mapfile replays how HTCondor maps the name that somebody has
// authenticated by to a user: the file that CERTIFICATE_MAPFILE names. The rules
// are those of HTCondor's MapFile.cpp, compared with HTCondor 23.9.6:
//
//  1. A line has three fields: the method, the name, and the user that it becomes.
//     Blanks divide them; a field in quotation marks may have blanks. Lines that
//     begin with # are comments. A line without three fields is passed over.
//  2. With CERTIFICATE_MAPFILE_ASSUME_HASH_KEYS a name is meant literally, and one
//     that begins with / is an expression that ends with the next / (\/ stands
//     for one within), with the options i and U. Without, every name is an
//     expression, and / is like any other character.
//  3. The first line of the method that matches counts, in the order of the file.
//  4. \0 to \9 in the user stand for the groups of the match.
//  5. "@include PATH" reads another file, or all files of a directory that are not
//     excluded, in the order of their names; those include nothing in turn.
package mapfile

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/tokenagent/tokenagent/agent/host"
	"github.com/tokenagent/tokenagent/sinks/pcre"
)

// maxFile is how many bytes of a file are read.
const maxFile = 16 << 20

// Rules say how a map file is read.
type Rules struct {
	HashKeys bool                   // CERTIFICATE_MAPFILE_ASSUME_HASH_KEYS
	Excludes func(name string) bool // the files of an included directory that are passed over
}

// A Line is one of a map file.
type Line struct {
	File   string `json:"file"`
	Number int    `json:"line"`
	Method string `json:"method,omitempty"`
	Name   string `json:"name,omitempty"` // or the expression
	User   string `json:"user,omitempty"`
	Fault  string `json:"fault,omitempty"`  // why HTCondor passes it over
	Unsure string `json:"unsure,omitempty"` // why this program cannot replay it

	expression *pcre.Regexp // nil: the name is meant literally
}

// A Map is what HTCondor has read.
type Map struct{ Lines []Line }

// A Hit is the line that a name is mapped by.
type Hit struct {
	Line
	Mapped string // the user that the name becomes
}

// Read reads a map file and what it includes. The error is about the file itself; an
// included one that cannot be read is a fault of its line.
func Read(path string, rules Rules) (Map, error) {
	r := reader{Rules: rules}
	err := r.file(path, true)
	return Map{r.lines}, err
}

// Find is the first line that the name matches; false for none. The unsure are lines
// before it that cannot be replayed: HTCondor may take one of them.
func (m Map) Find(method, name string) (hit Hit, found bool, unsure []Line) {
	for _, l := range m.Lines {
		switch {
		case l.Fault != "" || !strings.EqualFold(l.Method, method):
		case l.Unsure != "":
			unsure = append(unsure, l)
		default:
			if groups := l.groups(name); groups != nil {
				return Hit{l, substituted(l.User, groups)}, true, unsure
			}
		}
	}
	return Hit{}, false, unsure
}

func (l Line) groups(name string) []string {
	switch {
	case l.expression != nil:
		return l.expression.Groups(name)
	case l.Name == name:
		return []string{name}
	}
	return nil
}

// substituted is the user with the groups in the place of \0 to \9. A missing group stays
// as it is written.
func substituted(user string, groups []string) string {
	var text strings.Builder
	for i := 0; i < len(user); i++ {
		if user[i] == '\\' && i+1 < len(user) {
			i++
			if n := int(user[i]) - '0'; n >= 0 && n <= 9 && n < len(groups) {
				text.WriteString(groups[n])
				continue
			}
			text.WriteByte('\\')
		}
		text.WriteByte(user[i])
	}
	return text.String()
}

// A reader reads the files of a map.
type reader struct {
	Rules
	lines []Line
}

func (r *reader) file(path string, includes bool) error {
	f, err := host.OpenPlain(path)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer f.Close()
	text, err := host.ReadAtMost(f, maxFile)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for i, line := range strings.Split(string(text), "\n") {
		l := Line{File: path, Number: i + 1}
		method, at, _ := field(line, 0, false)
		switch {
		case method == "@include":
			l.Method = method
			r.include(l, line, at, includes)
		case method != "" && method[0] != '#':
			r.lines = append(r.lines, r.parse(l, method, line, at))
		}
	}
	return nil
}

// include reads what the line names.
func (r *reader) include(l Line, line string, at int, allowed bool) {
	path, _, _ := field(line, at, false)
	fault := func(why string) {
		l.Name, l.Fault = path, why
		r.lines = append(r.lines, l)
	}
	if !allowed {
		fault("an included file includes no other")
		return
	}
	if path == "" {
		fault("@include names no file")
		return
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(filepath.Dir(l.File), path)
	}
	paths := []string{path}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		entries, err := os.ReadDir(path)
		if err != nil {
			fault(err.Error())
		}
		paths = nil
		for _, e := range entries {
			if !e.IsDir() && (r.Excludes == nil || !r.Excludes(e.Name())) {
				paths = append(paths, filepath.Join(path, e.Name()))
			}
		}
	}
	for _, path := range paths {
		if err := r.file(path, false); err != nil {
			fault(err.Error())
		}
	}
}

// parse reads the fields behind the method.
func (r *reader) parse(l Line, method, line string, at int) Line {
	l.Method = method
	var options *pcre.Options
	l.Name, at, options = field(line, at, r.HashKeys)
	l.User, _, _ = field(line, at, false)
	if l.Name == "" || l.User == "" {
		l.Fault = "it needs three fields: method, name and user"
		return l
	}
	if options == nil && r.HashKeys {
		return l
	}
	if options == nil {
		options = &pcre.Options{}
	}
	var err error
	l.expression, err = pcre.Compile(l.Name, *options)
	if why, invalid := pcre.Invalid(err); invalid {
		l.Fault = "its expression is not valid: " + why
	} else if err != nil {
		l.Unsure = err.Error()
	}
	return l
}

// field reads the next field from the offset on, as HTCondor's ParseField does,
// and returns where it ends. With expressions a field that begins with / is one,
// and its options are returned.
func field(line string, at int, expressions bool) (text string, end int, options *pcre.Options) {
	for at < len(line) && blank(line[at]) {
		at++
	}
	var closing byte
	switch {
	case at < len(line) && line[at] == '"', at < len(line) && line[at] == '/' && expressions:
		closing = line[at]
		at++
	}
	if closing == 0 {
		for end = at; end < len(line) && !blank(line[end]); end++ {
		}
		return line[at:end], end, nil
	}
	var b strings.Builder
	for ; at < len(line) && line[at] != closing; at++ {
		if line[at] == '\\' && at+1 < len(line) {
			at++
			if line[at] != closing && line[at] != '\\' {
				b.WriteByte('\\')
			}
		}
		b.WriteByte(line[at])
	}
	at = min(at+1, len(line)) // behind what closes it; the end of the line does too
	if closing == '/' {
		options = &pcre.Options{}
		for ; at < len(line) && (line[at] == 'i' || line[at] == 'U'); at++ {
			options.IgnoreCase = options.IgnoreCase || line[at] == 'i'
			options.Ungreedy = options.Ungreedy || line[at] == 'U'
		}
	}
	return b.String(), at, options
}

func blank(c byte) bool { return c == ' ' || c == '\t' || c == '\n' }

// String is the fields of the line.
func (l Line) String() string {
	return strings.Join([]string{l.Method, l.Name, l.User}, " ")
}

// Place is the file and the line.
func (l Line) Place() string { return fmt.Sprintf("%s:%d", l.File, l.Number) }
