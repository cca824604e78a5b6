package config

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/tokenagent/tokenagent/agent/profile"
)

// Decode fills the struct that into points to with the attributes of the block, reports
// every fault at the value, and returns whether there was none. A field is tagged with the
// attribute's name and options:
//
//	KeyFile string   `hcl:"key_file,path"`      // required; absolute, and cleaned
//	KeyID   string   `hcl:"key_id,optional"`    // left as it is when not set
//	Text    string   `hcl:"text,lines"`         // may have line breaks and tabs
//
// Fields without a tag are left alone; those of an embedded struct belong to the struct
// itself. An attribute that is missing or wrong leaves its field as it is, but a map gets
// the elements that are right. So a decoder can go on and find other faults.
//
// The types of fields are string, bool, int, float64, []string, map[string]any
// (of string, bool, int64, float64, []any and map[string]any), time.Duration
// ("2d12h", see ParseDuration) and fs.FileMode ("0600" or "640"). Nothing
// is converted: a number is not a string. Strings are neither empty nor of more
// than one line. An attribute or block that the struct does not have is a fault.
//
// The block may hold blocks of the kinds named.
func (b *Block) Decode(into any, blocks ...string) bool {
	target := reflect.ValueOf(into).Elem()
	fields := once(b.load, target.Type(), func() []field { return fieldsOf(target.Type()) })
	known := fieldNames(fields)
	if b.stanza.kind == "source" {
		known = append(known, "for_each")
	}
	meant, ok := correct(b.stanza, known, blocks, b.load.found)
	b.unread = append(b.unread, meant...)
	for _, f := range fields {
		if !slices.Contains(meant, f.name) && !b.decodeField(f, target.FieldByIndex(f.index)) {
			ok = false
		}
	}
	b.faulty = b.faulty || !ok
	return ok
}

// A field is one of a struct to decode into.
type field struct {
	name                  string
	index                 []int // for reflect's FieldByIndex
	kind                  reflect.Type
	optional, path, lines bool
}

// fieldsOf reads the tags of a struct.
func fieldsOf(t reflect.Type) (fields []field) {
	for _, member := range reflect.VisibleFields(t) {
		if tag, tagged := member.Tag.Lookup("hcl"); tagged {
			name, options, _ := strings.Cut(tag, ",")
			has := func(option string) bool { return strings.Contains(options, option) }
			fields = append(fields, field{name, member.Index, member.Type, has("optional"), has("path"), has("lines")})
		}
	}
	return fields
}

func fieldNames(fields []field) []string {
	names := make([]string, 0, len(fields))
	for _, f := range fields {
		names = append(names, f.name)
	}
	return names
}

// correct reports attributes and blocks that are unknown. One that is surely meant for
// another is read as that from then on, so that its other faults are found in the same
// run. meant are the attributes that unknown ones are probably meant for: they are not
// reported as missing.
func correct(s *stanza, attrs, blocks []string, found *findings) (meant []string, ok bool) {
	ok = true
	unknown := func(at hcl.Range, what, name string) (near string) {
		near, hint := s.unknownHint(name, attrs, blocks)
		found.fault(at, "unknown "+what+" "+name, hint)
		ok = false
		return near
	}
	for _, a := range s.attributes {
		if slices.Contains(attrs, a.name) {
			continue
		}
		near := unknown(a.nameRange, "attribute", a.name)
		if near != "" && s.attribute(near) == nil && profile.Meant(a.name, attrs) == near {
			a.name = near
			continue
		}
		meant = append(meant, near)
		found.ignore(a.expr.Range())
	}
	for _, inner := range s.blocks {
		if slices.Contains(blocks, inner.kind) {
			continue
		}
		near := unknown(inner.header, "block", inner.kind)
		if near != "" && profile.Meant(inner.kind, blocks) == near {
			inner.kind = near
			continue
		}
		meant = append(meant, near)
	}
	return slices.DeleteFunc(meant, func(name string) bool { return name == "" || s.attribute(name) != nil }), ok
}

