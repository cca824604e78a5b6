package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tokenagent/tokenagent/agent/profile"
	"github.com/tokenagent/tokenagent/sources/issuer/issuertest"
	"github.com/tokenagent/tokenagent/sources/refresh"
)

// Agents are killed at random instants after the issuer has answered: some before
// they have stored what came, most soon after. The refresh
// token that is stored is whole, no access token is in its place before the
// refresh token that came with it is stored, and one that is stored is never lost.
// An agent that was killed earlier has lost it: the next one says so, and which
// login helps. TOKENAGENT_KILLS (200) says how many are killed, and more if not
// enough of them were killed in time.
func TestAKilledAgentNeverLosesARefreshTokenThatItHasStored(t *testing.T) {
	t.Parallel()
	r := newRefreshSite(t)
	r.renewFamily(t)
	kept, lost := 0, 0
	kills := often(t, "TOKENAGENT_KILLS", 200)
	within := 2 * time.Millisecond // of the answer; it follows how fast the agents are here
	for n := 0; n < kills || kept < kills/10 || lost < kills/50; n++ {
		if n > 20*kills {
			t.Fatalf("of %d agents %d were killed after they had stored what came, and %d before; want some of both", n, kept, lost)
		}
		before := r.stored(t)
		given := r.killAfterAnswer(t, rand.N(within))
		stored, published := r.stored(t), r.published(t)
		switch {
		case published > stored:
			t.Fatalf("access token %d is published, and refresh token %d stored", published, stored)
		case stored == given:
			kept++ // the next round uses it
			within = max(within*19/20, 100*time.Microsecond)
		case stored != before:
			t.Fatalf("refresh token %d was stored, and now %d, and the issuer has given %d", before, stored, given)
		default:
			lost++
			within = within * 5 / 4
			r.wantLoginNamed(t)
			r.renewFamily(t)
		}
	}
	t.Logf("%d agents were killed after they had stored what came, and %d before", kept, lost)
}

// What a kill cannot show, a power failure would: each is brought to the disk before
// the next may be seen.
func TestTheRefreshTokenIsOnTheDiskBeforeItsAccessTokenIsSeen(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root sees which files an undumpable process writes")
	}
	r := newRefreshSite(t)
	r.renewFamily(t)
	calls := r.path("calls")
	strace := []string{"strace", "-f", "-y", "-o", calls, "-e", "trace=fsync,renameat,renameat2"}
	requirePart(t, strace[0], "-o", "/dev/null", "true")
	if out, err := r.command(strace, "once").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text, err := os.ReadFile(calls)
	check(t, err)
	rest := string(text)
	for _, call := range []string{
		`fsync\(\d+<[^>]*/refresh/\.tokenagent\.cilogon\.json\.[^>]*>`,
		`renameat\w*\(.*"cilogon\.json"`,
		`fsync\(\d+<[^>]*/refresh>`,
		`renameat\w*\(.*"token"`,
	} {
		at := regexp.MustCompile(call).FindStringIndex(rest)
		if at == nil {
			t.Fatalf("%s does not come after what it should:\n%s", call, text)
		}
		rest = rest[at[1]:]
	}
}

// A strictIssuer gives a new refresh token at each use, numbered, and ends the
// family when one is used again.
type strictIssuer struct {
	*issuertest.Issuer
	answered chan int // the number that was given, when the answer is on its way

	mu     sync.Mutex
	number int // of the refresh token that is good
	ended  bool
}

func newStrictIssuer(t *testing.T) *strictIssuer {
	i := &strictIssuer{Issuer: issuertest.Start(t), answered: make(chan int, 1)}
	i.Change(func(b *issuertest.Behaviour) { b.ServeToken = i.serve })
	return i
}

// begin begins another family.
func (i *strictIssuer) begin() (refreshToken string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.number++
	i.ended = false
	return i.text()
}

func (i *strictIssuer) text() string { return fmt.Sprintf("refresh-%d", i.number) }

