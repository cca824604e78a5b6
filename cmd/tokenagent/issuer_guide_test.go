package main

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tokenagent/tokenagent/agent/profile"
)

// A guide is the page of the simple issuer, with the paths of a test in place of its own.
type guide struct {
	*simpleSite
	sections map[string]string
	there    *strings.Replacer
}

// readGuide reads the page. The web server is asked for the paths below /.
func readGuide(t *testing.T, web http.Handler) *guide {
	t.Helper()
	s := &simpleSite{t: t, dir: t.TempDir()}
	server := httptest.NewTLSServer(web)
	t.Cleanup(server.Close)
	s.url, s.config = server.URL, filepath.Join(s.dir, "tokenagent.hcl")
	put(t, filepath.Join(s.dir, "ca.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	check(t, os.Mkdir(filepath.Join(s.dir, "tokens"), 0o755))
	return &guide{s, sections(readFile(t, filepath.Join(root, "docs/simple-issuer.md"))), strings.NewReplacer(
		"git@github.com:ospool/ospool.github.io", s.dir+"/github.git",
		"https://ospool.github.io", s.url,
		"/srv/pages", s.dir+"/pages",
		"/usr/local/bin/push-to-pages", s.dir+"/push-to-pages",
		"/var/lib/tokenagent/issuers/ospool", s.dir+"/keys",
		"/etc/tokenagent/keys/ospool.pem", s.dir+"/old.pem",
		"/var/lib/gwms-frontend/tokens.d/ce1.scitoken", s.dir+"/tokens/pilot",
	)}
}

// shows is the n-th block of that language in a section.
func (g *guide) shows(section, language string, n int) string {
	g.t.Helper()
	blocks := fenced(g.sections[section], language)
	if n >= len(blocks) {
		g.t.Fatalf("%q shows %q", section, blocks)
	}
	return g.there.Replace(blocks[n])
}

// types runs the n-th block of commands of a section, with these words replaced, and
// returns what they print. The shell does nothing but what is typed.
func (g *guide) types(section string, n int, replaced ...string) string {
	g.t.Helper()
	script := strings.NewReplacer(replaced...).Replace(g.shows(section, "sh", n))
	c := exec.Command("/bin/sh", "-ec", `tokenagent() { command tokenagent "$@" --config "$CONFIG"; }`+"\n"+script)
	c.Dir = g.dir
	c.Env = append(os.Environ(), "CONFIG="+g.config, "HOME="+g.dir, "GORACE=atexit_sleep_ms=0")
	out, err := c.CombinedOutput()
	if err != nil {
		g.t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

// configures writes the configuration that the page shows.
func (g *guide) configures() {
	g.t.Helper()
	text := g.shows("From nothing to GitHub pages", "hcl", 0)
	text = strings.Replace(text, "    owner = \"frontend\"\n", "", 1)
	text = strings.Replace(text, "  rotate_after", "  ca_file      = \""+g.dir+"/ca.pem\"\n  rotate_after", 1)
	put(g.t, g.config, agentBlock+text)
}

// jti is that of the token in the file.
func (g *guide) jti() string {
	g.t.Helper()
	decoded, err := profile.Decode(strings.TrimSpace(readFile(g.t, filepath.Join(g.dir, "tokens/pilot"))))
	check(g.t, err)
	return decoded.Claims["jti"].(string)
}

// What a reader types who begins with nothing, rotates, and has a leak. GitHub is a
// repository, of which a web server shows folders with a dot only with .nojekyll.
func TestTheGuideFromNothingToGitHubPages(t *testing.T) {
	requirePart(t, "git", "--version")
	var repository string
	show := func(path string) ([]byte, error) {
		return exec.Command("git", "--git-dir", repository, "show", "HEAD:"+path).Output()
	}
	g := readGuide(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, dots := show(".nojekyll")
		text, err := show(strings.TrimPrefix(r.URL.Path, "/"))
		if err != nil || dots != nil && strings.Contains(r.URL.Path, "/.") {
			http.NotFound(w, r)
			return
		}
		w.Write(text)
	}))
	repository = filepath.Join(g.dir, "github.git")
	if out, err := exec.Command("git", "init", "--quiet", "--bare", repository).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	const begin = "From nothing to GitHub pages"
	g.types(begin, 0)
	script := filepath.Join(g.dir, "push-to-pages")
	put(t, script, g.shows(begin, "sh", 1))
	check(t, os.Chmod(script, 0o755))
	g.configures()
	if out := g.types(begin, 2); !strings.Contains(out, "signing") {
		t.Errorf("the first key signs: %s", out)
	}
	g.run("once")
	first := g.kid()

	if out := g.types("Rotating", 0); !strings.Contains(out, "its successor signs in ") {
		t.Errorf("rotate says %s", out)
	}
	out := g.types("After a leak", 0, "bf5aafdd9dbb4a0ef93acf9637c83b43", g.jti())
	if strings.Count(out, "tokens/pilot") != 2 {
		t.Errorf("history tells by jti and by path where the token is: %s", out)
	}
	if out := g.types("After a leak", 1, "2026-11-30-k3f9w2ab", first); !strings.Contains(out, "tokens/pilot") {
		t.Errorf("revoke lists what the key has signed: %s", out)
	}
	g.run("once")
	if text, err := show("jwks.json"); err != nil || strings.Contains(string(text), first) || g.kid() == first {
		t.Errorf("the revoked key is gone from the pages, and from the token: %v\n%s", err, text)
	}

	put(t, filepath.Join(g.dir, "POOL"), strings.Repeat("key of a pool", 5))
	put(t, g.config, readFile(t, g.config)+`
source "htcondor" "pool" {
  key_file     = "${path.config}/POOL"
  trust_domain = "pool.example"
}
token "ap1" {
  source  = source.htcondor.pool
  subject = "schedd@pool.example"
  scope   = ["condor:/READ"]
  sink "file" { path = "${path.config}/tokens/ap1" }
}
`)
	g.run("once")
	if out := g.types("After a leak", 2); !strings.Contains(out, "=?=") {
		t.Errorf("the expression for a pool is %q", out)
	}
}

// What a reader types who has an issuer already, which publishes its key under a kid of
// its own choice.
func TestTheGuideToMoveIn(t *testing.T) {
	var web string
	g := readGuide(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, filepath.Join(web, r.URL.Path)) }))
	web = filepath.Join(g.dir, "pages")
	check(t, os.MkdirAll(filepath.Join(web, ".well-known"), 0o755))
	key := filepath.Join(g.dir, "old.pem")
	succeed(t, "key", "create", key)
	var set struct{ Keys []map[string]any }
	check(t, json.Unmarshal([]byte(succeed(t, "key", "public", key)), &set))
	set.Keys[0]["kid"] = "key-es256"
	text, err := json.Marshal(map[string]any{"keys": set.Keys})
	check(t, err)
	put(t, filepath.Join(web, "jwks.json"), string(text))
	put(t, filepath.Join(web, ".well-known/openid-configuration"), fmt.Sprintf(`{"issuer": %q, "jwks_uri": %q}`, g.url, g.url+"/jwks.json"))

	g.types("Moving in", 0)
	g.configures()
	put(t, filepath.Join(g.dir, "push-to-pages"), "#!/bin/sh\n")
	check(t, os.Chmod(filepath.Join(g.dir, "push-to-pages"), 0o755))
	check(t, os.Chmod(g.dir, 0o755))
	g.types("Moving in", 1, "tokenagent reload", "tokenagent once")
	if g.kid() != "key-es256" {
		t.Errorf("the token has the kid %q", g.kid())
	}
	if keys := g.keys(); len(keys) != 2 || keys[0].Stage != "signing" {
		t.Errorf("the key signs, and has a successor: %+v", keys)
	}
}
