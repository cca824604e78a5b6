package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tokenagent/tokenagent/agent"
)

// TOKENAGENT_RESTARTS (50) agents come and go over 100 tokens, and at the end one
// pass of once. The files tell that no source was asked: each signature has a jti
// of its own.
func TestRestartsAskNoSourceForATokenThatIsGood(t *testing.T) {
	t.Parallel()
	restarts := often(t, "TOKENAGENT_RESTARTS", 50)
	var names []string
	for i := range 100 {
		names = append(names, fmt.Sprintf("t%02d", i))
	}
	s := newSite(t, fmt.Sprintf(`
token "t" {
  for_each = toset(["%s"])
  source   = source.local_key.site
  subject  = "robot"
  lifetime = "1d"
  sink "file" {
    path = "${path.config}/tokens/${each.key}"
  }
}
`, strings.Join(names, `", "`)))
	s.mkdir(t, "tokens", os.Geteuid(), 0o700)
	s.once(t)
	first := map[string]seen{}
	for _, name := range names {
		first[name] = s.mustLook(t, "tokens/"+name)
	}
	unchanged := func(after string) {
		t.Helper()
		for _, name := range names {
			if d := cmp.Diff(first[name], s.mustLook(t, "tokens/"+name)); d != "" {
				t.Fatalf("%s %s is another:\n%s", after, name, d)
			}
		}
	}
	for n := range restarts {
		s.start(t)
		s.settled(t)
		s.stop(t)
		unchanged(fmt.Sprintf("after %d restarts", n+1))
	}
	s.once(t)
	unchanged("after once")
}

// changeTokens are a token that a test changes, and one that no change concerns.
const changeTokens = `
source "local_key" "other" {
  key_file = "${path.config}/other.pem"
}
token "it" {
  source  = source.local_key.site
  subject = "robot"
  sink "file" {
    path  = "${path.config}/tokens/it"
  }
}
token "same" {
  source  = source.local_key.other
  subject = "robot"
  sink "file" {
    path = "${path.config}/tokens/same"
  }
}
`

// A change is done to the token "it" while no agent runs.
type change struct {
	do   func(t *testing.T, s *site)
	root bool        // only root can do it
	want func(*seen) // how the new file differs from the first beside its content; nil: not at all
}

var changes = map[string]change{
	"another definition": {do: redefine(`subject = "robot"`, `subject = "another"`)},
	"another key": {do: func(t *testing.T, s *site) {
		s.newKey(t)
	}},
	"another owner wanted": {root: true, do: redefine("/it\"", "/it\"\n owner = \"54321\"\n group = \"54321\""),
		want: func(f *seen) { f.UID = somebody }},
	"another mode wanted": {do: redefine("/it\"", "/it\"\n mode = \"0640\""),
		want: func(f *seen) { f.Mode = 0o640 }},
	"deleted": {do: func(t *testing.T, s *site) {
		check(t, os.Remove(s.path("tokens/it")))
	}},
	"another mode": {do: func(t *testing.T, s *site) {
		check(t, os.Chmod(s.path("tokens/it"), 0o644))
	}},
	"another owner": {root: true, do: func(t *testing.T, s *site) {
		check(t, os.Chown(s.path("tokens/it"), somebody, somebody))
	}},
	"written in place": {do: func(t *testing.T, s *site) {
		put(t, s.path("tokens/it"), "new")
	}},
	"replaced": {do: func(t *testing.T, s *site) {
		put(t, s.path("new"), "new")
		move(t, s.path("new"), s.path("tokens/it"))
	}},
}

// redefine changes the first place in the configuration that says old.
func redefine(old, to string) func(t *testing.T, s *site) {
	return func(t *testing.T, s *site) {
		text := readFile(t, s.path("site.hcl"))
		if !strings.Contains(text, old) {
			t.Fatalf("the configuration does not say %s", old)
		}
		put(t, s.path("site.hcl"), strings.Replace(text, old, to, 1))
	}
}

func TestWhatChangedWhileNoAgentRanIsMadeGoodAtTheStart(t *testing.T) {
	t.Parallel()
	for name, c := range changes {
		t.Run(name, func(t *testing.T) {
			if c.root {
				needRoot(t)
			}
			makeGood(t, c)
		})
	}
}

