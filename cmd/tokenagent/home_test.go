package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/agent/hooks"
	"github.com/tokenagent/tokenagent/agent/state"
	"github.com/tokenagent/tokenagent/sources/refresh"
)

func nameOf(s config.Settings, paths ...string) string {
	return (&place{configs: paths}).name(s)
}

func TestEachSpellingOfAPathGivesTheSameName(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	check(t, err)
	t.Chdir(dir)
	check(t, os.MkdirAll("real/..2026/conf.d", 0o755))
	put(t, "real/a.hcl", "")
	put(t, "real/..2026/volume.hcl", "")
	for link, target := range map[string]string{
		"folder": "real", "chain.hcl": "folder/link.hcl", "real/link.hcl": "a.hcl",
		"real/..data": "..2026", "real/volume.hcl": "..data/volume.hcl", "real/conf.d": "..data/conf.d",
	} {
		check(t, os.Symlink(target, link))
	}
	want := nameOf(config.Settings{}, filepath.Join(dir, "real/a.hcl"))
	for _, path := range []string{"real/a.hcl", "./real/../real/a.hcl", "folder/a.hcl", "real/link.hcl", "chain.hcl", dir + "//folder/./link.hcl"} {
		if got := nameOf(config.Settings{}, path); got != want {
			t.Errorf("%s has the name %s, want %s", path, got, want)
		}
	}
	if one, other := nameOf(config.Settings{}, "folder"), nameOf(config.Settings{}, dir+"/real/*.hcl"); one != other || one == want {
		t.Errorf("the folder has the names %s and %s", one, other)
	}
	if one, other := nameOf(config.Settings{}, "folder", "chain.hcl"), nameOf(config.Settings{}, "real/a.hcl", "real", "real"); one != other {
		t.Errorf("two paths have the names %s and %s", one, other)
	}
	before, beforeIn := nameOf(config.Settings{}, "folder/volume.hcl"), nameOf(config.Settings{}, "folder/conf.d/site.hcl")
	check(t, os.Remove("real/..data"))
	check(t, os.MkdirAll("real/..2027/conf.d", 0o755))
	put(t, "real/..2027/volume.hcl", "")
	check(t, os.Symlink("..2027", "real/..data"))
	if after := nameOf(config.Settings{}, "real/volume.hcl"); after != before {
		t.Errorf("when Kubernetes has replaced a volume its name is %s, and it was %s", after, before)
	}
	if after := nameOf(config.Settings{}, "real/conf.d/site.hcl"); after != beforeIn {
		t.Errorf("when Kubernetes has replaced a folder its name is %s, and it was %s", after, beforeIn)
	}
	if got := nameOf(config.Settings{Name: "site"}, "chain.hcl"); got != "site" {
		t.Errorf("with a name of its own it is %s", got)
	}
}

func TestTheDefaultConfigurationHasNoName(t *testing.T) {
	for _, paths := range [][]string{
		nil, config.DefaultPaths(), {"/etc/tokenagent/tokenagent.hcl"}, {"/etc/tokenagent/conf.d", "/etc/../etc/tokenagent/tokenagent.hcl"},
	} {
		if got := nameOf(config.Settings{Name: "site"}, paths...); got != "" {
			t.Errorf("%q has the name %s", paths, got)
		}
	}
	for _, paths := range [][]string{
		{"/etc/tokenagent"}, {"/etc/tokenagent/conf.d"}, {"/etc/tokenagent/tokenagent.hcl", "/etc/other.hcl"}, {"/etc/tokenagent/site.hcl"},
	} {
		if nameOf(config.Settings{}, paths...) == "" {
			t.Errorf("%q is taken for the default configuration", paths)
		}
	}
}

func TestASocketOfALongNameHasAPathThatFits(t *testing.T) {
	base := "/run/user/4294967295/tokenagent"
	if got := socketOf(base, "site"); got != base+"/configs/site/control.sock" {
		t.Errorf("got %s", got)
	}
	one, other := socketOf(base, strings.Repeat("a", 64)), socketOf(base, strings.Repeat("a", 63)+"b")
	if len(one) > 107 || one == other || one != socketOf(base, strings.Repeat("a", 64)) {
		t.Errorf("got %s and %s", one, other)
	}
	if socketOf("", "site") != "" {
		t.Error("without a folder there is a socket")
	}
}

