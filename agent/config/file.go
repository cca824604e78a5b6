package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"

	"github.com/tokenagent/tokenagent/agent/host"
)

const (
	mostText     = 16 << 20 // bytes of one file
	mostIncluded = 1 << 20  // bytes of a file that an expression names
)

// A reader reads and parses the files of a configuration.
type reader struct {
	paths   []string
	guard   *guard
	found   *findings
	watched []string // see Config.Files
	names   []string // of the files that were read
	files   []*file
	broken  []*stanza // source blocks that could not be parsed
	lost    lost

	included map[string]included // by path
	note     func(path string)   // is told of each of them
}

// lost says which kinds of blocks may be in text that could not be read. A reference to a
// block that was not found may be right then.
type lost struct{ tokens, locals, sources bool }

// read reads the files of all paths, each once.
func (r *reader) read() {
	for _, path := range r.paths {
		for _, name := range r.expand(path) {
			if r.watch(name) {
				r.readFile(name)
			}
		}
	}
}

// watch adds a path to those whose change is a reason to load again. It reports whether
// the path is new.
func (r *reader) watch(path string) bool {
	path = absolute(path)
	if slices.Contains(r.watched, path) {
		return false
	}
	r.watched = append(r.watched, path)
	return true
}

// dropIns is the folder of further files, beside a configuration or in a folder of it.
const dropIns = "conf.d"

// expand gives the files that a path stands for.
func (r *reader) expand(path string) []string {
	if folder, optional := strings.CutSuffix(path, "/*.hcl"); optional {
		return r.expandOptional(folder)
	}
	info, err := os.Stat(path)
	switch {
	case err == nil && !info.IsDir():
		return []string{path}
	case errors.Is(err, fs.ErrNotExist) && r.hasDropIns(path):
		r.watch(path)
		return nil
	}
	return r.expandFolder(path)
}

// expandFolder gives the files of a folder, and those of conf.d in it.
func (r *reader) expandFolder(folder string) []string {
	names, err := r.list(folder)
	if err != nil {
		r.unreadable(folder, err)
		return nil
	}
	names = append(names, r.expandOptional(filepath.Join(folder, dropIns))...)
	if len(names) == 0 {
		r.refuse(folder, "the folder holds no configuration", "files with names that end in .hcl are read, in the folder and in "+dropIns+" in it")
	}
	return names
}

// expandOptional gives the files of a folder that need not exist. A link to nothing is a
// fault, see hasDropIns.
func (r *reader) expandOptional(folder string) []string {
	names, err := r.list(folder)
	if _, missing := os.Lstat(folder); err != nil && !errors.Is(missing, fs.ErrNotExist) {
		r.unreadable(folder, err)
	}
	return names
}

// hasDropIns reports whether the file may be missing: conf.d beside it is loaded too,
// and has files. A link to nothing is not missing: the tokens of its file would be
// removed while it cannot be reached.
func (r *reader) hasDropIns(path string) bool {
	if _, err := os.Lstat(path); err == nil {
		return false
	}
	folder := filepath.Join(filepath.Dir(path), dropIns)
	names, _ := configurations(folder)
	return len(names) > 0 && slices.Contains(r.paths, folder+"/*.hcl")
}

// list gives the files of a folder that is part of the configuration.
func (r *reader) list(folder string) ([]string, error) {
	r.watch(folder)
	r.guard.folder(folder)
	return configurations(folder)
}

// configurations are the *.hcl of a folder, sorted by name. Hidden ones are left out.
func configurations(folder string) (names []string, err error) {
	entries, err := os.ReadDir(folder)
	for _, entry := range entries {
		if name := entry.Name(); strings.HasSuffix(name, ".hcl") && !strings.HasPrefix(name, ".") {
			names = append(names, filepath.Join(folder, name))
		}
	}
	return names, err
}

// unreadable reports a file or folder that could not be opened.
func (r *reader) unreadable(name string, err error) {
	r.refuse(name, host.WithoutPath(err).Error(), "the configuration is read from files and from folders with files named *.hcl")
}

// refuse reports a file as a whole.
func (r *reader) refuse(name, summary, detail string) {
	r.found.number(name)
	r.lose(part{}, name)
	r.found.fault(hcl.Range{Filename: name}, summary, detail)
}

func (r *reader) readFile(name string) {
	r.found.number(name)
	text, err := r.readText(name)
	if err != nil {
		r.unreadable(name, err)
		return
	}
	r.names = append(r.names, name)
	r.found.text[name] = text
	valid := asUTF8(text)
	if r.refuseText(name, valid) {
		return
	}
	if at := firstInvalid(text); at < len(text) {
		r.found.fault(positionOf(name, text, at), "the file is not UTF-8", "this byte is not UTF-8; save the file as UTF-8")
	}
	parsed := parse(name, valid)
	r.found.add(parsed.diags, nil)
	for _, body := range parsed.bodies {
		r.files = append(r.files, &file{name: name, body: body})
	}
	for _, part := range parsed.lost {
		r.lose(part, name)
	}
}

// lose notes what a part that could not be parsed would have defined.
func (r *reader) lose(p part, name string) {
	switch {
	case p.kind == "token":
		r.lost.tokens = true
	case p.kind == "locals":
		r.lost.locals = true
	case p.kind == "source" && len(p.labels) == 2, p.kind == issuerKind && len(p.labels) == 1:
		at := hcl.Range{Filename: name, Start: p.start, End: p.start}
		labels := p.labels
		if p.kind == issuerKind {
			labels = []string{issuerKind, labels[0]}
		}
		r.broken = append(r.broken, &stanza{kind: p.kind, labels: labels, header: at, broken: true})
	case p.kind != "agent":
		r.lost = lost{true, true, true}
	}
}

