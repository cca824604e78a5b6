package sources

import (
	"crypto/x509"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/sources/issuer"
	"github.com/tokenagent/tokenagent/sources/issuer/issuertest"
	"github.com/tokenagent/tokenagent/sources/refresh"
)

const day = 24 * time.Hour

func TestTheEndOfARefreshTokenFollowsWhatTheIssuerSays(t *testing.T) {
	login := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	at := func(d time.Duration) time.Time { return login.Add(d) }
	had := usable{Token: refresh.Token{Text: agent.NewSecret("one"), Expires: at(30 * day), Stored: login}}
	answered := func(after, end time.Duration, text string) issuer.Answer {
		a := issuer.Answer{Sent: at(after)}
		if text != "" {
			a.Refresh = agent.NewSecret(text)
		}
		if end > 0 {
			a.RefreshExpires = at(end)
		}
		return a
	}
	for name, c := range map[string]struct {
		had    usable
		answer issuer.Answer
		want   time.Duration // zero: no end is known
		fixed  bool
	}{
		"nothing is said":                    {had, answered(day, 0, ""), 30 * day, false},
		"the same one again":                 {had, answered(day, 0, "one"), 30 * day, false},
		"another one, of which nothing":      {had, answered(day, 0, "two"), 0, false},
		"it moves on":                        {had, answered(day, 31*day, "two"), 31 * day, false},
		"it moves on, the same one":          {had, answered(day, 31*day, ""), 31 * day, false},
		"it stays":                           {had, answered(day, 30*day, "two"), 30 * day, true},
		"it stays, but for a second":         {had, answered(day, 30*day-time.Second, ""), 30 * day, true},
		"it comes nearer":                    {had, answered(day, 10*day, "two"), 10 * day, true},
		"used at once, nobody knows yet":     {had, answered(time.Second, 30*day+time.Second, "two"), 30 * day, false},
		"the first time that an end is said": {usable{Token: refresh.Token{Text: agent.NewSecret("one")}}, answered(day, 5*day, ""), 5 * day, false},
	} {
		got := c.had.followed(c.answer)
		if end := got.Expires; (end.IsZero()) != (c.want == 0) || !end.IsZero() && !end.Equal(at(c.want)) || got.Fixed != c.fixed {
			t.Errorf("%s: it ends %v (%v), fixed %v", name, end, end.Sub(login), got.Fixed)
		}
	}
}

