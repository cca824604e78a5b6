package config

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"

	"github.com/tokenagent/tokenagent/agent/host"
)

// functions are all that expressions can call, beside file, which each file of the
// configuration has for itself.
func functions(env Environment, most int) map[string]function.Function {
	return map[string]function.Function{
		"format":     limited(stdlib.FormatFunc, most, widest),
		"join":       limited(stdlib.JoinFunc, most, joined),
		"split":      stdlib.SplitFunc,
		"lower":      stdlib.LowerFunc,
		"upper":      stdlib.UpperFunc,
		"replace":    limited(stdlib.ReplaceFunc, most, replaced),
		"concat":     stdlib.ConcatFunc,
		"merge":      stdlib.MergeFunc,
		"keys":       stdlib.KeysFunc,
		"values":     stdlib.ValuesFunc,
		"range":      rangeFunction(),
		"toset":      tosetFunction(),
		"env":        envFunction(env),
		"jsondecode": decoding(stdlib.JSONDecodeFunc, wrongJSON),
		"csvdecode":  decoding(stdlib.CSVDecodeFunc, wrongCSV),
		"hostname":   machineFunction("host name", env.Machine.Hostname, env.Definitions),
		"fqdn":       machineFunction("fully qualified host name", env.Machine.FQDN, env.Definitions),
	}
}

// limited is the function with a limit for the bytes of its result, which size tells before
// the function is called.
func limited(f function.Function, most int, size func(args []cty.Value) int) function.Function {
	return function.New(&function.Spec{
		Params:   f.Params(),
		VarParam: f.VarParam(),
		Type:     f.ReturnTypeForValues,
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			if size(args) > most {
				return cty.NilVal, fmt.Errorf("its text would have more than %d MiB, more than an expression may make", most>>20)
			}
			return f.Call(args)
		},
	})
}

var digits = regexp.MustCompile(`[0-9]+`)

// widest is the sum of all numbers in a format: a number pads the text to that width.
func widest(args []cty.Value) (size int) {
	for _, number := range digits.FindAllString(args[0].AsString(), -1) {
		n, err := strconv.Atoi(number)
		if err != nil || n > math.MaxInt32 || size > math.MaxInt32 {
			return math.MaxInt
		}
		size += n
	}
	return size
}

// joined is the size of the lists' texts with the separator between them.
func joined(args []cty.Value) (size int) {
	for _, list := range args[1:] {
		if !list.CanIterateElements() {
			continue
		}
		for _, e := range list.AsValueSlice() {
			size += len(args[0].AsString())
			if e.IsKnown() && !e.IsNull() {
				size += len(e.AsString())
			}
		}
	}
	return size
}

// replaced is the size of the text with each substring replaced.
func replaced(args []cty.Value) int {
	text, old, by := args[0].AsString(), args[1].AsString(), args[2].AsString()
	return len(text) + strings.Count(text, old)*max(len(by)-len(old), 0)
}

// tosetFunction makes a set of a list. Where all elements are of one type, it leaves out
// cty's search for a common type, which takes seconds for 10,000 elements.
func tosetFunction() function.Function {
	convert := stdlib.MakeToFunc(cty.Set(cty.DynamicPseudoType))
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "list", Type: cty.DynamicPseudoType, AllowNull: true}},
		Type: func(args []cty.Value) (cty.Type, error) {
			if t, ok := uniform(args[0]); ok {
				return cty.Set(t), nil
			}
			if !isSequence(args[0].Type()) {
				return cty.NilType, function.NewArgErrorf(0, `it is a list such as ["a", "b"], and this is %s`, describe(args[0].Type()))
			}
			t, err := convert.ReturnTypeForValues(args)
			if err != nil {
				return cty.NilType, errElements
			}
			return t, nil
		},
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			if _, ok := uniform(args[0]); ok {
				return cty.SetVal(args[0].AsValueSlice()), nil
			}
			set, err := convert.Call(args)
			if err != nil {
				return cty.NilVal, errElements
			}
			return set, nil
		},
	})
}

// errElements is the error of a list of which no set can be made.
var errElements = function.NewArgErrorf(0, "all elements of a set are of one type; write numbers, true and false in quotes")

const mostInRange = 1024 // numbers, which cty sets

// rangeFunction is that of cty with another message for a list that is too long.
func rangeFunction() function.Function {
	return function.New(&function.Spec{
		VarParam: &function.Parameter{Name: "number", Type: cty.Number},
		Type:     function.StaticReturnType(cty.List(cty.Number)),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			list, err := stdlib.RangeFunc.Call(args)
			if err != nil && strings.Contains(err.Error(), strconv.Itoa(mostInRange)) {
				err = errors.New("a range has at most 1,024 numbers; put several together with concat")
			}
			return list, err
		},
	})
}

// uniform gives the type of the elements where all are of one.
func uniform(list cty.Value) (cty.Type, bool) {
	t := list.Type()
	if list.IsNull() || !t.IsTupleType() || t.Length() == 0 {
		return cty.NilType, false
	}
	first := t.TupleElementType(0)
	differs := slices.ContainsFunc(t.TupleElementTypes(), func(other cty.Type) bool { return !other.Equals(first) })
	return first, !differs && first != cty.DynamicPseudoType
}

var secretName = regexp.MustCompile(`(?i)SECRET|TOKEN|PASSWORD|KEY`)

// envFunction gives the value of an environment variable that holds no secret.
// Where only definitions are checked, one that is not set has an unknown value.
func envFunction(env Environment) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "name", Type: cty.String}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			name := args[0].AsString()
			if secretName.MatchString(name) {
				return cty.NilVal, function.NewArgErrorf(0, "%q may hold a secret, and secrets are read from files only", name)
			}
			switch value := env.Machine.Getenv(name); {
			case value != "":
				return cty.StringVal(value), nil
			case env.Definitions:
				return cty.UnknownVal(cty.String), nil
			}
			return cty.NilVal, function.NewArgErrorf(0, "the environment variable %q is not set", name)
		},
	})
}

// machineFunction gives a name of this machine. It asks once.
func machineFunction(what string, ask func() (string, error), definitions bool) function.Function {
	once := sync.OnceValues(ask)
	return function.New(&function.Spec{
		Type: function.StaticReturnType(cty.String),
		Impl: func([]cty.Value, cty.Type) (cty.Value, error) {
			name, err := once()
			switch {
			case err == nil:
				return cty.StringVal(name), nil
			case definitions:
				return cty.UnknownVal(cty.String), nil
			}
			return cty.NilVal, fmt.Errorf("the %s: %w", what, err)
		},
	})
}

// fileFunction gives the content of a file; relative paths begin at the folder. Where only
// definitions are checked, a file that is not here has an unknown value.
func fileFunction(r *reader, folder string, definitions bool) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "path", Type: cty.String}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			path := args[0].AsString()
			if !filepath.IsAbs(path) {
				path = filepath.Join(folder, path)
			}
			text, err := r.include(host.Spelled(filepath.Clean(path)))
			switch {
			case err == errDoubted, err != nil && definitions:
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
