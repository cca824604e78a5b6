package sources

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tokenagent/tokenagent/agent/config"
)

const scheddToken = `
token "collector" {
  source  = source.htcondor.pool
  subject = "schedd@example.org"
  scope   = ["condor:/READ", "condor:/ADVERTISE_SCHEDD"]
}
`

// pool is a source block with those lines in it.
func pool(lines ...string) string {
	return "source \"htcondor\" \"pool\" {\n  " + strings.Join(lines, "\n  ") + "\n}\n"
}

// poolDir is a folder with the key of a pool, and another key.
func poolDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"POOL": "hello", "site": "hello\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const domain = `trust_domain = "cm.example.org"`

// installed is the configuration of an HTCondor on this machine.
var installed = map[string]string{"TRUST_DOMAIN": "pool.example.org", "SEC_TOKEN_POOL_SIGNING_KEY_FILE": "DIR/POOL"}

func TestPoolIsReadFromItsBlock(t *testing.T) {
	dir := poolDir(t)
	c, faults := load(t, dir, pool(`key_file = "DIR/POOL"`, domain)+scheddToken, false)
	if len(faults.Errors()) > 0 {
		t.Fatal(faults)
	}
	r := c.Renewers[0]
	if r.Request.Profile != "htcondor" || r.Request.Lifetime != 24*time.Hour {
		t.Errorf("it asks for %+v", r.Request)
	}
	token := issue(t, r.Source, r.Request)
	if d := decoded(t, token); d.Claims["iss"] != "cm.example.org" || d.Header["kid"] != "POOL" {
		t.Errorf("got %v", d)
	}
	if !verifyByHMAC(token.Secret.Reveal(), derivedByHand([]byte("hello"), "POOL")) {
		t.Error("another key signed it")
	}
	if err := r.Accept(token); err != nil {
		t.Error(err)
	}
	if !strings.Contains(strings.Join(c.Files, "\n"), filepath.Join(dir, "POOL")) {
		t.Errorf("the key's file is not watched: %v", c.Files)
	}
}

func TestUnlimitedTokensAreAcceptedWhenAskedFor(t *testing.T) {
	text := pool(`key_file = "DIR/POOL"`, domain) + strings.Replace(scheddToken, `scope   = ["condor:/READ", "condor:/ADVERTISE_SCHEDD"]`, "unlimited = true", 1)
	c, faults := load(t, poolDir(t), text, false)
	if len(faults.Errors()) > 0 {
		t.Fatal(faults)
	}
	r := c.Renewers[0]
	if err := r.Accept(issue(t, r.Source, r.Request)); err != nil {
		t.Error(err)
	}
	limited := r.Request
	limited.Scope, limited.Unlimited = []string{"condor:/READ"}, false
	if err := r.Accept(issue(t, r.Source, limited)); err == nil {
		t.Error("one with limits is accepted")
	}
}

func TestWhatTheBlockLeavesOutHTCondorSays(t *testing.T) {
	cases := map[string]struct {
		condor  map[string]string
		source  string
		content string // of the key
		kid     string
		iss     string
	}{
		"both":              {installed, pool(), "hello", "POOL", "pool.example.org"},
		"the domain":        {installed, pool(`key_file = "DIR/site"`), "hello\n", "site", "pool.example.org"},
		"the key":           {installed, pool(domain), "hello", "POOL", "cm.example.org"},
		"nothing":           {installed, pool(`key_file = "DIR/site"`, `key_id = "k1"`, domain), "hello\n", "k1", "cm.example.org"},
		"which key is POOL": {map[string]string{"SEC_TOKEN_POOL_SIGNING_KEY_FILE": "DIR//site"}, pool(`key_file = "DIR/site"`, domain), "hello\n", "POOL", "cm.example.org"},
		"not installed":     {nil, pool(`key_file = "DIR/POOL"`, domain), "hello", "POOL", "cm.example.org"},
		"the file's name":   {nil, pool(`key_file = "DIR/site"`, domain), "hello\n", "site", "cm.example.org"},
		"another name":      {nil, pool(`key_file = "DIR/POOL"`, `key_id = "k1"`, domain), "hello", "k1", "cm.example.org"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			loaded, faults := loadBeside(t, c.condor, poolDir(t), c.source+scheddToken, false)
			if len(faults.Errors()) > 0 {
				t.Fatal(faults)
			}
			r := loaded.Renewers[0]
			token := issue(t, r.Source, r.Request)
			if d := decoded(t, token); d.Claims["iss"] != c.iss || d.Header["kid"] != c.kid {
				t.Errorf("got %v", d)
			}
			if !verifyByHMAC(token.Secret.Reveal(), derivedByHand([]byte(c.content), c.kid)) {
				t.Error("another key signed it")
			}
		})
	}
}

