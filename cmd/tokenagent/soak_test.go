package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/queue"
)

// The soak: two agents keep tokens of 30 s, some that they sign, some from an issuer
// behind a proxy that harms its answers, while everything that happens to an agent
// happens to them. TOKENAGENT_SOAK says how long, TOKENAGENT_SEED what chance does.
//
// It is a violation when a reader finds
//   - a torn, empty or too open file, ever;
//   - an expired token that the agent could have signed;
//   - an expired token although the proxy let an answer for it through in its last 10 s.
//
// The agent has 12 s to be up again after a kill, and 35 s to see that its clock was
// set: too little on a busy machine, so this is no test among others but make soak.
func TestSoak(t *testing.T) {
	if os.Getenv("TOKENAGENT_SOAK") == "" {
		t.Skip("it takes a machine for itself: make soak")
	}
	needRoot(t)
	t.Parallel()
	long, err := time.ParseDuration(os.Getenv("TOKENAGENT_SOAK"))
	check(t, err)
	s := newSoak(t, uint64(count(t, "TOKENAGENT_SEED", int(rand.Uint32()))))
	t.Logf("seed %d, for %v", s.seed, long)
	ctx, cancel := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	for _, site := range s.sites {
		watching.Go(func() { s.read(ctx, site) })
	}
	watching.Go(func() { s.sample(ctx) })
	s.disturb(t, long)
	s.recover(t)
	cancel()
	watching.Wait()
	s.conclude(t, long)
}

const (
	soakLife    = 30 * time.Second
	afterStart  = 12 * time.Second // until an agent that was started must have its tokens
	afterStep   = 35 * time.Second // until an agent must have seen that the clock was set
	afterHarm   = 75 * time.Second // until a file that was harmed must be whole again: it is written again once a minute
	afterGift   = 2 * time.Second  // until what the issuer gave must be in its file
	lastOfLife  = 10 * time.Second
	soakTokens  = 10 // of each kind and agent
	mostAsked   = 15 // requests for a token in a minute, over all; 4 if nothing happened
	strangeText = "somebody else wrote this\n"
)

// A soak is one run.
type soak struct {
	seed  uint64
	rand  *rand.Rand
	clock *steppedClock
	proxy *chaoticIssuer
	sites []*soakSite // the first lives from begin to end; the others are killed

	mu         sync.Mutex
	violations []string
	reads      int            // of files, by readers
	excused    int            // expired tokens that were
	done       map[string]int // what was done to the agents
	samples    []sample
}

// A soakSite is an agent of the soak with its tokens.
type soakSite struct {
	*site
	name string

	mu   sync.Mutex
	calm time.Time // from when on nothing excuses it
}

func newSoak(t *testing.T, seed uint64) *soak {
	t.Helper()
	s := &soak{seed: seed, rand: rand.New(rand.NewPCG(seed, 0)), clock: newClock(t), done: map[string]int{}}
	s.proxy = newChaoticIssuer(t, s.clock, seed)
	for _, name := range []string{"lives", "dies"} {
		one := &soakSite{site: newSite(t, ""), name: name}
		one.clock = s.clock
		one.mkdir(t, "tokens", 0, 0o700)
		one.mkdir(t, "said", 0, 0o700)
		one.configureSoak(t, s, "")
		s.sites = append(s.sites, one)
		s.start(t, one)
	}
	return s
}

// configureSoak writes the configuration with something more at its end.
func (one *soakSite) configureSoak(t *testing.T, s *soak, more string) {
	t.Helper()
	const script = `cat >>"$1/said/log"; test $(($(wc -l <"$1/said/log") % 7)) != 0`
	each := func(kind string) string {
		var names []string
		for n := range soakTokens {
			names = append(names, fmt.Sprintf("%q", kind+strconv.Itoa(n)))
		}
		return strings.Join(names, ", ")
	}
	one.configure(t, strings.NewReplacer(
		"ISSUER", s.proxy.URL, "CA", s.proxy.CAFile, "SITE", one.name, "LOCAL", each("l"), "FETCHED", each("f"), "SCRIPT", strconv.Quote(script),
	).Replace(`
source "client_credentials" "it" {
  issuer      = "ISSUER"
  ca_file     = "CA"
  client_id   = "robot"
  client_auth = "none"
}
token "local" {
  for_each = toset([LOCAL])
  source   = source.local_key.site
  subject  = each.key
  lifetime = "30s"
  sink "file" { path = "${path.config}/tokens/${each.key}" }
  hook "on_change" { command = ["/bin/sh", "-c", SCRIPT, "sh", path.config] }
}
token "fetched" {
  for_each = toset([FETCHED])
  source   = source.client_credentials.it
  scope    = ["storage.read:/SITE/${each.key}"]
  sink "file" { path = "${path.config}/tokens/${each.key}" }
}
`)+more)
}

