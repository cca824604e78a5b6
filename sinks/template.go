package sinks

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"text/template"
	"text/template/parse"
	"time"
	"unicode"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/agent/profile"
	"github.com/tokenagent/tokenagent/sinks/safefile"
)

// mostRendered is how many bytes a template may write.
const mostRendered = safefile.MaxRead

// A layout is the template of a file: one of package text/template with the values
// .token, .expires, .issued and .claims, and the function json. A value that the token
// does not have is an error, never an empty text.
type layout struct{ *template.Template }

func parseLayout(text string) (layout, error) {
	t, err := template.New(layoutName).Option("missingkey=error").Funcs(template.FuncMap{"json": asJSON, "index": member, stepName: counted()}).Parse(text)
	if err != nil {
		return layout{}, err
	}
	for _, one := range t.Templates() {
		count(one.Root)
	}
	return layout{t}, nil
}

const (
	stepName  = "step"
	mostSteps = 200_000 // more than the depth that text/template allows
)

var errTooManySteps = fmt.Errorf("it repeats more than %d times", mostSteps)

// count has each round of a loop and each call of a template call the function step: a
// template that writes nothing would else never end.
func count(list *parse.ListNode) {
	if list == nil {
		return
	}
	var nodes []parse.Node
	for _, n := range list.Nodes {
		switch n := n.(type) {
		case *parse.IfNode:
			count(n.List)
			count(n.ElseList)
		case *parse.WithNode:
			count(n.List)
			count(n.ElseList)
		case *parse.RangeNode:
			count(n.List)
			count(n.ElseList)
			n.List.Nodes = append([]parse.Node{newStep()}, n.List.Nodes...)
		case *parse.TemplateNode:
			nodes = append(nodes, newStep())
		}
		nodes = append(nodes, n)
	}
	list.Nodes = nodes
}

func newStep() parse.Node {
	call := template.Must(template.New(layoutName).Funcs(template.FuncMap{stepName: counted()}).Parse("{{" + stepName + "}}"))
	return call.Root.Nodes[0]
}

// counted is a function step for one execution.
func counted() func() (string, error) {
	steps := 0
	return func() (string, error) {
		if steps++; steps > mostSteps {
			return "", errTooManySteps
		}
		return "", nil
	}
}

// formatOf is the format that the block names, or that of its template.
func formatOf(b *config.Block, block fileBlock, req agent.Request) format {
	switch {
	case !b.Has("template") || b.Wrong("template"):
		return formats[block.Format]
	case b.Has("format"):
		b.Fault("template", "format and template exclude each other", "leave out one of them: a template writes the whole file")
		return formats[block.Format]
	}
	l, err := parseLayout(block.Template)
	var sample []byte
	if err == nil {
		sample, err = l.try(block.Template, req)
	}
	switch {
	case err != nil:
		b.Fault("template", "the template cannot be used", faultOf(err).String())
	case sample != nil && !writes(sample, sampleToken):
		b.Fault("template", "the template does not write the token", `write {{.token}} where the token is to stand`)
	default:
		return l.format()
	}
	return formats[block.Format]
}

// format is the one that the layout makes. Nothing finds the token in it again.
func (l layout) format() format {
	return format{render: func(t agent.Token, _ time.Time) ([]byte, error) {
		content, err := l.execute(valuesOf(t))
		switch {
		case err != nil:
			return nil, withoutValues(err)
		case !writes(content, t.Secret.Reveal()):
			return nil, errors.New("its template does not write this token: a condition in it leaves the token out")
		}
		return content, nil
	}}
}

// execute returns what the template writes, which is not nil even when it is nothing.
func (l layout) execute(values map[string]any) ([]byte, error) {
	t, err := l.Clone() // for a count of its own
	if err != nil {
		return nil, err
	}
	content := bytes.NewBuffer([]byte{})
	err = t.Funcs(template.FuncMap{stepName: counted()}).Execute(&atMost{content, mostRendered}, values)
	return content.Bytes(), err
}

// writes reports whether the token is in the content, as it is or escaped by one of the
// functions that a template has.
func writes(content []byte, token string) bool {
	quoted, _ := asJSON(token) // no string is an error
	forms := []string{token, quoted[1 : len(quoted)-1], template.HTMLEscapeString(token), template.JSEscapeString(token), template.URLQueryEscaper(token)}
	return slices.ContainsFunc(forms, func(form string) bool { return strings.Contains(string(content), form) })
}

// valuesOf are what a template can write of the token. A time that is not known is
// left out.
func valuesOf(t agent.Token) map[string]any {
	values := map[string]any{"token": t.Secret.Reveal(), "issued": instant{t.Issued.UTC()}, "claims": map[string]any{}}
	if !t.Expires.IsZero() {
		values["expires"] = instant{t.Expires.UTC()}
	}
	if decoded, err := profile.Decode(t.Secret.Reveal()); err == nil {
		values["claims"] = printable(decoded.Claims)
	}
	return values
}

// printable are the claims that can stand in a file: not null, and without control
// characters, which could add lines to it.
func printable(claims map[string]any) map[string]any {
	all := maps.Clone(claims)
	maps.DeleteFunc(all, func(name string, v any) bool { return unprintable(name) || unprintable(v) })
	return all
}