// readText reads the file, at most one byte more than is allowed. The file that it reads is
// the one whose owner and mode it looks at.
func (r *reader) readText(name string) ([]byte, error) {
	f, err := r.guard.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, mostText+1))
}

// asUTF8 is the text with something harmless for each byte that is not UTF-8, so that
// the rest can be read.
func asUTF8(text []byte) []byte {
	text = slices.Clone(text)
	for i := firstInvalid(text); i < len(text); i += firstInvalid(text[i:]) {
		text[i] = '_'
	}
	return text
}

// refuseText reports, in one message, a text that cannot be a configuration at all.
func (r *reader) refuseText(name string, text []byte) bool {
	switch {
	case len(text) == 0:
		r.refuse(name, "the file is empty", "delete it, or write at least a comment into it")
	case len(text) > mostText:
		r.refuse(name, "the file is too large", fmt.Sprintf("at most %d MiB are read", mostText>>20))
	case bytes.IndexByte(text, 0) >= 0:
		r.refuse(name, "the file is binary", "it has a NUL byte; a configuration is UTF-8 text (not UTF-16)")
	case tooDeep(text):
		r.refuse(name, "the file is nested too deeply", fmt.Sprintf("at most %d brackets and operators may stand within each other", mostNesting))
	default:
		return false
	}
	return true
}

// firstInvalid is the offset of the first byte that is not UTF-8; the length of the text
// where there is none.
func firstInvalid(text []byte) int {
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return len(text)
}

// positionOf is the place of a byte, with columns counted in characters.
func positionOf(name string, text []byte, at int) hcl.Range {
	begin := bytes.LastIndexByte(text[:at], '\n') + 1
	start := hcl.Pos{
		Line:   bytes.Count(text[:at], []byte("\n")) + 1,
		Column: utf8.RuneCount(text[begin:at]) + 1,
		Byte:   at,
	}
	end := start
	end.Byte++
	end.Column++
	return hcl.Range{Filename: name, Start: start, End: end}
}

// An included file is one that an expression names, as it was read in this load.
type included struct {
	text string
	err  error
}

// errDoubted is the error of a file that was refused, which was reported.
var errDoubted = errors.New("others than root can change it")

// include reads a file that an expression names, once in a load. As with the files of the
// configuration, a change is a reason to load again, and it matters who can change it.
func (r *reader) include(path string) (string, error) {
	if known, read := r.included[path]; read {
		return known.text, known.err
	}
	r.watch(path)
	r.note(path)
	text, err := r.readIncluded(path)
	r.included[path] = included{text, err}
	return text, err
}

func (r *reader) readIncluded(path string) (string, error) {
	f, err := r.guard.open(path)
	if err != nil {
		return "", host.WithoutPath(err)
	}
	defer f.Close()
	if r.guard.refused {
		return "", errDoubted
	}
	text, err := io.ReadAll(io.LimitReader(f, mostIncluded+1))
	switch {
	case err != nil:
		return "", host.WithoutPath(err)
	case len(text) > mostIncluded:
		return "", fmt.Errorf("it is larger than %d bytes", mostIncluded)
	case !utf8.Valid(text):
		return "", errors.New("it is not UTF-8 text")
	}
	return strings.TrimPrefix(string(text), "\ufeff"), nil // spreadsheets write the mark
}

// cover replaces what stands in included files by its place in all faults: a file may be a
// secret that was named by mistake, and a place in a long list is easier to find.
func (r *reader) cover(faults Faults) Faults {
	if len(faults) == 0 || len(r.included) == 0 {
		return faults
	}
	by := r.places()
	for i := range faults {
		faults[i].Summary, faults[i].Detail = by.Replace(faults[i].Summary), by.Replace(faults[i].Detail)
	}
	return faults
}

// places replaces contents of included files, their lines, and the values in these, by
// where they stand, the longest first.
func (r *reader) places() *strings.Replacer {
	named := map[string]string{}
	for _, path := range slices.Sorted(maps.Keys(r.included)) {
		text := r.included[path].text
		for n, line := range strings.Split(text, "\n") {
			at := fmt.Sprintf("[line %d of %s]", n+1, path)
			for _, part := range append(strings.FieldsFunc(line, dividesValues), line) {
				if part = strings.TrimSpace(part); tells(part) {
					named[part] = cmp.Or(named[part], at)
				}
			}
		}
		if trimmed := strings.TrimSpace(text); len(trimmed) >= leastCovered {
			named[text], named[trimmed] = "[content of "+path+"]", "[content of "+path+"]"
		}
	}
	parts := slices.SortedFunc(maps.Keys(named), func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	var pairs []string
	for _, part := range parts {
		quoted := strconv.Quote(part)
		pairs = append(pairs, part, named[part], quoted[1:len(quoted)-1], named[part])
	}
	return strings.NewReplacer(pairs...)
}

const leastCovered = 4 // bytes: what is shorter is in many words

// dividesValues reports whether r stands between the values in a line of CSV or JSON.
func dividesValues(r rune) bool { return strings.ContainsRune(",;\t\"", r) }

// tells reports whether the value may be a secret, and not a mere word: the names of
// columns are often those of attributes, which faults name.
func tells(value string) bool {
	return len(value) > leastCovered && strings.ContainsFunc(value, func(r rune) bool { return r != '_' && (r < 'a' || r > 'z') })
}
