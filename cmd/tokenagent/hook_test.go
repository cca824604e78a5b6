package main

import (
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"
	"testing"
	"time"
)

// hookedToken is a token in the folder tokens of a site, with a hook that adds a
// line "EVENT NAME UID" to said/log for each of these events.
func hookedToken(attributes string, events ...string) string {
	var text strings.Builder
	text.WriteString(`
token "t" {
  source  = source.local_key.site
  subject = "t"
  sink "file" {
    path = "${path.config}/tokens/t"
  }
`)
	const script = `while read -r name path expires; do echo "$TOKENAGENT_EVENT $name $(id -u)"; done >>"$1/said/log"`
	for _, event := range events {
		fmt.Fprintf(&text, "  hook %q {\n    command = [\"/bin/sh\", \"-c\", %q, \"sh\", path.config]\n    %s\n  }\n", event, script, attributes)
	}
	text.WriteString("}\n")
	return text.String()
}

// newHookedSite has the folders of a hookedToken; said belongs to that user.
func newHookedSite(t *testing.T, tokens string, uid int) *site {
	t.Helper()
	s := newSite(t, tokens)
	s.mkdir(t, "tokens", os.Geteuid(), 0o700)
	s.mkdir(t, "said", uid, 0o700)
	return s
}

// said is what the hooks of the site have said so far.
func (s *site) said() string {
	text, _ := os.ReadFile(s.path("said/log")) // not there before the first
	return string(text)
}

// wantSaid waits until the hooks have said exactly these lines.
func (s *site) wantSaid(t *testing.T, lines ...string) {
	t.Helper()
	want := strings.Join(lines, "\n") + "\n"
	eventually(t, fmt.Sprintf("hooks that say %q", want), func() bool { return s.said() == want })
}

// A hook runs a second after the rename at the earliest: a kill in that second
// must not lose it, the first time or any other.
func TestAnAgentKilledBetweenTheRenameAndTheHookLeavesItToTheNext(t *testing.T) {
	t.Parallel()
	for tries := 1; !hooksOutliveKills(t); tries++ {
		if tries == 20 {
			t.Fatalf("no kill came in time, %d times", tries)
		}
	}
}

// hooksOutliveKills reports false if a kill came so late that a hook may have begun.
func hooksOutliveKills(t *testing.T) bool {
	t.Helper()
	uid := os.Geteuid()
	s := newHookedSite(t, hookedToken("", "on_first", "on_change"), uid)
	s.start(t)
	eventually(t, "the token", func() bool { _, err := os.Stat(s.path("tokens/t")); return err == nil })
	if s.kill(); s.longAgo(t, "tokens/t") {
		return false
	}
	s.start(t) // which may issue the token once more; only what is owed makes it the first one
	one := fmt.Sprintf("on_first t %d", uid)
	two := fmt.Sprintf("on_change t %d", uid)
	s.wantSaid(t, one, two)

	_, err := s.client().Refresh(t.Context())
	s.kill()
	check(t, err)
	if s.longAgo(t, "tokens/t") {
		return false
	}
	s.start(t)
	s.wantSaid(t, one, two, two)
	s.stop(t)
	s.start(t) // to which nothing is owed
	s.settled(t)
	s.stop(t)
	s.wantSaid(t, one, two, two)
	return true
}

// longAgo reports whether a hook may have begun since the token was written.
func (s *site) longAgo(t *testing.T, name string) bool {
	t.Helper()
	return time.Since(s.mustLook(t, name).Modified) > 900*time.Millisecond
}

func TestHooksTellOfTheBeginningAndEndOfAFailure(t *testing.T) {
	t.Parallel()
	s := newHookedSite(t, hookedToken("", "on_failure", "on_recover"), os.Geteuid())
	s.start(t)
	s.settled(t)
	check(t, os.Rename(s.path("tokens"), s.path("elsewhere")))
	if _, err := s.client().Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	fails := fmt.Sprintf("on_failure t %d", os.Geteuid())
	s.wantSaid(t, fails)
	check(t, os.Rename(s.path("elsewhere"), s.path("tokens")))
	if _, err := s.client().Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.wantSaid(t, fails, fmt.Sprintf("on_recover t %d", os.Geteuid()))
	s.stop(t)
}

func TestAHookRunsAsItsUser(t *testing.T) {
	t.Parallel()
	needRoot(t)
	nobody, err := user.Lookup("nobody")
	check(t, err)
	uid, err := strconv.Atoi(nobody.Uid)
	check(t, err)
	s := newHookedSite(t, hookedToken(`user = "nobody"`, "on_first"), uid)
	s.start(t)
	s.wantSaid(t, fmt.Sprintf("on_first t %d", uid))
	s.stop(t)
}