// makeGood has two agents run, and c happen between them.
func makeGood(t *testing.T, c change) {
	s := newSite(t, changeTokens)
	s.mkdir(t, "tokens", os.Geteuid(), 0o711)
	s.putKey(t, "other.pem", s.key)
	s.once(t)
	it, same := s.mustLook(t, "tokens/it"), s.mustLook(t, "tokens/same")
	c.do(t, s)
	s.start(t)
	eventually(t, "another token", func() bool {
		f, err := look(s.path("tokens/it"))
		return err == nil && f.Text != it.Text && s.faultOf(f.Text) == nil
	})
	s.stop(t)
	if c.want != nil {
		c.want(&it)
	}
	now := s.mustLook(t, "tokens/it")
	if now.UID != it.UID || now.Mode != it.Mode {
		t.Errorf("the new file is of uid %d and mode %v; want %d, %v", now.UID, now.Mode, it.UID, it.Mode)
	}
	if f, err := look(s.path("tokens/same")); err != nil || f != same {
		t.Errorf("the token that nothing concerns is another now, %v:\n%s", err, cmp.Diff(same, f))
	}
}

func TestATokenIsKeptUntilItIsDueWhateverRestarts(t *testing.T) {
	t.Parallel()
	for wait := 10 * time.Second; !keptUntilDue(t, wait); wait *= 2 { // the shortest that can be
		if wait > longest {
			t.Fatalf("two agents do not start within %v", wait)
		}
	}
}

// keptUntilDue has two agents start before the token is due, and one after. It
// reports false if the two took longer than that.
func keptUntilDue(t *testing.T, wait time.Duration) bool {
	t.Helper()
	s := newSite(t, strings.Replace(changeTokens, `subject = "robot"`, fmt.Sprintf(`subject = "robot"
  lifetime = "%v"
  renew {
    at = 0.05
  }`, 20*wait), 1))
	s.mkdir(t, "tokens", os.Geteuid(), 0o700)
	s.putKey(t, "other.pem", s.key)
	s.start(t)
	due := s.settled(t)[0].Renew
	s.stop(t)
	it, same := s.mustLook(t, "tokens/it"), s.mustLook(t, "tokens/same")
	s.start(t)
	s.settled(t)
	s.stop(t)
	now, left := s.mustLook(t, "tokens/it"), time.Until(due)
	if left <= 0 {
		return false
	}
	if now != it {
		t.Fatalf("it is another %v before it is due", left)
	}
	time.Sleep(time.Until(due)) // a process of its own has a clock of its own
	s.start(t)
	eventually(t, "the new token", func() bool {
		now, err := look(s.path("tokens/it"))
		return err == nil && now != it
	})
	s.settled(t)
	s.stop(t)
	if now := s.mustLook(t, "tokens/same"); now != same {
		t.Error("the other token is another")
	}
	return true
}

// told is what status tells of the site, but for what a running agent fails at:
// that ends with it.
func told(t *testing.T, s *site) (found survey) {
	t.Helper()
	out, err := s.command(nil, "status", "--json").Output()
	check(t, err)
	check(t, json.Unmarshal(out, &found))
	for i := range found.Tokens {
		one := &found.Tokens[i]
		if one.State != agent.Valid {
			one.Renew, one.Failing, one.Sinks[0].Failing = time.Time{}, nil, nil
		}
	}
	return found
}

// The tokens are one with two files, one of a for_each, one that nobody has to
// have and whose folder is missing, and one whose definition went.
const toldTokens = `
token "two" {
  source   = source.local_key.site
  subject  = "robot"
  lifetime = "2d"
  sink "file" {
    path = "${path.config}/tokens/two"
  }
  sink "file" {
    path   = "${path.config}/tokens/two.json"
    format = "json"
  }
}
token "many" {
  for_each = toset(["x", "y"])
  source   = source.local_key.site
  subject  = each.key
  sink "file" {
    path = "${path.config}/tokens/${each.key}"
  }
}
token "absent" {
  source   = source.local_key.site
  subject  = "robot"
  required = false
  sink "file" {
    path = "${path.config}/absent/token"
  }
}
`

func TestStatusOfTheFilesIsThatOfTheAgent(t *testing.T) {
	t.Parallel()
	s := newSite(t, changeTokens)
	s.mkdir(t, "tokens", os.Geteuid(), 0o700)
	s.putKey(t, "other.pem", s.key)
	s.once(t)
	s.configure(t, toldTokens)
	s.start(t)
	eventually(t, "every token that can be written", func() bool {
		tokens, err := s.client().Status(t.Context())
		return err == nil && notValid(tokens) == nil
	})
	byAgent := told(t, s)
	s.stop(t)
	byFiles := told(t, s)
	if !byAgent.Agent || byFiles.Agent || len(byAgent.Tokens) != 4 || len(byAgent.Leftovers) != 2 {
		t.Errorf("the agent tells\n%+v\nthe files\n%+v", byAgent, byFiles)
	}
	if d := cmp.Diff(byAgent, byFiles, cmpopts.IgnoreFields(survey{}, "Agent"), cmpopts.IgnoreUnexported(survey{})); d != "" {
		t.Errorf("the files (+) tell another story than the agent (-):\n%s", d)
	}
}