// leaveOld puts what the folders of the configurations have into the base, as
// version 0.1 kept it there for all together.
func leaveOld(t *testing.T, base string) {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(base, "configs/*"))
	check(t, err)
	var all []agent.Record
	var journal []byte
	for _, dir := range dirs {
		s := state.Read(dir)
		for _, r := range s.Recall() {
			r.Hooks, r.Failures = nil, nil
			all = append(all, r)
			line, err := json.Marshal(map[string]any{"event": hooks.OnChange, "notice": hooks.Notice{Token: r.Token, Path: r.Name, Expires: r.Expires}})
			check(t, err)
			journal = append(append(journal, line...), '\n')
		}
		check(t, os.Rename(filepath.Join(dir, "digest.key"), filepath.Join(base, "digest.key")))
	}
	text, err := json.Marshal(map[string]any{"version": 1, "records": all})
	check(t, err)
	put(t, filepath.Join(base, "records.json"), string(text))
	put(t, filepath.Join(base, "hooks.jsonl"), string(journal))
	check(t, os.RemoveAll(filepath.Join(base, "configs")))
	check(t, os.RemoveAll(filepath.Join(base, "unclaimed")))
}

// Two configurations that version 0.1 ran in one folder: after the upgrade each
// goes on with its token, and runs its pending hook once. Kills lose nothing.
func TestAnUpgradeGivesEachConfigurationWhatIsIts(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	files := []string{"site.hcl", "second.hcl"}
	for i, file := range files {
		put(t, s.path(file), siteHead+fmt.Sprintf(`
token "t%[1]d" {
  source    = source.local_key.site
  on_remove = "delete"
  sink "file" { path = "${path.config}/t%[1]d" }
  hook "on_change" { command = ["/bin/sh", "-c", "echo run >> %[2]s"] }
}
`, i, s.path(fmt.Sprintf("ran%d", i))))
	}
	once := func(file string) {
		t.Helper()
		c := s.command(nil, "once", "--config", s.path(file))
		c.Args = c.Args[:len(c.Args)-2] // without the site's own
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("once --config %s: %v\n%s", file, err, out)
		}
	}
	base := s.path("state")
	for _, file := range files { // with one key, as both had one folder
		once(file)
		key, err := os.ReadFile(filepath.Join(s.state(""), "digest.key"))
		check(t, err)
		put(t, filepath.Join(base, "digest.key"), string(key))
	}
	tokens := [2]seen{s.mustLook(t, "t0"), s.mustLook(t, "t1")}
	wanted := 8 // kills in the middle of the move
	if !isLong() {
		wanted = 2
	}
	within := 60 * time.Millisecond // of the start; it follows how fast agents are here
	for hits, rounds := 0, 0; hits < wanted; rounds++ {
		if rounds > 20*wanted {
			t.Fatalf("of %d agents %d were killed after they had begun to move what is theirs and before its hook", rounds, hits)
		}
		leaveOld(t, base)
		for i := range files {
			os.Remove(s.path(fmt.Sprintf("ran%d", i)))
		}
		s.start(t)
		time.Sleep(rand.N(within))
		s.kill()
		switch {
		case exists(s.path("ran0")):
			within = within * 4 / 5 // it had moved all, and run the hook
		case !exists(s.state("")):
			within = within * 5 / 4 // it had moved nothing
		default:
			hits++
		}
		for _, file := range files {
			once(file)
		}
		for i, token := range tokens {
			if s.mustLook(t, fmt.Sprintf("t%d", i)) != token {
				t.Fatalf("t%d was issued again", i)
			}
			if ran, err := os.ReadFile(s.path(fmt.Sprintf("ran%d", i))); err != nil {
				t.Errorf("the hook of t%d has not run: %v, %q", i, err, ran)
			}
		}
		if left := state.Read(base).Recall(); len(left) != 0 {
			t.Errorf("in the base there are still %v", left)
		}
	}
}

func TestAnUpgradedAgentGoesOnWithItsRefreshToken(t *testing.T) {
	t.Parallel()
	s := newLoginSite(t)
	s.wantLogin(t, 0, []string{"cilogon"}, "the refresh token is stored: "+s.store().Path())
	check(t, os.MkdirAll(s.path("state/refresh"), 0o700))
	old := refresh.NewStore(s.path("state"), "cilogon")
	check(t, os.Rename(s.store().Path(), old.Path()))
	out, err := s.command(nil, "check").CombinedOutput()
	if strings.Contains(string(out), "cilogon.json") || strings.Contains(string(out), "login cilogon") {
		t.Errorf("check finds none: %v\n%s", err, out)
	}
	out, err = s.command(nil, "once", "storage").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if _, err := os.Stat(old.Path()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there are two of it: %v", err)
	}
	if _, err := s.store().Read(); err != nil {
		t.Error(err)
	}
	s.wantNoSecret(t, string(out))
}