func TestFaultsOfAPool(t *testing.T) {
	file := `key_file = "DIR/POOL"`
	age := map[string]string{"TRUST_DOMAIN": "cm.example.org", "SEC_TOKEN_MAX_AGE": "3600"}
	cases := map[string]struct {
		condor map[string]string
		mode   os.FileMode // of the key; 0 for 0600
		source string
		token  string   // "" for scheddToken
		want   []string // line: summary; detail
	}{
		"nothing is known": {nil, 0, pool(), "", []string{
			"1: missing attribute key_file; write it in this block, for HTCondor's configuration does not say it (SEC_TOKEN_POOL_SIGNING_KEY_FILE: HTCondor is not installed here)",
			"1: missing attribute trust_domain; write it in this block, for HTCondor's configuration does not say it (TRUST_DOMAIN: HTCondor is not installed here)",
		}},
		"HTCondor knows nothing": {map[string]string{"TRUST_DOMAIN": ""}, 0, pool(), "", []string{
			"1: missing attribute key_file; write it in this block, for HTCondor's configuration does not say it (SEC_TOKEN_POOL_SIGNING_KEY_FILE: not defined)",
			"1: missing attribute trust_domain; write it in this block, for HTCondor's configuration does not say it (TRUST_DOMAIN: it is not set)",
		}},
		"HTCondor's key is not there": {map[string]string{"SEC_TOKEN_POOL_SIGNING_KEY_FILE": "DIR/none"}, 0, pool(domain), "", []string{
			"1: no usable key; key DIR/none: no such file or directory",
		}},
		"a path from nowhere": {map[string]string{"SEC_TOKEN_POOL_SIGNING_KEY_FILE": "POOL"}, 0, pool(domain), "", []string{
			`1: no usable key; SEC_TOKEN_POOL_SIGNING_KEY_FILE is the relative path "POOL"; write key_file in this block`,
		}},
		"group reads the key":    {nil, 0o640, pool(file, domain), "", []string{"2: no usable key; key DIR/POOL: its mode 0640 gives permissions to others than its owner, and HTCondor wants none; chmod 0600 DIR/POOL"}},
		"empty key":              {nil, 0, pool(`key_file = "DIR/empty"`, domain), "", []string{"2: no usable key; key DIR/empty: it is empty"}},
		"kid with a slash":       {nil, 0, pool(file, `key_id = "a/b"`, domain), "", []string{`3: key_id: "a/b" is not the name of a key; it has no / and no ..`}},
		"kid of a folder":        {nil, 0, pool(file, `key_id = "."`, domain), "", []string{`3: key_id: "." is not the name of a key`}},
		"kid with a blank":       {nil, 0, pool(file, `key_id = "a b"`, domain), "", []string{`3: key_id: "a b" is not the name of a key`}},
		"kid that climbs":        {nil, 0, pool(file, `key_id = ".."`, domain), "", []string{`3: key_id: ".." is not the name of a key`}},
		"file's name with ..":    {nil, 0, pool(`key_file = "DIR/a..b"`, domain), "", []string{`1: key_id: "a..b" is not the name of a key`}},
		"domain with a blank":    {nil, 0, pool(file, `trust_domain = "a b"`), "", []string{`3: trust_domain: "a b" has a comma, blank or tab, which HTCondor refuses; it is the server's TRUST_DOMAIN`}},
		"domain with a comma":    {nil, 0, pool(file, `trust_domain = "a,b"`), "", []string{`3: trust_domain: "a,b" has a comma`}},
		"domain with a tab":      {nil, 0, pool(file, `trust_domain = "a\tb"`), "", []string{"3: trust_domain has control characters"}},
		"HTCondor's has a tab":   {map[string]string{"TRUST_DOMAIN": "a\tb"}, 0, pool(file), "", []string{`1: trust_domain: "a\tb" has a comma, blank or tab`}},
		"unknown attribute":      {nil, 0, pool(file, domain, `issuer = "x"`), "", []string{"4: unknown attribute issuer"}},
		"audience":               {nil, 0, pool(file, domain), `audience = ["x"]`, []string{"10: aud: an IDTOKEN has no audience; leave it out"}},
		"another profile":        {nil, 0, pool(file, domain), `profile = "wlcg"`, []string{`10: wrong profile "wlcg" for the source`}},
		"limits and none":        {nil, 0, pool(file, domain), "unlimited = true", []string{"9: scope: it is"}},
		"too old for the server": {age, 0, pool(file, domain), `lifetime = "2h"`, []string{`10: exp: the token lives 7200 s, but HTCondor refuses it after 3600 (SEC_TOKEN_MAX_AGE); ask for a lifetime of at most "3600s"`}},
		"too old by default":     {age, 0, pool(file, domain), "", []string{"6: exp: the token lives 86400 s"}},
		"no age is set":          {map[string]string{"SEC_TOKEN_MAX_AGE": "-1"}, 0, pool(file, domain), "", nil},
		"an age beyond reading":  {map[string]string{"SEC_TOKEN_MAX_AGE": "60 * 60"}, 0, pool(file, domain), "", nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			dir := poolDir(t)
			for _, name := range []string{"empty", "a..b"} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.Trim(name, "empty")), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if c.mode != 0 {
				if err := os.Chmod(filepath.Join(dir, "POOL"), c.mode); err != nil {
					t.Fatal(err)
				}
			}
			token := strings.Replace(scheddToken, "\n}", "\n  "+c.token+"\n}", 1)
			_, faults := loadBeside(t, c.condor, dir, c.source+token, false)
			compare(t, dir, faults.Errors(), c.want)
		})
	}
}