func TestARefreshTokenIsToldOfAWeekBeforeItEnds(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	s := &refreshToken{login: "tokenagent login cilogon"}
	for name, c := range map[string]struct {
		token refresh.Token
		want  string
	}{
		"unknown":                     {refresh.Token{Stored: now}, ""},
		"in eight days":               {refresh.Token{Stored: now.Add(-30 * day), Expires: now.Add(8 * day), Fixed: true}, ""},
		"in six days":                 {refresh.Token{Stored: now.Add(-24 * day), Expires: now.Add(6 * day)}, "ends 2026-12-06T12:00:00Z"},
		"in six days, used every day": {refresh.Token{Stored: now.Add(-day), Expires: now.Add(6 * day), Fixed: true}, "ends 2026-12-06T12:00:00Z"},
		"in a day, and it stays":      {refresh.Token{Stored: now.Add(-day), Expires: now.Add(day), Fixed: true}, "ends 2026-12-01T12:00:00Z"},
		"in half an hour, as always":  {refresh.Token{Stored: now, Expires: now.Add(30 * time.Minute)}, ""},
		"it has":                      {refresh.Token{Stored: now.Add(-time.Hour), Expires: now.Add(-30 * time.Minute)}, "ended 2026-11-30T11:30:00Z"},
	} {
		got := s.endsSoon(c.token, now)
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) || got != "" && !strings.HasSuffix(got, "to get a new one: tokenagent login cilogon") {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestARefreshTokenIsUsedBeforeItEnds(t *testing.T) {
	for member, value := range map[string]any{"refresh_expires_in": 7200, "refresh_token_expires_in": "7200"} {
		t.Run(member, func(t *testing.T) {
			r := newRobot(t)
			r.issuer.Change(func(b *issuertest.Behaviour) {
				b.Lifetime = 10 * time.Hour
				b.Answer = func(_ url.Values, a map[string]any) { a[member] = value }
			})
			got := r.mustIssue(t)
			if in := got.AskBy.Sub(got.Issued); in != time.Hour {
				t.Errorf("it is to be used again after %v, and ends after two hours", in)
			}
			ends := r.facts.Ends()
			if len(ends) != 1 || ends[0].What != "refresh token" || !ends[0].At.Equal(got.Issued.Add(2*time.Hour)) {
				t.Errorf("it ends %+v", ends)
			}
		})
	}
}

func TestOnlyARefreshTokenThatUseDoesNotProlongIsWarnedOfWithATokenOfIt(t *testing.T) {
	r := newRobot(t)
	r.issuer.Change(func(b *issuertest.Behaviour) {
		b.Answer = func(_ url.Values, a map[string]any) { a["refresh_expires_in"] = 86400 }
	})
	r.mustIssue(t)
	for _, fixed := range []bool{false, true} {
		stored := r.stored(t)
		stored.Fixed = fixed
		lock, err := r.store.Lock(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		err = lock.Keep(stored)
		lock.Release()
		if err != nil {
			t.Fatal(err)
		}
		if got := r.mustIssue(t); strings.Contains(got.Note, "the refresh token ends") != fixed {
			t.Errorf("fixed %v: the note is %q", fixed, got.Note)
		}
	}
}

func TestARefreshTokenWhoseEndIsNotSaidNeverEnds(t *testing.T) {
	for name, value := range map[string]any{"zero, as Keycloak says of an offline token": 0, "null": nil, "a word": "never", "ages": 1e15, "negative": -1} {
		t.Run(name, func(t *testing.T) {
			r := newRobot(t)
			r.issuer.Change(func(b *issuertest.Behaviour) {
				b.Answer = func(_ url.Values, a map[string]any) { a["refresh_expires_in"] = value }
			})
			if got := r.mustIssue(t); !got.AskBy.IsZero() || got.Note != "" || len(r.facts.Ends()) != 0 {
				t.Errorf("got %+v; it ends %v", got, r.facts.Ends())
			}
		})
	}
}

func TestAClientCertificateIsToldOfAWeekBeforeItEnds(t *testing.T) {
	i := issuertest.Start(t)
	for name, c := range map[string]struct {
		left time.Duration
		want string
	}{"in eight days": {8 * day, ""}, "in six days": {6 * day, " ends 20"}, "it has": {-time.Minute, " ended 20"}} {
		t.Run(name, func(t *testing.T) {
			end := time.Now().Add(c.left).Truncate(time.Second)
			cert, key := i.CA.Files(t, func(x *x509.Certificate) { x.NotAfter = end })
			text := strings.NewReplacer("ISSUER", i.URL, "CA", i.CAFile, "CERT", cert, "KEY", key).Replace(`
source "client_credentials" "iam" {
  issuer           = "ISSUER"
  client_id        = "robot"
  client_auth      = "tls_client_auth"
  client_cert_file = "CERT"
  client_key_file  = "KEY"
  ca_file          = "CA"
}
token "t" { source = source.client_credentials.iam }
`)
			dir := t.TempDir()
			loaded, faults := loadKept(t, dir, text, false)
			var found []string
			for _, f := range faults {
				if f.Summary == "the client certificate ends" {
					found = append(found, f.Detail)
				}
			}
			if faults.HasErrors() || (len(found) == 1) != (c.want != "") || c.want != "" && !strings.Contains(found[0], cert+c.want) {
				t.Errorf("check says %q of %v", found, faults)
			}
			if ends := loaded.Sources[0].Ends(); len(ends) != 1 || ends[0].What != "client certificate" || !ends[0].At.Equal(end) {
				t.Errorf("it ends %+v", ends)
			}
			if c.left < 0 {
				return // no issuer takes it
			}
			got, err := loaded.Sources[0].Source.Issue(t.Context(), loaded.Renewers[0].Request)
			if err != nil || !strings.Contains(got.Note, c.want) || (got.Note == "") != (c.want == "") {
				t.Errorf("the note is %q; %v", got.Note, err)
			}
			if err := os.Remove(cert); err != nil {
				t.Fatal(err)
			}
			if ends := loaded.Sources[0].Ends(); len(ends) != 1 || ends[0].Err == nil || !strings.Contains(ends[0].Err.Error(), filepath.Base(cert)) {
				t.Errorf("without its file: %+v", ends)
			}
		})
	}
}