func unprintable(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case string:
		return strings.ContainsFunc(v, func(r rune) bool { return unicode.In(r, unicode.Cc, unicode.Zl, unicode.Zp) })
	case []any:
		return slices.ContainsFunc(v, unprintable)
	case map[string]any:
		return len(printable(v)) < len(v)
	}
	return false
}

// An instant is a time that prints as RFC 3339 says. It has the methods of time.Time.
type instant struct{ time.Time }

// String is the time in RFC 3339.
func (i instant) String() string { return i.Format(time.RFC3339) }

// asJSON is the function json.
func asJSON(v any) (string, error) {
	var text strings.Builder
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return strings.TrimSuffix(text.String(), "\n"), err
}

// member is the function index, for which a member that is not there is an error too.
func member(v any, keys ...any) (any, error) {
	for _, key := range keys {
		name, _ := key.(string)
		n, isNumber := key.(int)
		object, _ := v.(map[string]any)
		list, _ := v.([]any)
		switch next, found := object[name]; {
		case found:
			v = next
		case isNumber && 0 <= n && n < len(list):
			v = list[n]
		default:
			return nil, fmt.Errorf("there is no %v", key)
		}
	}
	return v, nil
}

// atMost passes on so many bytes, and is an error from there on.
type atMost struct {
	io.Writer
	left int
}

var errTooLong = fmt.Errorf("it writes more than %d bytes", mostRendered)

func (w *atMost) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, errTooLong
	}
	return w.Writer.Write(p)
}

const layoutName = "t"

// layoutError is how text/template says what is wrong: with the line, the column from
// 0 (not of a syntax error), the expression (that of an execution) and the reason.
var layoutError = regexp.MustCompile(`(?s)^template: t:(\d+)(?::(\d+))?: (?:executing "[^"]*" at <(.*?)>: )?(.*)$`)

// A layoutFault is an error of text/template in its parts.
type layoutFault struct{ place, expression, reason string }

func faultOf(err error) layoutFault {
	m := layoutError.FindStringSubmatch(err.Error())
	switch {
	case errors.Is(err, errTooManySteps):
		return layoutFault{reason: errTooManySteps.Error()}
	case m == nil:
		return layoutFault{reason: err.Error()}
	}
	f := layoutFault{"line " + m[1], m[3], m[4]}
	if m[2] != "" {
		column := 0
		fmt.Sscan(m[2], &column)
		f.place += fmt.Sprintf(", column %d", column+1)
	}
	return f
}

// String is for those who wrote the template.
func (f layoutFault) String() string {
	text := f.reason
	if missing, ok := strings.CutPrefix(text, "map has no entry for key "); ok {
		text = fmt.Sprintf("there is no %s; a template has .token, .expires, .issued and .claims", missing)
	}
	if f.expression != "" {
		text = f.expression + ": " + text
	}
	if f.place != "" {
		text = f.place + " of the template: " + text
	}
	return text
}

// withoutValues is an error of a template without what text/template quotes in it: a
// part of the token, perhaps.
func withoutValues(err error) error {
	f := faultOf(err)
	switch {
	case errors.Is(err, errTooLong), errors.Is(err, errTooManySteps):
		return fmt.Errorf("its template: %s", f.reason)
	case strings.HasPrefix(f.reason, "map has no entry for key"), strings.HasPrefix(f.reason, "error calling index: there is no "):
		return fmt.Errorf("its template, %s: the token has no %s (claims with control characters count as missing)", f.place, f.expression)
	}
	return fmt.Errorf("its template, %s: %s cannot be evaluated for this token", f.place, f.expression)
}

// sampleToken is what try writes in the place of the token.
const sampleToken = "eyJhbGciOiJub25lIn0.e30.sample"

var (
	fieldNames = regexp.MustCompile(`\.([\pL_][\pL\pN_]*)`)
	quoted     = regexp.MustCompile("[\"`]([^\"`]+)[\"`]")
)

// try executes the template for a token such as the request asks for. What claims that
// only the issuer knows look like cannot be told: each may be a text or a list.
func (l layout) try(text string, req agent.Request) (content []byte, err error) {
	for _, unknown := range []any{"sample", []any{"sample"}} {
		claims := map[string]any{}
		for _, names := range [][][]string{fieldNames.FindAllStringSubmatch(text, -1), quoted.FindAllStringSubmatch(text, -1)} {
			for _, name := range names {
				claims[name[1]] = unknown
			}
		}
		maps.Copy(claims, sampleClaims(req))
		at := instant{time.Unix(1_700_000_000, 0).UTC()}
		content, err = l.execute(map[string]any{"token": sampleToken, "issued": at, "expires": at, "claims": claims})
		if err == nil {
			return content, nil
		}
		if f := faultOf(err); !strings.Contains(f.expression, ".claims") && !strings.HasSuffix(f.reason, " over sample") {
			return nil, err
		}
	}
	return nil, nil
}

func sampleClaims(req agent.Request) map[string]any {
	claims := map[string]any{
		"iss": "https://issuer.example.org", "sub": req.Subject, "scope": strings.Join(req.Scope, " "), "jti": "sample",
		"iat": json.Number("1700000000"), "nbf": json.Number("1700000000"), "exp": json.Number("1700000000"),
	}
	if data, err := json.Marshal(req.Claims); err == nil {
		if own, err := profile.DecodeValue(data); err == nil && own != nil {
			maps.Copy(claims, printable(own.(map[string]any)))
		}
	}
	return claims
}
