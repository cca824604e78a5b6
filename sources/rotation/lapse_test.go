package rotation

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/host"
	"github.com/tokenagent/tokenagent/sources/issuer"
)

const day = 24 * time.Hour

// A world is an issuer, its web server, those who verify its tokens, and a clock.
type world struct {
	t      *testing.T
	chance *rand.Rand
	now    time.Time     // true
	wrong  time.Duration // by which the agent's clock differs
	outage time.Time     // until when nobody can fetch the document
	kill   float64       // how likely a change on the disk is the last thing that a process does
	kills  int
	lost   int

	onPublish func(context.Context, string) error

	policy  Policy
	issuer  *Issuer
	caches  []*cache
	tokens  []signed
	refused map[string]time.Duration // the longest time after a disturbance that a valid token was refused
	shaken  time.Time                // when a key was revoked, or a rotation did not wait
	signs   map[string]bool
	checks  int
}

// A signed is a token that lives.
type signed struct {
	kid             string
	issued, expires time.Time
}

// A cache is how a verifier keeps the document.
type cache struct {
	name    string
	refresh time.Duration // after so long it fetches the document again
	keep    time.Duration // so long it uses one that it could not fetch again
	asks    bool          // it fetches the document for a key that it does not know

	ids     map[string]bool
	fetched time.Time
}

func newWorld(t *testing.T, seed uint64, dir string) *world {
	w := &world{
		t: t, chance: rand.New(rand.NewPCG(seed, 1)), now: on(0), refused: map[string]time.Duration{}, signs: map[string]bool{},
		policy: Policy{RotateAfter: 90 * day, PublishAhead: 4 * day},
		caches: []*cache{
			{name: "scitokens-cpp", refresh: 10 * time.Minute, keep: 4 * day},
			{name: "a cache for the whole system", refresh: 4 * day, keep: 4 * day},
			{name: "go-oidc", refresh: 10 * 365 * day, keep: 10 * 365 * day, asks: true},
		},
	}
	w.start(dir)
	return w
}

// start is the start of a process.
func (w *world) start(dir string) {
	site := &Site{URL: "https://issuer.example.org", Root: filepath.Join(dir, "web"), Owner: host.Self(), Group: os.Getegid(), Mode: 0o644}
	w.issuer = New(Settings{
		Name: "sim", URL: site.URL, KeysDir: filepath.Join(dir, "keys"), Algorithm: "ES256", Policy: w.policy, Site: site,
		Command:   func(args ...string) string { return strings.Join(args, " ") },
		Fetch:     func(context.Context) issuer.Report { return w.fetch() },
		OnPublish: w.onPublish,
	})
	w.issuer.Expect(20 * day)
	w.issuer.folder.fault = func(what, file string) error {
		if w.chance.Float64() < w.kill {
			w.kills++
			panic(killed{})
		}
		return nil
	}
}

type killed struct{}

// ctx has the agent's clock.
func (w *world) ctx() context.Context {
	return agent.WithClock(context.Background(), func() time.Time { return w.now.Add(w.wrong) })
}

// fetch is the document as anybody can fetch it.
func (w *world) fetch() issuer.Report {
	if w.now.Before(w.outage) {
		return issuer.Report{MetadataErr: errors.New("connection refused")}
	}
	found, err := w.issuer.settings.Site.Published()
	if err == nil && found == nil {
		err = errors.New("404")
	}
	skew := max(-300*time.Second, min(300*time.Second, w.wrong))
	return issuer.Report{KeySet: issuer.KeySet{Keys: found}, MetadataErr: err, Dated: true, Skew: skew}
}

// process calls do as a process that may be killed at any change on the disk. It reports
// whether it was.
func (w *world) process(do func()) (ended bool) {
	defer func() {
		if e := recover(); e != nil {
			if _, ok := e.(killed); !ok {
				panic(e)
			}
			ended = true
			w.start(filepath.Dir(w.issuer.settings.KeysDir))
		}
	}()
	do()
	return false
}

func (w *world) step() {
	w.process(func() {
		if _, err := w.issuer.Step(w.ctx()); err != nil {
			w.t.Fatalf("day %.2f: %v", w.day(), err)
		}
	})
}

func (w *world) day() float64 { return w.now.Sub(day0).Hours() / 24 }

// sign issues a token, where one can be.
func (w *world) sign() {
	life := time.Duration(1+w.chance.IntN(20*24*60)) * time.Minute
	w.process(func() {
		expires := w.now.Add(w.wrong).Add(life)
		key, err := w.issuer.Signer(w.ctx(), expires)
		if err != nil {
			return
		}
		w.signs[key.ID()] = true
		if w.wrong == 0 {
			w.tokens = append(w.tokens, signed{key.ID(), w.now, expires})
		}
	})
}

