package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/sources/issuer/issuertest"
)

const twoClients = `
source "client_credentials" "good" {
  issuer             = "ISSUER"
  ca_file            = "CA"
  client_id          = "robot"
  client_secret_file = "${path.config}/good"
}
source "client_credentials" "wrong" {
  issuer             = "ISSUER"
  ca_file            = "CA"
  client_id          = "robot"
  client_secret_file = "${path.config}/wrong"
}
token "good" {
  source = source.client_credentials.good
  sink "file" { path = "${path.config}/tokens/good" }
}
token "wrong" {
  source = source.client_credentials.wrong
  sink "file" { path = "${path.config}/tokens/wrong" }
}
`

// A person who has mended a secret need not wait for the next attempt, nor tell
// anybody; and what works is let be.
func TestANewSecretIsTriedAtOnceByWhatFails(t *testing.T) {
	t.Parallel()
	i := issuertest.Start(t)
	i.Change(func(b *issuertest.Behaviour) { b.ClientSecret = "right" })
	s := newSite(t, strings.NewReplacer("ISSUER", i.URL, "CA", i.CAFile).Replace(twoClients))
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