// unknownHint says what the block that the unknown name stands in has, and which of it is
// most like that name.
func (s *stanza) unknownHint(name string, attrs, blocks []string) (near, hint string) {
	switch {
	case slices.Contains(blocks, name):
		return name, fmt.Sprintf("%s is a block here; write %s { … } without an equals sign", name, name)
	case slices.Contains(attrs, name):
		return name, fmt.Sprintf("%s is an attribute here; write %s = …", name, name)
	}
	hint = article(s.kind) + " block has " + strings.Join(attrs, ", ")
	if len(blocks) > 0 {
		hint += ", and the blocks " + strings.Join(blocks, ", ")
	}
	known := slices.Concat(attrs, blocks)
	return profile.Nearest(name, known), suggestion(name, known, "%s", hint)
}

// decodeField sets one field from its attribute, if that is set.
func (b *Block) decodeField(f field, target reflect.Value) bool {
	v, set := b.value(f.name)
	switch {
	case set && !v.IsNull() && v.IsKnown():
		return b.convert(f, v, target)
	case set && !v.IsNull(): // it is unknown: the fault behind that was reported
	case f.optional:
		return true
	default:
		b.report(severityError, b.stanza.header, fmt.Sprintf("missing attribute %s", f.name),
			fmt.Sprintf("write %s = %s in this block", f.name, example(f)))
	}
	b.unread = append(b.unread, f.name)
	return false
}

// convert sets one field to the value of its attribute.
func (b *Block) convert(f field, v cty.Value, target reflect.Value) bool {
	a := b.stanza.attribute(f.name)
	converted := reflect.New(f.kind)
	c := conversion{field: f, expr: a.expr}
	c.into(converted.Interface(), v)
	if path, ok := textOf(v); ok && f.path && b.load.eval.keyInPath(a, b.stanza.file, b.instance, path) {
		c.fail(hcl.Range{}, "a key of for_each changes the folder of "+f.name,
			fmt.Sprintf(`the key %q has "/", ".." or a leading dot; write %s instead of it`, b.instance.key, harmlessKey(b.instance.key)))
	}
	if path, is := converted.Interface().(*string); is && f.path && len(c.wrong) == 0 {
		*path = b.Spelled(*path)
	}
	if len(c.wrong) == 0 || f.kind.Kind() == reflect.Map {
		target.Set(converted.Elem())
	} else {
		b.unread = append(b.unread, f.name)
	}
	for _, w := range c.wrong {
		if w.at.Empty() {
			w.at = a.expr.Range()
		}
		b.wrong = append(b.wrong, f.name)
		b.report(severityError, w.at, w.summary, w.detail)
	}
	return len(c.wrong) == 0
}

// example is how a value of the field may look.
func example(f field) string {
	switch reflect.Zero(f.kind).Interface().(type) {
	case time.Duration:
		return `"1h30m"`
	case fs.FileMode:
		return `"0600"`
	case bool:
		return "true"
	case int, float64:
		return "1"
	case []string:
		return `["…"]`
	case map[string]any:
		return "{ … }"
	case cty.Value:
		return "source.KIND.NAME"
	}
	if f.path {
		return `"/…"`
	}
	return `"…"`
}

// A misfit says why a value is not what its attribute takes.
type misfit struct {
	at              hcl.Range // empty: the whole value
	summary, detail string
}

// A conversion is one of an attribute's value into a Go value.
type conversion struct {
	field
	expr  hclsyntax.Expression
	wrong []misfit
}

func (c *conversion) into(target any, v cty.Value) {
	switch p := target.(type) {
	case *string:
		*p = c.text(v)
	case *bool:
		*p = c.is(v, cty.Bool, "true or false") && v.True()
	case *int:
		*p = int(c.whole(v))
	case *float64:
		if c.is(v, cty.Number, "a number") {
			*p, _ = v.AsBigFloat().Float64()
		}
	case *time.Duration:
		if c.is(v, cty.String, `a string such as "90s", "1h30m" or "2d12h"`) {
			*p = parsed(c, v, "duration", ParseDuration)
		}
	case *fs.FileMode:
		if c.is(v, cty.String, `a string of octal digits such as "0600"`) {
			*p = parsed(c, v, "file mode", parseMode)
		}
	case *[]string:
		*p = c.list(v)
	case *map[string]any:
		*p = c.object(v)
	case *cty.Value:
		*p = v
	default:
		panic(fmt.Sprintf("config: no attribute can be decoded into a %T", target))
	}
}