// start starts the agent, and waits until it answers.
func (s *soak) start(t *testing.T, one *soakSite) {
	t.Helper()
	one.site.start(t)
	eventually(t, "an answer of "+one.name, func() bool { _, err := one.client().Heartbeat(t.Context()); return err == nil })
	one.excuse(afterStart)
}

// excuse excuses the agent for so long.
func (one *soakSite) excuse(long time.Duration) {
	one.mu.Lock()
	defer one.mu.Unlock()
	if until := time.Now().Add(long); until.After(one.calm) {
		one.calm = until
	}
}

func (one *soakSite) calmSince() time.Time { one.mu.Lock(); defer one.mu.Unlock(); return one.calm }

func (s *soak) violated(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.violations = append(s.violations, fmt.Sprintf(format, args...))
}

// did counts what was done.
func (s *soak) did(what string) { s.mu.Lock(); defer s.mu.Unlock(); s.done[what]++ }

// read reads all files of the site, again and again, as their readers do.
func (s *soak) read(ctx context.Context, one *soakSite) {
	absent := map[string]time.Time{} // since when there is no token of ours
	accused := map[string]bool{}     // what was found wrong, once each
	for ctx.Err() == nil {
		for n := range 2 * soakTokens {
			name := []string{"l", "f"}[n%2] + strconv.Itoa(n/2)
			if why := s.readOne(one, name, absent); why != "" && !accused[name+why[:5]] {
				accused[name+why[:5]] = true
				s.violated("%s: %s/%s %s", time.Now().Format(time.TimeOnly), one.name, name, why)
			}
			time.Sleep(2 * time.Millisecond) // leaves the agents some of the processors
		}
	}
}

// readOne reads one file, and says what is wrong with what a reader finds there.
func (s *soak) readOne(one *soakSite, name string, absent map[string]time.Time) string {
	calm := one.calmSince()
	now, wall := time.Now(), s.clock.now()
	f, err := look(one.path("tokens/" + name))
	s.mu.Lock()
	s.reads++
	s.mu.Unlock()
	if errors.Is(err, fs.ErrNotExist) || f.Text == strangeText {
		if absent[name].IsZero() {
			absent[name] = now
		}
		if name[0] == 'l' && now.Sub(queue.Later(absent[name], calm)) > afterHarm {
			return fmt.Sprintf("gone or another's since %v, and not written again", now.Sub(absent[name]))
		}
		return ""
	}
	delete(absent, name)
	exp, err := expiryOf(f, err)
	switch {
	case err != nil:
		return err.Error()
	case wall.Before(exp):
		return ""
	}
	return s.expired(one, name, now, calm, wall.Sub(exp))
}

// expired says whether it is wrong that a reader found, at the time now, a token that had
// expired some time ago.
func (s *soak) expired(one *soakSite, name string, now, calm time.Time, ago time.Duration) string {
	if one.calmSince() != calm || now.Before(calm) { // something happened meanwhile
		s.mu.Lock()
		s.excused++
		s.mu.Unlock()
		return ""
	}
	if name[0] == 'l' {
		return fmt.Sprintf("expired %v ago, though the agent could sign another", ago)
	}
	scope, end := "storage.read:/"+one.name+"/"+name, now.Add(-ago)
	if s.proxy.letThrough(scope, queue.Later(calm, end.Add(-lastOfLife)), queue.Earlier(end, now.Add(-afterGift))) {
		return fmt.Sprintf("expired %v ago, though the issuer gave another in its last %v", ago, lastOfLife)
	}
	s.mu.Lock()
	s.excused++
	s.mu.Unlock()
	return ""
}

