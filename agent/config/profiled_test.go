package config

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tokenagent/tokenagent/agent"
)

// A pool is a source of the profile htcondor, and of a name that it asks the
// machine for.
type pool struct{ domain string }

func (p *pool) Issue(context.Context, agent.Request) (agent.Token, error) {
	return agent.Token{}, errors.New("no tokens here")
}

// loadPool loads text with a source source.pool.p in front of it.
func loadPool(t *testing.T, text string, knob func(string) (string, error)) (*Config, Faults) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tokenagent.hcl")
	if err := os.WriteFile(path, []byte("source \"pool\" \"p\" {}\n"+text), 0o600); err != nil {
		t.Fatal(err)
	}
	env := testEnvironment()
	env.Machine.Knob = knob
	return Load(t.Context(), []string{path}, Kinds{Sources: map[string]SourceDecoder{"pool": func(b *Block) Source {
		if !b.Decode(&struct{}{}) {
			return Source{}
		}
		domain, err := b.Knob("TRUST_DOMAIN")
		if err != nil {
			b.Warn("", "no domain", err.Error())
		}
		return Source{Source: &pool{domain}, Profile: "htcondor"}
	}}}, env)
}

func TestASourceOfOneProfileImpliesIt(t *testing.T) {
	for lines, want := range map[string]string{
		``:                                 "",
		`profile = "htcondor"`:             "",
		`unlimited = true`:                 "",
		`profile = "wlcg"`:                 `wrong profile "wlcg" for the source; source.pool.p issues for the profile htcondor alone; leave the attribute out`,
		`profile = "htcondr"`:              `unknown profile "htcondr"; did you mean "htcondor"?`,
		"profile = 1\n unlimited = \"no\"": `wrong type for profile; profile is a string`,
	} {
		c, faults := loadPool(t, "token \"t\" {\n source = source.pool.p\n "+lines+"\n}\n", nil)
		if want != "" {
			if got := faults.Error(); !strings.Contains(got, want) {
				t.Errorf("%s: got %s, want %s", lines, got, want)
			}
			continue
		}
		if faults.HasErrors() {
			t.Fatal(faults)
		}
		if req := c.Renewers[0].Request; req.Profile != "htcondor" || req.Unlimited != (lines == "unlimited = true") {
			t.Errorf("%s: got %+v", lines, req)
		}
	}
}

func TestWhatHTCondorSaysIsAskedOfTheMachine(t *testing.T) {
	for name, c := range map[string]struct {
		knob func(string) (string, error)
		want string
	}{
		"set":           {func(name string) (string, error) { return name + "!", nil }, ""},
		"empty":         {func(string) (string, error) { return "", nil }, "TRUST_DOMAIN: it is not set"},
		"in vain":       {func(string) (string, error) { return "", errors.New("not defined") }, "TRUST_DOMAIN: not defined"},
		"not installed": {nil, "TRUST_DOMAIN: HTCondor is not installed here"},
	} {
		t.Run(name, func(t *testing.T) {
			loaded, faults := loadPool(t, "token \"t\" {\n source = source.pool.p\n}\n", c.knob)
			if faults.HasErrors() {
				t.Fatal(faults)
			}
			details := ""
			for _, f := range faults {
				if f.Summary == "no domain" {
					details = f.Detail
				}
			}
			if domain := loaded.Renewers[0].Source.(*pool).domain; details != c.want || (domain == "TRUST_DOMAIN!") != (c.want == "") {
				t.Errorf("got %q, %q", domain, details)
			}
		})
	}
}