// compare holds the faults against how each is to begin: line: summary; detail.
func compare(t *testing.T, dir string, faults config.Faults, want []string) {
	t.Helper()
	if len(faults) != len(want) {
		t.Fatalf("got %v, want %q", faults, want)
	}
	for i, f := range faults {
		text := fmt.Sprintf("%d: %s; %s", f.Line, f.Summary, f.Detail)
		if want := strings.ReplaceAll(want[i], "DIR", dir); !strings.HasPrefix(text, want) {
			t.Errorf("got %s, want %s", text, want)
		}
	}
}

// compareWarnings holds that nothing is wrong, but two warnings are given: that
// one, and that the tests' token has no sink.
func compareWarnings(t *testing.T, faults config.Faults, want string) {
	t.Helper()
	warnings := faults.Warnings()
	if len(faults) != 2 || len(warnings) != 2 {
		t.Fatalf("got %v", []config.Fault(faults))
	}
	if !strings.HasPrefix(warnings[0].Summary, want) && !strings.HasPrefix(warnings[1].Summary, want) {
		t.Errorf("got %v, want %s", []config.Fault(warnings), want)
	}
}

// An agent asks HTCondor for the longest life when it must ask for something else anyway.
func TestABlockThatAsksHTCondorKnowsTheLongestLife(t *testing.T) {
	condor := map[string]string{"TRUST_DOMAIN": "cm.example.org", "SEC_TOKEN_POOL_SIGNING_KEY_FILE": "DIR/POOL", "SEC_TOKEN_MAX_AGE": "3600"}
	file, id := `key_file = "DIR/POOL"`, `key_id = "POOL"`
	for name, lines := range map[string][]string{"nothing": nil, "no key": {id, domain}, "no key_id": {file, domain}, "no domain": {file, id}} {
		_, faults := loadAs(t, config.Environment{}, condor, poolDir(t), pool(lines...)+scheddToken)
		if errs := faults.Errors(); len(errs) != 1 || !strings.HasPrefix(errs[0].Summary, "exp: the token lives 86400 s") {
			t.Errorf("%s: got %v", name, errs)
		}
	}
	_, faults := loadAs(t, config.Environment{}, condor, poolDir(t), pool(file, id, domain)+scheddToken)
	if faults.HasErrors() {
		t.Errorf("a block that names all asks HTCondor: %v", faults)
	}
}

