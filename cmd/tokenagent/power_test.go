package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/agent/hooks"
	"github.com/tokenagent/tokenagent/agent/state"
	"github.com/tokenagent/tokenagent/sinks"
	"github.com/tokenagent/tokenagent/sources/keys"
)

// The power fails at random instants, while an agent is asked for new tokens
// without a pause, and hooks are pending or run. Tokens and state lie on the disk
// whose power fails; the hooks tell a log on another one. After each of
// TOKENAGENT_CUTS (3) cuts on each file system
//   - each token is the old one or the new one, whole;
//   - the hook for each token that is there has run, or is pending, and then the
//     next agent runs it;
//   - no record is lost of a file that did not change in the 10 s before the cut, nor of
//     one that the agent before had left, and the next agent asks for none of those again.
func TestPowerCuts(t *testing.T) {
	requireLong(t)
	cuts := count(t, "TOKENAGENT_CUTS", 3)
	for name, fs := range fileSystems {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			newPowered(t, fs).cutOften(t, cuts)
		})
	}
}

// Still tokens are issued once. Busy ones are issued again and again. The files of
// new ones are taken away before each start, so that on_first is due for them.
const poweredTokens = `
agent {
  state_dir = "${path.config}/disk/state"
  control   = "${path.config}/control.sock"
}
source "local_key" "site" {
  key_file = "${path.config}/key.pem"
}
token "t" {
  for_each = toset(["still0", "still1", "still2", "still3", "busy0", "busy1", "busy2", "busy3", "busy4", "busy5", "new0", "new1"])
  source   = source.local_key.site
  subject  = each.key
  lifetime = "12h"
  sink "file" {
    path = "${path.config}/disk/tokens/${each.key}"
  }
  hook "on_change" {
    command = ["/bin/sh", "-c", "sed 's/^/on_change /' >> ${path.config}/said"]
  }
  hook "on_first" {
    command = ["/bin/sh", "-c", "sed 's/^/on_first /' >> ${path.config}/said"]
  }
}
`

var (
	busyNames    = []string{"busy0", "busy1", "busy2", "busy3", "busy4", "busy5"}
	newNames     = []string{"new0", "new1"}
	poweredNames = slices.Concat([]string{"still0", "still1", "still2", "still3"}, busyNames, newNames)
)

// A powered is a site with a disk whose power fails.
type powered struct {
	*site
	disk *disk

	records, hooks int // lost
	young, old     int // tokens that were asked for again: changed in the 10 s before the cut, or not
}

func newPowered(t *testing.T, fs fileSystem) *powered {
	t.Helper()
	s := newSite(t, "")
	put(t, s.path("site.hcl"), poweredTokens)
	key, err := keys.Generate("ES256")
	check(t, err)
	s.key = key
	s.putKey(t, "key.pem", key)
	p := &powered{site: s, disk: newDisk(t, s, "disk", fs)}
	s.mkdir(t, "disk/tokens", 0, 0o700)
	s.once(t)
	return p
}

func (p *powered) cutOften(t *testing.T, cuts int) {
	for n := range cuts {
		window := 2500 * time.Millisecond
		if n%6 == 2 {
			window = 14 * time.Second // records are kept every 10 s
		}
		log := logLost
		if n%3 == 1 {
			log = logFlushed
		}
		p.round(t, rand.N(window), log)
		if t.Failed() {
			t.Logf("cut %d of %d", n+1, cuts)
		}
	}
	t.Logf("%d cuts: %d records and %d hooks lost; asked for again: %d tokens that changed in the 10 s before a cut, %d others",
		cuts, p.records, p.hooks, p.young, p.old)
}

// round has an agent at work, the power fail at that instant, and the next agent
// go on from there.
func (p *powered) round(t *testing.T, after time.Duration, log int) {
	t.Helper()
	before := p.tokens(t)
	for _, name := range newNames {
		check(t, os.Remove(p.path("disk/tokens/"+name)))
		delete(before, name)
	}
	p.disk.sync(t)
	p.start(t)
	working, end := make(chan struct{}), make(chan struct{})
	var work sync.WaitGroup
	work.Go(func() { p.work(t, working, end) })
	<-working
	time.Sleep(after) // the instant is chance
	sample := p.tokens(t)
	p.disk.cut(t, log)
	cutAt := time.Now()
	close(end)
	p.kill()
	work.Wait()
	p.disk.remount(t)

	left := p.tokens(t)
	p.wantWhole(t, before, sample, left, cutAt)
	p.wantHooks(t, before, left)
	young := youngOf(before, left, cutAt)
	p.wantRecords(t, left, young)
	p.start(t)
	p.settled(t)
	p.wantSaidOf(t, left)
	p.stop(t)
	p.wantNotAskedAgain(t, left, p.tokens(t), young)
}

// work asks the agent for new tokens until end is closed, and closes working when
// it has had the first.
func (p *powered) work(t *testing.T, working, end chan struct{}) {
	begun := sync.OnceFunc(func() { close(working) })
	defer begun()
	for n := 0; n < 100_000; n++ {
		select {
		case <-end:
			return
		default:
		}
		name := fmt.Sprintf("t[%q]", busyNames[rand.N(len(busyNames))])
		if _, err := p.client().Refresh(t.Context(), name); err == nil {
			begun()
		} else { // it does not answer yet, or its disk is gone
			time.Sleep(time.Millisecond)
		}
	}
}