// verify has every verifier look at a token that lives.
func (w *world) verify() {
	living := w.tokens[:0]
	for _, token := range w.tokens {
		if w.now.Before(token.expires) {
			living = append(living, token)
		}
	}
	if w.tokens = living; len(living) == 0 {
		return
	}
	token := living[w.chance.IntN(len(living))]
	for _, c := range w.caches {
		if accepted, known := w.verifies(c, token); !accepted && known {
			w.refuse(c, token)
		}
		w.checks++
	}
}

func (w *world) verifies(c *cache, token signed) (accepted, known bool) {
	if c.ids == nil || w.now.Sub(c.fetched) >= c.refresh || c.asks && !c.ids[token.kid] {
		if document := w.fetch(); document.MetadataErr == nil {
			c.ids, c.fetched = map[string]bool{}, w.now
			for _, k := range document.Keys {
				c.ids[k.ID] = true
			}
		} else if c.asks && !c.ids[token.kid] {
			return false, false // the web server's fault
		}
	}
	if c.ids == nil || w.now.Sub(c.fetched) > c.keep {
		return false, false
	}
	return c.ids[token.kid], true
}

func (w *world) refuse(c *cache, token signed) {
	l, err := w.issuer.Life()
	if err != nil {
		w.t.Fatal(err)
	}
	if at := l.key(token.kid); at < 0 || l.Keys[at].Stage() == Revoked {
		if !w.shaken.IsZero() {
			return // as it should
		}
	}
	since := w.now.Sub(w.shaken)
	if w.shaken.IsZero() || since > w.policy.PublishAhead {
		w.t.Fatalf("day %.2f: %s refuses a token signed with %s on day %.2f (the last disturbance was on day %.2f); keys: %+v",
			w.day(), c.name, token.kid, token.issued.Sub(day0).Hours()/24, w.shaken.Sub(day0).Hours()/24, l.Keys)
	}
	w.refused[c.name] = max(w.refused[c.name], since)
}

// disturb does what people, networks and clocks do.
func (w *world) disturb(rough bool) {
	switch n := w.chance.IntN(1000); {
	case n < 1: // somebody asks for a rotation
		w.rotate(false)
	case n < 8: // the web server is away
		w.outage = w.now.Add(time.Duration(w.chance.IntN(72)) * time.Hour)
	case n < 12: // the agent's clock is wrong, and then right again
		w.wrong = time.Duration(w.chance.IntN(400)-200) * day
	case n < 30:
		w.wrong = 0
	case n < 40: // the agent is restarted
		w.start(filepath.Dir(w.issuer.settings.KeysDir))
	case n < 41: // what is remembered is lost, with the process
		if err := os.Remove(filepath.Join(w.issuer.settings.KeysDir, memoryFile)); err == nil {
			w.lost++
		}
		w.start(filepath.Dir(w.issuer.settings.KeysDir))
	case n < 42 && rough:
		w.rotate(true)
		w.shaken = w.now
	case n < 43 && rough:
		l, err := w.issuer.Life()
		check(w.t, err)
		if at := l.signing(); at >= 0 {
			w.shaken = w.now
			for w.process(func() { check(w.t, w.issuer.Revoke(w.ctx(), l.Keys[at].ID)) }) {
			}
			w.step()
		}
	}
}

// rotate asks for a rotation, where a key signs.
func (w *world) rotate(atOnce bool) {
	w.process(func() {
		l, err := w.issuer.Life()
		check(w.t, err)
		if err := w.issuer.Rotate(w.ctx(), atOnce); (err == nil) != (l.signing() >= 0) {
			w.t.Fatalf("day %.2f: %v, with the key %d signing", w.day(), err, l.signing())
		}
	})
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) run(days int, rough bool) {
	for end := w.now.Add(time.Duration(days) * day); w.now.Before(end); {
		w.now = w.now.Add(time.Duration(1+w.chance.IntN(4*60)) * time.Minute)
		w.step()
		w.sign()
		w.verify()
		w.verify()
		w.disturb(rough)
	}
}

// A year in the quick run, two in the long one; TOKENAGENT_SEEDS says how often.
func TestTwoYearsOfKeysRefuseNoToken(t *testing.T) {
	seeds, days := uint64(1), 365
	if os.Getenv("TOKENAGENT_LONG") != "" {
		seeds, days = 2, 730
	}
	if more, err := strconv.ParseUint(os.Getenv("TOKENAGENT_SEEDS"), 10, 16); err == nil {
		seeds = more
	}
	for seed := range seeds {
		for _, rough := range []bool{false, true} {
			t.Run(fmt.Sprintf("seed %d, with revocations %v", seed, rough), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, seed, t.TempDir())
				w.kill = 0.1
				w.run(days, rough)
				t.Logf("%d keys signed, %d kills, memory lost %d times, %d verifications; refused after a disturbance for %v", len(w.signs), w.kills, w.lost, w.checks, w.refused)
				if len(w.signs) < 4 || w.kills < 20 {
					t.Errorf("%d keys and %d kills: the test shows nothing", len(w.signs), w.kills)
				}
			})
		}
	}
}