// expiryOf is when the token in the file expires; an error where no reader may ever find
// such a file.
func expiryOf(f seen, err error) (time.Time, error) {
	switch {
	case err != nil:
		return time.Time{}, err
	case f.Mode&0o077 != 0:
		return time.Time{}, fmt.Errorf("too open: %v", f.Mode)
	case f.Text == "":
		return time.Time{}, errors.New("empty")
	}
	parts := strings.Split(f.Text, ".")
	if len(parts) != 3 || !strings.HasSuffix(f.Text, "\n") {
		return time.Time{}, fmt.Errorf("torn: %d bytes", len(f.Text))
	}
	content, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct{ Exp int64 }
	if err == nil {
		err = json.Unmarshal(content, &claims)
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("torn: %w", err)
	}
	return time.Unix(claims.Exp, 0), nil
}

// sample looks each second at what the agent uses that lives from begin to end.
func (s *soak) sample(ctx context.Context) {
	pid, file := s.sites[0].agent.Process.Pid, s.sites[0].path("goroutines")
	for ctx.Err() == nil {
		if one, ok := sampleOf(pid, file); ok {
			s.mu.Lock()
			s.samples = append(s.samples, one)
			s.mu.Unlock()
		}
		time.Sleep(time.Second)
	}
}

// disturb does to the agents whatever happens to agents, one kind of thing at a time, and
// something else to the issuer.
func (s *soak) disturb(t *testing.T, long time.Duration) {
	kinds := []func(*testing.T, time.Time){s.harmFiles, s.killAgents, s.reloadAgents, s.stepClock, s.nothing}
	round := min(max(long/time.Duration(len(kinds)), 10*time.Second), time.Minute)
	for n, end := 0, time.Now().Add(long); time.Now().Before(end) && !t.Failed(); n++ {
		harm := []float64{0.5, 0.3, 0, 1, 0.1}[(n+n/len(kinds))%5]
		s.proxy.spoil(harm)
		kinds[n%len(kinds)](t, time.Now().Add(round))
	}
}

func (s *soak) nothing(_ *testing.T, end time.Time) {
	s.did("rounds of peace")
	time.Sleep(time.Until(end))
}

// between waits for a while in which agents work.
func (s *soak) between(least, most time.Duration) {
	time.Sleep(least + time.Duration(s.rand.Int64N(int64(most-least))))
}

func (s *soak) someSite() *soakSite { return s.sites[s.rand.IntN(len(s.sites))] }