// is reports whether v is of the type; wanted describes it in words.
func (c *conversion) is(v cty.Value, t cty.Type, wanted string) bool {
	if v.Type() == t {
		return true
	}
	detail := fmt.Sprintf("%s is %s, and this is %s", c.name, wanted, describe(v.Type()))
	if t == cty.String && (v.Type() == cty.Number || v.Type() == cty.Bool) {
		detail += "; write it in quotes"
	}
	c.fail(hcl.Range{}, "wrong type for "+c.name, detail)
	return false
}

func (c *conversion) fail(at hcl.Range, summary, detail string) {
	c.wrong = append(c.wrong, misfit{at, summary, detail})
}

func (c *conversion) text(v cty.Value) string {
	if !c.is(v, cty.String, "a string") {
		return ""
	}
	s := v.AsString()
	switch {
	case s == "":
		c.fail(hcl.Range{}, c.name+" is empty", "give it a value, or leave the attribute out")
	case strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) && !(c.lines && strings.ContainsRune("\n\r\t", r)) }):
		allowed := "it is one line of text, without line breaks and tabs"
		if c.lines {
			allowed = "it is text, which may have line breaks and tabs and no other control characters"
		}
		c.fail(hcl.Range{}, c.name+" has control characters", allowed)
	case c.path && !filepath.IsAbs(s):
		c.fail(hcl.Range{}, c.name+" is a relative path",
			`write it from the root on, or from the folder of this file: "${path.config}/…"`)
	case c.path:
		return filepath.Clean(s)
	}
	return s
}

func (c *conversion) whole(v cty.Value) int64 {
	if !c.is(v, cty.Number, "a whole number") {
		return 0
	}
	n, accuracy := v.AsBigFloat().Int64()
	if accuracy != 0 {
		c.fail(hcl.Range{}, c.name+" is not a whole number", "it has no fraction and fits into 64 bits")
	}
	return n
}

// parsed is what parse makes of a string, which is to be what the noun says.
func parsed[T any](c *conversion, v cty.Value, noun string, parse func(string) (T, error)) T {
	t, err := parse(v.AsString())
	if err != nil {
		c.fail(hcl.Range{}, c.name+" is not a "+noun, err.Error())
	}
	return t
}

func (c *conversion) list(v cty.Value) []string {
	if !isSequence(v.Type()) {
		c.fail(hcl.Range{}, "wrong type for "+c.name,
			fmt.Sprintf(`%s is a list of strings such as ["…", "…"], and this is %s`, c.name, describe(v.Type())))
		return nil
	}
	list := make([]string, 0, v.LengthInt())
	for i, e := range v.AsValueSlice() {
		switch {
		case e.IsNull() || e.Type() != cty.String:
			c.fail(elementRange(c.expr, i), "wrong type in "+c.name,
				fmt.Sprintf("every element is a string, and this is %s", describe(e.Type())))
		case e.AsString() == "":
			c.fail(elementRange(c.expr, i), "empty string in "+c.name, "give the element a value, or leave it out")
		default:
			list = append(list, e.AsString())
		}
	}
	return list
}

func (c *conversion) object(v cty.Value) map[string]any {
	if !isMapping(v.Type()) {
		c.fail(hcl.Range{}, "wrong type for "+c.name,
			fmt.Sprintf(`%s is an object such as { name = "value" }, and this is %s`, c.name, describe(v.Type())))
		return nil
	}
	seen := map[string]bool{}
	for _, item := range itemsOf(c.expr) { // of those with one name hcl takes the last
		if seen[item.name] {
			c.fail(item.at, fmt.Sprintf("%s has %s twice", c.name, item.name), "every name stands in an object once")
		}
		seen[item.name] = true
	}
	return plainObject(v, func(path []string, text string) {
		c.fail(itemRange(c.expr, path[0]), "wrong value in "+c.name, strings.Join(path, ".")+" "+text)
	})
}

// article is the kind of a block with "a" or "an" before it.
func article(kind string) string {
	if strings.ContainsAny(kind[:1], "aei") {
		return "an " + kind
	}
	return "a " + kind
}