func TestAnotherPoolsServersMayLetTokensLiveLonger(t *testing.T) {
	here := map[string]string{"TRUST_DOMAIN": "here.example.org", "SEC_TOKEN_MAX_AGE": "3600"}
	_, faults := loadBeside(t, here, poolDir(t), pool(`key_file = "DIR/POOL"`, domain)+scheddToken, false)
	compareWarnings(t, faults, "exp: the token lives 86400 s")
}

func TestATrustDomainThatIsAURLIsWarnedOf(t *testing.T) {
	_, faults := load(t, poolDir(t), pool(`key_file = "DIR/POOL"`, `trust_domain = "https://cm.example.org"`)+scheddToken, false)
	compareWarnings(t, faults, `trust_domain: "https://cm.example.org" is a URL`)
}

func TestDefinitionsOfAPoolAskNobody(t *testing.T) {
	asked := map[string]string{"TRUST_DOMAIN": "a b", "SEC_TOKEN_POOL_SIGNING_KEY_FILE": "relative", "SEC_TOKEN_MAX_AGE": "1"}
	c, faults := loadBeside(t, asked, t.TempDir(), pool()+scheddToken, true)
	if len(faults.Errors()) > 0 {
		t.Fatal(faults)
	}
	if _, err := c.Renewers[0].Source.Issue(t.Context(), schedd); err == nil || !strings.Contains(err.Error(), "the key was not read") {
		t.Errorf("got %v", err)
	}
	_, faults = load(t, t.TempDir(), pool(`key_file = "/nowhere/a..b"`, `trust_domain = "a,b"`)+strings.Replace(scheddToken, "READ", "REDA", 1), true)
	compare(t, "", faults.Errors(), []string{
		`1: key_id: "a..b" is not the name of a key`, `3: trust_domain: "a,b" has a comma`, `9: scope: HTCondor knows no level "REDA"`,
	})
}

func TestAnotherTrustDomainOfHTCondorsIsAnotherDefinition(t *testing.T) {
	dir := poolDir(t)
	digest := func(condor map[string]string) string {
		c, faults := loadBeside(t, condor, dir, pool(`key_file = "DIR/POOL"`)+scheddToken, false)
		if len(faults.Errors()) > 0 {
			t.Fatal(faults)
		}
		return c.Renewers[0].Digest
	}
	first := digest(installed)
	if digest(map[string]string{"TRUST_DOMAIN": "other.example.org"}) == first {
		t.Error("another domain gives the same digest")
	}
	if digest(installed) != first {
		t.Error("the same domain gives another digest")
	}
}

func TestPoolsAreToldApartAsHTCondorDoes(t *testing.T) {
	dir := poolDir(t)
	for name, c := range map[string]struct {
		block       string
		definitions bool
		want        [2]string
	}{
		"all is said":             {pool(`key_file = "DIR/site"`, `key_id = "k1"`, domain), false, [2]string{"cm.example.org", "k1"}},
		"the file names the key":  {pool(`key_file = "DIR/site"`, domain), false, [2]string{"cm.example.org", "site"}},
		"HTCondor says it":        {pool(), false, [2]string{"pool.example.org", "POOL"}},
		"HTCondor would say it":   {pool(), true, [2]string{"$(TRUST_DOMAIN)", "POOL"}},
		"a key that is not there": {pool(`key_file = "/none/k2"`, domain), true, [2]string{"cm.example.org", "k2"}},
	} {
		t.Run(name, func(t *testing.T) {
			loaded, faults := loadBeside(t, installed, dir, c.block+scheddToken, c.definitions)
			if faults.HasErrors() {
				t.Fatal(faults)
			}
			key := loaded.Sources[0].Key
			if got := [2]string{key.Issuer, key.ID}; got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}