func (i *strictIssuer) serve(w http.ResponseWriter, r *http.Request) {
	number, ok := i.rotate(r.PostFormValue("refresh_token"))
	if !ok {
		issuertest.Refuse(w, http.StatusBadRequest, "invalid_grant")
		return
	}
	issuertest.Reply(w, http.StatusOK, map[string]any{
		"token_type":    "Bearer",
		"expires_in":    3600,
		"refresh_token": fmt.Sprintf("refresh-%d", number),
		"access_token":  i.Sign(map[string]any{"iss": i.URL, "sub": "robot", "jti": strconv.Itoa(number), "exp": time.Now().Unix() + 3600}),
	})
	_ = http.NewResponseController(w).Flush()
	i.answered <- number
}

func (i *strictIssuer) rotate(old string) (number int, ok bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.ended || old != i.text() {
		i.ended = true
		return 0, false
	}
	i.number++
	return i.number, true
}

// A refreshSite is a site whose one token comes from a strictIssuer.
type refreshSite struct {
	*site
	issuer *strictIssuer
}

func newRefreshSite(t *testing.T) *refreshSite {
	t.Helper()
	i := newStrictIssuer(t)
	s := newSite(t, fmt.Sprintf(`
source "refresh_token" "cilogon" {
  token_endpoint     = "%s%s"
  ca_file            = %q
  client_id          = "robot"
  client_auth        = "none"
  verify             = false # one request, and no other between its answer and the token's file
  refresh_token_file = "${path.config}/first"
}
token "t" {
  source = source.refresh_token.cilogon
  sink "file" {
    path = "${path.config}/token"
  }
}
`, i.URL, issuertest.TokenPath, i.CAFile))
	return &refreshSite{s, i}
}

// renewFamily provides a refresh token that is good.
func (r *refreshSite) renewFamily(t *testing.T) {
	t.Helper()
	put(t, r.path("first"), r.issuer.begin())
}

// killAfterAnswer runs one pass, and kills it so long after the issuer has given
// the refresh token of that number.
func (r *refreshSite) killAfterAnswer(t *testing.T, wait time.Duration) (given int) {
	t.Helper()
	c := r.command(nil, "once", "--force")
	var out strings.Builder
	c.Stdout, c.Stderr = &out, &out
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	check(t, launch(c))
	select {
	case given = <-r.issuer.answered:
		time.Sleep(wait)
	case <-time.After(longest):
	}
	_ = c.Process.Kill() // it may have ended
	_ = c.Wait()
	if given == 0 {
		t.Fatalf("the issuer was not asked, or refused a token that was stored:\n%s", &out)
	}
	return given
}

// stored is the number of the refresh token that lies in the state folder; 0 for none.
func (r *refreshSite) stored(t *testing.T) int {
	t.Helper()
	stored, err := refresh.NewStore(r.state(""), "cilogon").Read()
	if errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	check(t, err)
	return number(t, strings.TrimPrefix(stored.Text.Reveal(), "refresh-"))
}

// published is the number of the refresh token that came with the access token in
// the file; 0 for none.
func (r *refreshSite) published(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile(r.path("token"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	check(t, err)
	token, err := profile.Decode(strings.TrimSpace(string(text)))
	check(t, err)
	return number(t, fmt.Sprint(token.Claims["jti"]))
}

func number(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	check(t, err)
	return n
}

// wantLoginNamed demands that the next agent says in one line that the refresh
// token was refused, and what helps, and leaves the access token where it is.
func (r *refreshSite) wantLoginNamed(t *testing.T) {
	t.Helper()
	before := r.published(t)
	var out struct{ stdout, stderr strings.Builder }
	c := r.command(nil, "once", "--force", "--json")
	c.Stdout, c.Stderr = &out.stdout, &out.stderr
	_ = c.Run() // the code depends on whether an earlier token is still valid
	want := "tokenagent login cilogon --config " + r.path("site.hcl")
	lines := 0
	for line := range strings.Lines(out.stderr.String()) {
		if strings.Contains(line, "refused") && strings.Contains(line, want) {
			lines++
		}
	}
	if lines != 1 || strings.Contains(out.stderr.String(), "refresh-") {
		t.Fatalf("%d lines say that the refresh token was refused and name %q:\n%s", lines, want, &out.stderr)
	}
	var found survey
	check(t, json.Unmarshal([]byte(out.stdout.String()), &found))
	if after := r.published(t); after != before || !strings.Contains(found.Tokens[0].Failing.Error, want) {
		t.Fatalf("%d became %d:\n%s", before, after, &out.stdout)
	}
}
