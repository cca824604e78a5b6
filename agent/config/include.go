package config

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"

	"github.com/tokenagent/tokenagent/agent/host"
)

const mostIncluded = 1 << 20 // bytes of a file that an expression names

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

// cover replaces the whole content of an included file by its name in all faults: the file
// may be a secret that was named by mistake.
func (r *reader) cover(faults Faults) Faults {
	for path, f := range r.included {
		for _, text := range []string{f.text, strings.TrimSpace(f.text)} {
			if strings.TrimSpace(text) == "" {
				continue
			}
			quoted := strconv.Quote(text)
			by := strings.NewReplacer(text, "[content of "+path+"]", quoted[1:len(quoted)-1], "[content of "+path+"]")
			for i := range faults {
				faults[i].Summary, faults[i].Detail = by.Replace(faults[i].Summary), by.Replace(faults[i].Detail)
			}
		}
	}
	return faults
}

// fileFunction gives the content of a file; relative paths begin at the folder. Where only
// definitions are checked, a file that is not here has an unknown value.
func (e *evaluator) fileFunction(folder string) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "path", Type: cty.String}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			path := args[0].AsString()
			if !filepath.IsAbs(path) {
				path = filepath.Join(folder, path)
			}
			text, err := e.reader.include(host.Spelled(filepath.Clean(path)))
			switch {
			case err == errDoubted, err != nil && e.env.Definitions:
				return cty.UnknownVal(cty.String), nil
			case err != nil:
				return cty.NilVal, function.NewArgErrorf(0, "%s: %w", path, err)
			}
			return cty.StringVal(text), nil
		},
	})
}

// decoding is a function of cty that decodes a text. Its own errors quote the text, so
// that wrong says what is wrong instead.
func decoding(decode function.Function, wrong func(text string) error) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "text", Type: cty.String}},
		Type: func(args []cty.Value) (cty.Type, error) {
			t, err := decode.ReturnTypeForValues(args)
			if err != nil {
				return cty.NilType, function.NewArgErrorf(0, "%w", wrong(args[0].AsString()))
			}
			return t, nil
		},
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			v, err := decode.Call(args)
			if err != nil {
				return cty.NilVal, function.NewArgErrorf(0, "%w", wrong(args[0].AsString()))
			}
			return v, nil
		},
	})
}

func wrongJSON(text string) error {
	var any any
	syntax, ok := errors.AsType[*json.SyntaxError](json.Unmarshal([]byte(text), &any))
	if !ok {
		return errors.New("it is not JSON that can be used here")
	}
	before := text[:min(int(syntax.Offset), len(text))]
	line := strings.LastIndex(before, "\n")
	return fmt.Errorf("it is not JSON, by line %d, column %d", strings.Count(before, "\n")+1, utf8.RuneCountInString(before[line+1:]))
}

func wrongCSV(text string) error {
	_, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if syntax, ok := errors.AsType[*csv.ParseError](err); ok {
		return fmt.Errorf("it is not CSV, by line %d, column %d: %w", syntax.Line, syntax.Column, syntax.Err)
	}
	return errors.New("it is not CSV with a first line that names each column once")
}
