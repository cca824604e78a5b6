package sinks

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/config"
)

// templateLine is the attribute template, as a heredoc.
func templateLine(text string) string { return "template = <<EOT\n" + text + "\nEOT\n" }

// jwt is a token with those claims, as JSON.
func jwt(claims string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"RS256"}`)) + "." + encode([]byte(claims)) + ".c2ln"
}

func TestATemplateWritesWhatReadersWant(t *testing.T) {
	signed := jwt(`{"sub":"robot","iss":"https://i.example.org","exp":1764500000,"wlcg.groups":["/a","/b"],"n":12345678901234567890,"t":"a \"b\" & c"}`)
	for name, c := range map[string]struct{ template, want string }{
		"a header":        {`Authorization: Bearer {{.token}}`, "Authorization: Bearer " + signed},
		"INI":             {"[auth]\ntoken = {{.token}}\nexpires = {{.expires}}", "[auth]\ntoken = " + signed + "\nexpires = 2000-01-01T01:00:00Z"},
		"netrc":           {`machine x login {{.claims.sub}} password {{.token}}`, "machine x login robot password " + signed},
		"JSON":            {`{"t":{{json .token}},"g":{{json (index .claims "wlcg.groups")}},"q":{{json .claims.t}}}`, `{"t":"` + signed + `","g":["/a","/b"],"q":"a \"b\" & c"}`},
		"Unix time":       {`{{.token}} {{.issued.Unix}} {{.expires.Unix}}`, signed + " 946684800 946688400"},
		"a long number":   {`{{.token}} {{.claims.exp}} {{.claims.n}}`, signed + " 1764500000 12345678901234567890"},
		"a list":          {`{{.token}}{{range index .claims "wlcg.groups"}} {{.}}{{end}}`, signed + " /a /b"},
		"members":         {`{{.token}} {{index .claims "wlcg.groups" 0}} {{index .claims "wlcg.groups" 1}}`, signed + " /a /b"},
		"another context": {`{{with .claims}}{{.sub}}{{end}} {{$.token}}`, "robot " + signed},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "file")
			s := fine(t, pathLine(path)+templateLine(c.template))
			synctest.Test(t, func(t *testing.T) {
				put(t, s, token(signed, time.Hour), true)
				put(t, s, token(signed, time.Hour), false)
			})
			got, err := os.ReadFile(path)
			must(t, err)
			if string(got) != c.want+"\n" {
				t.Errorf("the file holds %q, want %q", got, c.want)
			}
		})
	}
}

func TestWhatATemplateWroteIsKnownByItsRecordAlone(t *testing.T) {
	lines := pathLine(filepath.Join(t.TempDir(), "file")) + templateLine("header {{.token}}")
	s := fine(t, lines)
	if _, err := s.Read(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without the file Read says %v", err)
	}
	put(t, s, token("abc", time.Hour), true)
	if _, err := s.Read(t.Context()); !errors.Is(err, agent.ErrNotReadBack) {
		t.Errorf("Read says %v", err)
	}
	again := fine(t, lines)
	if d, err := again.Adopt(t.Context(), s.mark()); d != "" || err != nil {
		t.Errorf("Adopt says %q, %v", d, err)
	}
	must(t, os.WriteFile(s.path(), []byte("header other"), 0o600))
	if d, err := again.Look(t.Context()); d == "" || err != nil {
		t.Errorf("after a change Look says %q, %v", d, err)
	}
}

func TestFaultsOfATemplate(t *testing.T) {
	here := pathLine(filepath.Join(t.TempDir(), "file"))
	for name, c := range map[string]struct{ lines, want string }{
		"a misspelt value":      {templateLine("# a header\nX: {{.tokn}}"), `line 2, column 6 of the template: .tokn: there is no "tokn"; a template has .token, .expires, .issued and .claims`},
		"behind a condition":    {templateLine("{{if .claims.x}}{{.token}}{{else}}{{.expiry}}{{end}}{{.expired}}"), `there is no "expired"`},
		"a method":              {templateLine("{{.token}} {{.expires.Unx}}"), "line 1, column 22 of the template: .expires.Unx: can't evaluate field Unx"},
		"a syntax error":        {templateLine("{{.token}}\n{{if}}"), "line 2 of the template: missing value for if"},
		"an unknown function":   {templateLine("{{quote .token}}"), `line 1 of the template: function "quote" not defined`},
		"an open brace":         {templateLine("{{.token"), "line 2 of the template: unclosed action"},
		"an empty one":          {`template = ""`, "template is empty"},
		"one without the token": {templateLine("machine x"), "write {{.token}}"},
		"one that defines only": {`template = "{{define \"x\"}}{{.token}}{{end}}"`, "write {{.token}}"},
		"a NUL":                 {`template = "{{.token}}\u0000"`, "it is text, which may have line breaks and tabs"},
		"one that is all false": {`template = "{{if eq .claims.iss \"x\"}}{{.token}}{{end}}"`, "write {{.token}}"},
		"beside a format":       {templateLine("{{.token}}") + `format = "raw"`, "format and template exclude each other"},
		"without end":           {templateLine("{{range 1000000000}}{{$.token}}{{end}}"), "it writes more than 65536 bytes"},
		"an endless loop":       {templateLine("{{range 9223372036854775807}}{{end}}{{.token}}"), "it repeats more than 200000 times"},
		"endless in a loop":     {templateLine("{{range .token | len}}{{with 1}}{{range 100000}}{{end}}{{end}}{{end}}{{.token}}"), "it repeats more than"},
		"calls without end":     {templateLine(`{{define "x"}}{{if .}}{{template "x" slice . 1}}{{template "x" slice . 1}}{{end}}{{end}}{{template "x" .token}}{{.token}}`), "it repeats more than"},
		"into itself":           {templateLine(`{{define "x"}}{{template "x" .}}{{end}}{{template "x" .}}`), "maximum template depth"},
	} {
		t.Run(name, func(t *testing.T) {
			_, faults := load(t, config.Environment{}, here+c.lines)
			if got := text(t, faults); !faults.HasErrors() || !strings.Contains(got, c.want) {
				t.Errorf("want %q, got:\n%s", c.want, got)
			}
		})
	}
}

// Claims whose form only the issuer knows are no reason to refuse a template.
func TestATemplateMayUseClaimsThatTheIssuerAdds(t *testing.T) {
	here := pathLine(filepath.Join(t.TempDir(), "file"))
	for _, text := range []string{
		"{{.token}} {{.claims.eduperson}}",
		"{{.token}} {{range .claims.groups}}{{.}}{{end}}",
		"{{.token}} {{.claims.a.b}}",
		`{{.token}} {{index .claims "x.y" 0}}`,
	} {
		fine(t, here+templateLine(text))
	}
}

// The claims that the token block asks for are known at load.
func TestATemplateIsTriedWithTheClaimsOfItsToken(t *testing.T) {
	here := pathLine(filepath.Join(t.TempDir(), "file"))
	const team = "claims = { team = { name = \"ops\" } }\n"
	for template, want := range map[string]string{
		"{{.token}} {{with .claims.team}}{{.name}}{{end}}": "",
		"{{.token}} {{with .claims.team}}{{.nmae}}{{end}}": `.nmae: there is no "nmae"`,
	} {
		_, faults := loadToken(t, config.Environment{}, team, here+templateLine(template))
		if got := text(t, faults.Errors()); (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%s: got %s, want %q", template, got, want)
		}
	}
}

func TestATemplateThatDoesNotFitTheTokenLeavesTheOldFile(t *testing.T) {
	for name, c := range map[string]struct{ template, claims, want string }{
		"a missing claim":       {"{{.token}}\n{{.claims.groups}}", `{}`, "its template, line 2, column 10: the token has no .claims.groups"},
		"a missing member":      {`{{.token}} {{index .claims "x.y"}}`, `{}`, "the token has no index .claims"},
		"null":                  {"{{.token}} {{.claims.x}}", `{"x":null}`, "the token has no .claims.x"},
		"a line end":            {"{{.token}} {{.claims.x}}", `{"x":"a\nmachine evil"}`, "the token has no .claims.x (claims with control characters count as missing)"},
		"one in a list":         {"{{.token}} {{.claims.x}}", `{"x":["a","\u0085"]}`, "the token has no .claims.x"},
		"one in a name":         {"{{.token}} {{.claims.x}}", `{"x":{"a\u0000":1}}`, "the token has no .claims.x"},
		"a paragraph separator": {"{{.token}} {{.claims.x}}", `{"x":"\u2029"}`, "the token has no .claims.x"},
		"a loop over a number":  {"{{.token}} {{range .claims.x}}{{end}}", `{"x":1000000000000}`, "line 1, column 27: .claims.x cannot be evaluated for this token"},
		"too much":              {"{{.token}} {{range .claims.x}}{{range $.claims.x}}{{$.token}}{{end}}{{end}}", `{"x":[` + strings.Repeat("1,", 99) + `1]}`, "it writes more than 65536 bytes"},
		"a false condition":     {"{{if .claims.x}}{{.token}}{{end}}", `{"x":false}`, "its template does not write this token"},
		"a part of the token":   {`{{if eq .claims.x "y"}}{{range .token}}{{end}}{{end}}{{.token}}`, `{"x":"y"}`, "cannot be evaluated for this token"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "file")
			must(t, os.WriteFile(path, []byte("old"), 0o600))
			s := fine(t, pathLine(path)+templateLine(c.template))
			signed := jwt(c.claims)
			_, err := s.Put(t.Context(), token(signed, time.Hour))
			fault, ok := errors.AsType[*agent.Fault](err)
			if !ok || fault.Kind != agent.Writing || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), path+": ") {
				t.Errorf("Put says %v, want %q", err, c.want)
			}
			for part := range strings.SplitSeq(signed, ".") {
				if strings.Contains(strings.TrimPrefix(fmt.Sprint(err), path), part) { // a folder's random name may hold "e30"
					t.Errorf("the error shows a part of the token: %v", err)
				}
			}
			if content, _ := os.ReadFile(path); string(content) != "old" {
				t.Errorf("the file holds %q", content)
			}
		})
	}
}

// Opaque tokens may have characters that a template escapes.
func TestATemplateMayEscapeTheToken(t *testing.T) {
	for text, want := range map[string]string{
		"{{html .token}}":     "a+b&amp;c==\n",
		"{{json .token}}":     "\"a+b&c==\"\n",
		"{{js .token}}":       `a+b\u0026c\u003D\u003D` + "\n",
		"{{urlquery .token}}": "a%2Bb%26c%3D%3D\n",
	} {
		path := filepath.Join(t.TempDir(), "file")
		put(t, fine(t, pathLine(path)+templateLine(text)), token("a+b&c==", time.Hour), true)
		if got, _ := os.ReadFile(path); string(got) != want {
			t.Errorf("%s writes %q, want %q", text, got, want)
		}
	}
}

func TestATemplateHasNoExpiryThatIsNotKnown(t *testing.T) {
	s := fine(t, pathLine(filepath.Join(t.TempDir(), "file"))+templateLine("{{.token}} {{.expires}}"))
	if _, err := s.Put(t.Context(), agent.Token{Secret: agent.NewSecret("opaque"), Issued: time.Now()}); err == nil || !strings.Contains(err.Error(), "the token has no .expires") {
		t.Errorf("Put says %v", err)
	}
}

func TestInATokenDirectoryHTCondorWantsTheTokenAlone(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct{ lines, at string }{
		"raw":        {`format = "raw"`, `format = "raw"`},
		"a template": {templateLine("{{.token}}"), "template ="},
	} {
		t.Run(name, func(t *testing.T) {
			_, faults := loadToken(t, condor("SEC_TOKEN_DIRECTORY", dir), idtoken, pathLine(filepath.Join(dir, "token"))+c.lines)
			if got := text(t, faults); !faults.HasErrors() || !strings.Contains(got, `the format "token"`) || !strings.Contains(got, c.at) {
				t.Errorf("got:\n%s", got)
			}
		})
	}
}