// harmFiles deletes, closes and replaces files of the agents.
func (s *soak) harmFiles(t *testing.T, end time.Time) {
	for time.Now().Before(end) {
		one := s.someSite()
		path := one.path("tokens/" + []string{"l", "f"}[s.rand.IntN(2)] + strconv.Itoa(s.rand.IntN(soakTokens)))
		var err error
		switch s.rand.IntN(3) {
		case 0:
			s.did("deleted files")
			err = os.Remove(path)
		case 1:
			s.did("files with mode 0400")
			err = os.Chmod(path, 0o400)
		default:
			s.did("replaced files")
			strange := one.path("strange")
			check(t, os.WriteFile(strange, []byte(strangeText), 0o600))
			err = os.Rename(strange, path)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		s.between(500*time.Millisecond, 3*time.Second)
	}
}

// killAgents kills the agent that dies, or stops it, and starts it again.
func (s *soak) killAgents(t *testing.T, end time.Time) {
	one := s.sites[1]
	for time.Now().Before(end) {
		one.excuse(time.Hour)
		s.checkLog(t, one)
		if s.rand.IntN(4) == 0 {
			s.did("stops")
			one.stop(t)
		} else {
			s.did("kills")
			one.kill()
		}
		s.between(time.Millisecond, 2*time.Second)
		one.mu.Lock()
		one.calm = time.Now()
		one.mu.Unlock()
		s.start(t, one)
		s.between(10*time.Millisecond, 8*time.Second)
	}
}

// reloadAgents gives the agents other configurations, good ones and such with faults.
func (s *soak) reloadAgents(t *testing.T, end time.Time) {
	for n := 0; time.Now().Before(end); n++ {
		one, more, good := s.someSite(), fmt.Sprintf("# %d\n", n), true
		switch s.rand.IntN(3) {
		case 0:
			more, good = "token {", false
		case 1:
			more = fmt.Sprintf("token \"more\" {\n source = source.local_key.site\n subject = \"s%d\"\n sink \"file\" { path = \"${path.config}/more\" }\n}\n", n)
		}
		one.configureSoak(t, s, more)
		s.did(map[bool]string{true: "good reloads", false: "bad reloads"}[good])
		if s.rand.IntN(2) == 0 {
			check(t, one.agent.Process.Signal(syscall.SIGHUP))
		} else if _, err := one.client().Reload(t.Context()); (err == nil) != good {
			t.Errorf("a reload of a configuration that is good (%v) ends with %v", good, err)
		}
		s.between(100*time.Millisecond, 3*time.Second)
	}
	for _, one := range s.sites {
		one.configureSoak(t, s, "")
	}
}

// stepClock sets the clock of everybody to a wrong time, and later to the right one.
func (s *soak) stepClock(_ *testing.T, end time.Time) {
	steps := []func(){
		func() { s.clock.step(-30 * time.Minute) },
		func() { s.clock.step(time.Hour) },
		func() { s.clock.step(-time.Hour) },
		func() { s.clock.step(10 * 24 * time.Hour) },
		func() { s.clock.set(time.Date(1970, 1, 1, 0, 0, 30, 0, time.UTC)) },
		s.clock.stand,
	}
	for range 2 {
		s.set("clock steps", steps[s.rand.IntN(len(steps))])
		time.Sleep(min(time.Until(end), afterStep+time.Duration(s.rand.Int64N(int64(10*time.Second)))))
		s.set("clock steps", func() { s.clock.set(time.Now()) })
		s.between(time.Millisecond, time.Second)
		if !time.Now().Before(end) {
			break
		}
	}
}

// set sets the clock, which excuses everybody for a while.
func (s *soak) set(what string, step func()) {
	s.did(what)
	for _, one := range s.sites {
		one.excuse(afterStep)
	}
	step()
	for _, one := range s.sites {
		one.excuse(afterStep)
	}
}

// recover demands that all is well soon after nothing happens any more.
func (s *soak) recover(t *testing.T) {
	s.proxy.spoil(0)
	s.clock.set(time.Now())
	for _, one := range s.sites {
		one.excuse(afterStep)
		one.configureSoak(t, s, "")
		eventuallyWithin(t, 150*time.Second, "the end of all trouble of "+one.name, func() bool {
			tokens, err := one.client().Status(t.Context())
			return err == nil && len(tokens) == 2*soakTokens && !slices.ContainsFunc(tokens, func(s agent.Status) bool {
				return s.State != agent.Valid || s.Failing != nil
			})
		})
	}
}

// conclude stops the agents and tells what was found.
func (s *soak) conclude(t *testing.T, long time.Duration) {
	t.Helper()
	for _, one := range s.sites {
		s.checkLog(t, one)
		stopInTime(t, one.site)
		left, err := filepath.Glob(one.path("tokens/.tokenagent.*"))
		check(t, err)
		if len(left) > 0 {
			t.Errorf("%s leaves %v", one.name, left)
		}
	}
	hooks := 0
	for _, one := range s.sites {
		hooks += strings.Count(one.said(), "\n")
	}
	s.proxy.mu.Lock()
	defer s.proxy.mu.Unlock()
	for _, kind := range slices.Sorted(maps.Keys(s.done)) {
		t.Logf("%5d %s", s.done[kind], kind)
	}
	t.Logf("%5d requests to the issuer; answers that were harmed: %v", s.proxy.requests, s.proxy.harms)
	t.Logf("%5d lines from hooks, which fail every seventh time", hooks)
	t.Logf("%d reads, of which %d found an expired token with an excuse; %d violations", s.reads, s.excused, len(s.violations))
	for i, v := range s.violations {
		if i < 20 {
			t.Error(v)
		}
	}
	if most := mostAsked * 2 * soakTokens * (1 + int(long.Minutes()+2)); s.proxy.requests > most {
		t.Errorf("the issuer was asked %d times, more than %d", s.proxy.requests, most)
	}
	if hooks == 0 {
		t.Error("no hook has run")
	}
	wantNoGrowth(t, s.samples, long >= 10*time.Minute)
}

// checkLog demands that the log of an agent shows no token and no defect.
func (s *soak) checkLog(t *testing.T, one *soakSite) {
	t.Helper()
	text := one.log(t)
	for _, never := range []string{"eyJ", "panic", "DATA RACE", "report this defect"} {
		if strings.Contains(text, never) {
			s.violated("the log of %s has %q", one.name, never)
			_ = os.WriteFile(filepath.Join(os.TempDir(), "soak-"+one.name+".log"), []byte(text), 0o600) // for who looks into it
		}
	}
}
