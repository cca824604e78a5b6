package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/tokenagent/tokenagent/agent/host"
)

const mostText = 16 << 20 // bytes of one file

// A file is one that could be parsed.
type file struct {
	name  string // as it was given
	scope *hcl.EvalContext
	body  *hclsyntax.Body
}

// read reads and parses the files of all paths, each once.
func (l *loading) read() {
	seen := map[string]bool{}
	for _, path := range l.paths {
		for _, name := range l.expand(path) {
			abs, err := filepath.Abs(name)
			if err == nil && seen[abs] {
				continue
			}
			seen[abs] = true
			l.watch(name)
			l.readFile(name)
		}
	}
}

// dropIns is the folder of further files, beside a configuration or in a folder of it.
const dropIns = "conf.d"

// expand gives the files that a path stands for.
func (l *loading) expand(path string) []string {
	if folder, optional := strings.CutSuffix(path, "/*.hcl"); optional {
		return l.expandOptional(folder)
	}
	info, err := os.Stat(path)
	switch {
	case err == nil && !info.IsDir():
		return []string{path}
	case errors.Is(err, fs.ErrNotExist) && l.hasDropIns(path):
		l.watch(path)
		return nil
	}
	return l.expandFolder(path)
}

// expandOptional gives the files of a folder that need not exist. A link to nothing is a
// fault, see hasDropIns.
func (l *loading) expandOptional(folder string) []string {
	names, err := l.list(folder)
	if _, missing := os.Lstat(folder); err != nil && !errors.Is(missing, fs.ErrNotExist) {
		l.unreadable(folder, err)
	}
	return names
}

// expandFolder gives the files of a folder, and those of conf.d in it. It reports a
// path where there is none.
func (l *loading) expandFolder(folder string) []string {
	names, err := l.list(folder)
	if err != nil {
		l.unreadable(folder, err)
		return nil
	}
	names = append(names, l.expandOptional(filepath.Join(folder, dropIns))...)
	if len(names) == 0 {
		l.refuse(folder, "the folder holds no configuration", "files with names that end in .hcl are read, in the folder and in "+dropIns+" in it")
	}
	return names
}

// hasDropIns reports whether the file may be missing: conf.d beside it is loaded too,
// and has files. A link that leads nowhere is not missing: the tokens of its file would
// be removed while it cannot be reached.
func (l *loading) hasDropIns(path string) bool {
	if _, err := os.Lstat(path); err == nil {
		return false
	}
	folder := filepath.Join(filepath.Dir(path), dropIns)
	names, _ := configurations(folder)
	return len(names) > 0 && slices.Contains(l.paths, folder+"/*.hcl")
}

// list gives the files of a folder that is part of the configuration.
func (l *loading) list(folder string) ([]string, error) {
	l.watch(folder)
	l.trustFolder(folder)
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
func (l *loading) unreadable(name string, err error) {
	l.refuse(name, host.WithoutPath(err).Error(), "the configuration is read from files and from folders with files named *.hcl")
}

// refuse reports a file as a whole.
func (l *loading) refuse(name, summary, detail string) {
	l.number(name)
	l.lost = lost{true, true, true}
	l.fault(hcl.Range{Filename: name}, summary, detail)
}

// number gives the file its place in the order of faults.
func (l *loading) number(name string) {
	if _, known := l.fileOrder[name]; !known {
		l.fileOrder[name] = len(l.fileOrder)
	}
}

func (l *loading) readFile(name string) {
	l.number(name)
	text, err := l.readTrusted(name)
	if err != nil {
		l.unreadable(name, err)
		return
	}
	l.text[name] = text
	l.readBy("the configuration", hcl.Range{Filename: name, Start: hcl.InitialPos}, name)
	valid := asUTF8(text)
	if l.refuseText(name, valid) {
		return
	}
	if at := firstInvalid(text); at < len(text) {
		l.fault(positionOf(name, text, at), "the file is not UTF-8", "this byte is not UTF-8; save the file as UTF-8")
	}
	l.parse(name, valid)
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

// refuseText reports, in one message, what cannot be a configuration at all.
func (l *loading) refuseText(name string, text []byte) bool {
	switch {
	case len(text) == 0:
		l.refuse(name, "the file is empty", "delete it, or write at least a comment into it")
	case len(text) > mostText:
		l.refuse(name, "the file is too large", fmt.Sprintf("at most %d MiB are read", mostText>>20))
	case bytes.IndexByte(text, 0) >= 0:
		l.refuse(name, "the file is binary", "it has a NUL byte; a configuration is UTF-8 text (not UTF-16)")
	case tooDeep(text):
		l.refuse(name, "the file is nested too deeply", fmt.Sprintf("at most %d brackets and operators may stand within each other", mostNesting))
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

// scopeOf is the names that expressions of the file may use, besides each.
func (l *loading) scopeOf(name string) *hcl.EvalContext {
	folder, err := filepath.Abs(filepath.Dir(name))
	if err != nil {
		folder = filepath.Dir(name)
	}
	scope := l.functions.NewChild()
	scope.Variables = map[string]cty.Value{"path": cty.ObjectVal(map[string]cty.Value{
		"config":      cty.StringVal(folder),
		"credentials": cty.StringVal(l.env.Credentials),
		"discovery":   cty.StringVal(l.env.Discovery),
	})}
	return scope
}