// tokens are the files of the tokens that are there, by name.
func (p *powered) tokens(t *testing.T) map[string]seen {
	t.Helper()
	all := map[string]seen{}
	for _, name := range poweredNames {
		f, err := look(p.path("disk/tokens/" + name))
		if err == nil {
			all[name] = f
		} else if !os.IsNotExist(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	return all
}

// wantWhole demands that what the cut left are whole tokens, and not older than
// what readers found for a while before it.
func (p *powered) wantWhole(t *testing.T, before, sample, left map[string]seen, cutAt time.Time) {
	t.Helper()
	for _, name := range poweredNames {
		f, there := left[name]
		switch was, had := sample[name]; {
		case !there && slices.Contains(newNames, name) && (!had || cutAt.Sub(was.Modified) < time.Second):
		case !there:
			t.Errorf("%s is gone", name)
		case p.faultOf(f.Text) != nil:
			t.Errorf("%s: %v", name, p.faultOf(f.Text))
		case had && f.Modified.Before(was.Modified) && cutAt.Sub(was.Modified) > time.Second:
			t.Errorf("%s is the token of %v, though readers found that of %v", name, f.Modified, was.Modified)
		}
	}
}

// wantHooks demands that for each token that is there its hook has run, or is
// pending.
func (p *powered) wantHooks(t *testing.T, before, left map[string]seen) {
	t.Helper()
	pending := map[string]bool{}
	for _, r := range p.found().Recall() {
		for _, h := range r.Hooks.Due() {
			pending[string(h.Event)+" "+r.Name] = true
		}
	}
	said := p.saidNow()
	for name, f := range left {
		for _, e := range eventsOf(name) {
			path := p.path("disk/tokens/" + name)
			if say := sayOf(e, path, p.expiry(t, f)); !said[say] && !pending[string(e)+" "+path] {
				p.hooks++
				t.Errorf("the hook %s is lost", say)
			}
		}
	}
}

// eventsOf are those that hooks hear of for the token of that name.
func eventsOf(name string) []hooks.Event {
	if slices.Contains(newNames, name) {
		return []hooks.Event{hooks.OnFirst, hooks.OnChange}
	}
	return []hooks.Event{hooks.OnChange}
}

// found is what the next agent finds in the state folder.
func (p *powered) found() *state.State {
	from := place{configs: []string{p.path("site.hcl")}}
	return state.Read(from.home(config.Settings{StateDir: p.path("disk/state")}).Dir())
}

// sayOf is what the hook tells the log of a token.
func sayOf(e hooks.Event, path string, expires time.Time) string {
	return fmt.Sprintf("%s %s %s", e, path, expires.UTC().Format(time.RFC3339))
}

// saidNow is what the hooks have told so far.
func (p *powered) saidNow() map[string]bool {
	text, _ := os.ReadFile(p.path("said")) // not there before the first
	said := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 4 {
			said[f[0]+" "+f[2]+" "+f[3]] = true
		}
	}
	return said
}

func (p *powered) expiry(t *testing.T, f seen) time.Time {
	t.Helper()
	parts := strings.Split(f.Text, ".")
	if len(parts) != 3 {
		t.Fatalf("%d bytes are not a token", len(f.Text))
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	check(t, err)
	var claims struct{ Exp int64 }
	check(t, json.Unmarshal(payload, &claims))
	return time.Unix(claims.Exp, 0)
}

// recent is the time before a cut in which a change need not be remembered: 10 s,
// and what it takes to see and to write that.
const recent = 12 * time.Second

// youngOf are the names of those that changed in that time, after the agent started.
func youngOf(before, left map[string]seen, cutAt time.Time) map[string]bool {
	young := map[string]bool{}
	for name, f := range left {
		young[name] = f.Text != before[name].Text && cutAt.Sub(f.Modified) < recent
	}
	return young
}

// wantRecords demands that the journal knows the files that are not young.
func (p *powered) wantRecords(t *testing.T, left map[string]seen, young map[string]bool) {
	t.Helper()
	known := sinks.RecordsOf(p.found().Recall())
	for name := range left {
		if _, is := known[p.path("disk/tokens/"+name)]; !is && !young[name] {
			p.records++
			t.Errorf("the record of %s is lost", name)
		}
	}
}

// wantSaidOf waits until the hooks have run for these tokens, or for newer ones.
func (p *powered) wantSaidOf(t *testing.T, left map[string]seen) {
	t.Helper()
	eventuallyWithin(t, time.Minute, "the hooks of all tokens", func() bool {
		said := slices.Collect(maps.Keys(p.saidNow()))
		for name, f := range left {
			path := p.path("disk/tokens/" + name)
			for _, e := range eventsOf(name) {
				least := sayOf(e, path, p.expiry(t, f))
				if !slices.ContainsFunc(said, func(s string) bool {
					return strings.HasPrefix(s, string(e)+" "+path+" ") && s >= least
				}) {
					return false
				}
			}
		}
		return true
	})
}

// wantNotAskedAgain demands that the agent after the cut has adopted the tokens
// that are not young.
func (p *powered) wantNotAskedAgain(t *testing.T, left, now map[string]seen, young map[string]bool) {
	t.Helper()
	for name, f := range left {
		switch {
		case now[name].Text == f.Text:
		case young[name]:
			p.young++
		default:
			p.old++
			t.Errorf("%s was asked for again, though it did not change in the 10 s before the cut", name)
		}
	}
}
