package config

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tokenagent/tokenagent/agent"
)

// A common is what the blocks of several kinds have in common.
type common struct {
	File string `hcl:"file,path"`
	Size int    `hcl:"size,optional"`
}

// A followSource is of a kind that follows a file.
type followSource struct {
	common
	Again bool `hcl:"again,optional"`
}

func (*followSource) Issue(context.Context, agent.Request) (agent.Token, error) {
	return agent.Token{}, nil
}

func (s *followSource) Follows() (string, bool) { return s.File, false }

// loadFollowing loads a source with those attributes and the text behind it.
func loadFollowing(t *testing.T, attributes, text string) (*followSource, string) {
	t.Helper()
	var made *followSource
	kinds := fakes("key")
	kinds.Sources["follow"] = func(b *Block) Source {
		made = &followSource{common: common{Size: 7}}
		b.Decode(made)
		return Source{Source: made}
	}
	folder := write(t, map[string]string{"a.hcl": "source \"follow\" \"s\" {\n" + attributes + "\n}\n" + text})
	_, faults := Load(t.Context(), []string{filepath.Join(folder, "a.hcl")}, kinds, testEnvironment())
	return made, strings.ReplaceAll(faults.Error(), folder+"/", "")
}

func TestAttributesOfAnEmbeddedStructAreThoseOfTheBlock(t *testing.T) {
	const token = `token "t" { source = source.follow.s }`
	s, faults := loadFollowing(t, "file = \"/srv/../tmp/x\"\nagain = true\n", token)
	if faults != "" || s.File != "/tmp/x" || !s.Again || s.Size != 7 {
		t.Errorf("got %+v, %s", s, faults)
	}
	_, faults = loadFollowing(t, "sise = 1\nsize = 1.5\n", token)
	for _, want := range []string{"a.hcl:1:1: missing attribute file; write file = \"/…\" in this block", "a.hcl:2:1: unknown attribute sise; did you mean size?", "a.hcl:3:8: size is not a whole number"} {
		if !strings.Contains(faults, want) {
			t.Errorf("got %s\nwant %s", faults, want)
		}
	}
}

func TestATokenIsNotWrittenOverWhatItIsMadeFrom(t *testing.T) {
	const made = "the token would replace what it is made from; source.follow.s reads /srv/x; write the token elsewhere"
	for name, c := range map[string]struct{ text, want string }{
		"its own file":        {`sink "fake" { path = "/srv/x" }`, "a.hcl:6:22: " + made},
		"by another spelling": {`sink "fake" { path = "/srv/./y/../x" }`, "a.hcl:6:22: " + made},
		"another file":        {`sink "fake" { path = "/srv/y" }`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, got := loadFollowing(t, `file = "/srv/x"`, "token \"t\" {\nsource = source.follow.s\n"+c.text+"\n}\n")
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// A token that another definition keeps is a usual thing to exchange.
func TestATokenMayBeMadeFromAnother(t *testing.T) {
	_, got := loadFollowing(t, `file = "/srv/x"`, `source "fake" "other" { issuer = "i" }
token "first" {
  source = source.fake.other
  sink "fake" { path = "/srv/x" }
}
token "second" {
  source = source.follow.s
  sink "fake" { path = "/srv/y" }
}
`)
	if got != "" {
		t.Error(got)
	}
}
