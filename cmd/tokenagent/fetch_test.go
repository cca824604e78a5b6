package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/sources/issuer/issuertest"
)

// clientOf is a source of that name, whose secret is in the file of that name, and a
// token from it. ISSUER and CA stand for those of the issuer.
func clientOf(name string) string {
	return fmt.Sprintf(`
source "client_credentials" %q {
  issuer             = "ISSUER"
  ca_file            = "CA"
  client_id          = "robot"
  client_secret_file = "${path.config}/%[1]s"
}
`, name) + tokenFrom(name, "client_credentials."+name)
}

// tokenFrom is a token of that name, in a file of that name in the folder tokens.
func tokenFrom(name, source string) string {
	return fmt.Sprintf(`
token %q {
  source = source.%s
  sink "file" { path = "${path.config}/tokens/%[1]s" }
}
`, name, source)
}

// A corrected secret is tried at once, without a word to the agent. Tokens that work
// are left alone.
func TestANewSecretIsTriedAtOnceByWhatFails(t *testing.T) {
	t.Parallel()
	i := issuertest.Start(t)
	i.Change(func(b *issuertest.Behaviour) { b.ClientSecret = "right" })
	s := newSite(t, strings.NewReplacer("ISSUER", i.URL, "CA", i.CAFile).Replace(clientOf("good")+clientOf("wrong")))
	check(t, os.Mkdir(s.path("tokens"), 0o700))
	put(t, s.path("good"), "right")
	put(t, s.path("wrong"), "left")
	s.start(t)
	var failing agent.Status
	eventually(t, "one that fails, and one that does not", func() bool {
		all, err := s.client().Status(t.Context(), "wrong")
		if err == nil && len(all) == 1 {
			failing = all[0]
		}
		_, there := os.Stat(s.path("tokens/good"))
		return failing.Failing != nil && there == nil
	})
	good := readFile(t, s.path("tokens/good"))
	put(t, s.path("wrong"), "right")
	eventually(t, "the token of the new secret", func() bool {
		_, err := os.Stat(s.path("tokens/wrong"))
		return err == nil
	})
	if now := time.Now(); now.After(failing.Failing.Retry) {
		t.Errorf("it came %s after the next attempt was due anyway", now.Sub(failing.Failing.Retry))
	}
	if readFile(t, s.path("tokens/good")) != good {
		t.Error("the token that was good was renewed")
	}
	s.stop(t)
}
