package sources

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tokenagent/tokenagent/agent"
)

func TestTheEndThatJSONTellsIsThatOfTheCopy(t *testing.T) {
	written := time.Now().Add(-10 * time.Minute).Truncate(time.Second)
	at := func(d time.Duration) time.Time { return written.Add(d) }
	jwt := signed(t, map[string]any{"exp": at(2 * time.Hour).Unix()})
	for name, c := range map[string]struct {
		token, members string
		want           time.Time // zero: none
		note           string
	}{
		"expires_in":                         {"opaque", `"expires_in": 1200`, at(20 * time.Minute), ""},
		"expires_in, of digits":              {"opaque", `"expires_in": "1200"`, at(20 * time.Minute), ""},
		"expires_in, with a fraction":        {"opaque", `"expires_in": 1199.5`, at(1199500 * time.Millisecond), ""},
		"expires_at, as a credmon writes it": {"opaque", fmt.Sprintf(`"expires_at": %d.25, "expires_in": 9999, "scope": ["a"]`, at(time.Hour).Unix()), at(time.Hour + 250*time.Millisecond), ""},
		"expires_at, of digits":              {"opaque", fmt.Sprintf(`"expires_at": "%d"`, at(time.Hour).Unix()), at(time.Hour), ""},
		"expires_at in microseconds":         {"opaque", fmt.Sprintf(`"expires_at": %d`, at(time.Hour).UnixMicro()), at(time.Hour), ""},
		"exp":                                {"opaque", fmt.Sprintf(`"exp": %d`, at(time.Hour).Unix()), at(time.Hour), ""},
		"expiresAt":                          {"opaque", fmt.Sprintf(`"expiresAt": %d`, at(time.Hour).UnixMilli()), at(time.Hour), ""},
		"as Kubernetes says it":              {"opaque", `"expirationTimestamp": "` + at(time.Hour).UTC().Format(time.RFC3339) + `"`, at(time.Hour).Truncate(time.Second), ""},
		"expiresIn":                          {"opaque", fmt.Sprintf(`"expiresIn": 6000, "createdAt": %d`, at(-time.Minute).Unix()), at(99 * time.Minute).Truncate(time.Second), ""},
		"expires_at in milliseconds":         {"opaque", fmt.Sprintf(`"expires_at": %d`, at(time.Hour).UnixMilli()), at(time.Hour), ""},
		"expiry, as Go writes it":            {"opaque", `"expiry": "` + at(time.Hour).Format(time.RFC3339Nano) + `"`, at(time.Hour), ""},
		"expiration":                         {"opaque", `"expiration": "` + at(time.Hour).UTC().Format(time.RFC3339) + `"`, at(time.Hour), ""},
		"since it was made":                  {"opaque", fmt.Sprintf(`"expires_in": 3600, "created_at": %d`, at(-30*time.Minute).Unix()), at(30 * time.Minute), ""},
		"since it was made, by its iat":      {"opaque", fmt.Sprintf(`"expires_in": 3600, "iat": %d`, at(-30*time.Minute).Unix()), at(30 * time.Minute), ""},
		"made after it was written":          {"opaque", fmt.Sprintf(`"expires_in": 3600, "created_at": %d`, at(time.Hour).Unix()), at(time.Hour), ""},
		"made at nonsense":                   {"opaque", `"expires_in": 3600, "created_at": "yesterday"`, at(time.Hour), ""},
		"a JWT says sooner":                  {jwt, `"expires_in": 36000`, at(2 * time.Hour), ""},
		"a JWT says later":                   {jwt, `"expires_in": 3600`, at(time.Hour), ""},
		"null":                               {"opaque", `"expires_in": null, "expires_at": null`, time.Time{}, ""},
		"zero":                               {"opaque", `"expires_in": 0, "expires_at": 0`, time.Time{}, ""},
		"Go's zero time":                     {"opaque", `"expiry": "0001-01-01T00:00:00Z"`, time.Time{}, ""},
		"an empty text":                      {"opaque", `"expires_in": ""`, time.Time{}, ""},
		"a word":                             {"opaque", `"expires_in": "soon"`, time.Time{}, "expires_in beside the token"},
		"a list":                             {"opaque", `"expires_at": [1]`, time.Time{}, "expires_at beside the token"},
		"as Python writes a datetime":        {"opaque", `"expires_at": "` + at(time.Hour).UTC().Format("2006-01-02 15:04:05.000000-07:00") + `"`, at(time.Hour), ""},
		"as date(1) writes its zone":         {"opaque", `"expires_at": "` + at(time.Hour).Format("2006-01-02T15:04:05-0700") + `"`, at(time.Hour), ""},
		"a time without zone":                {"opaque", `"expires_at": "2026-11-30 10:00:00"`, time.Time{}, "expires_at beside the token"},
		"the end of time":                    {"opaque", `"expires_at": 253402300799`, time.Time{}, "expires_at beside the token"},
		"ages":                               {"opaque", `"expires_in": 1e300`, time.Time{}, "expires_in beside the token"},
		"one of two is a word":               {"opaque", `"expires_in": 3600, "expires_at": "soon"`, at(time.Hour), "expires_at beside the token"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "vault.use")
			write(t, path, `{"access_token": "`+c.token+`", `+c.members+`}`, 0o600)
			if err := os.Chtimes(path, written, written); err != nil {
				t.Fatal(err)
			}
			got := issue(t, fileCopy{Path: path}, agent.Request{})
			if !got.Expires.Equal(c.want) || !strings.Contains(got.Note, c.note) || (c.note == "") != (got.Note == "") {
				t.Errorf("it ends at %v, want %v; the note is %q", got.Expires, c.want, got.Note)
			}
		})
	}
}

func TestATimeIsOneOfThisMillenniumAndTheNext(t *testing.T) {
	for v, want := range map[any]int64{ // seconds since 1970; 0: it is no time
		json.Number("946684800"): 946684800, json.Number("946684799"): 0, json.Number("946684800000"): 946684800,
		json.Number("99999999999"): 99999999999, json.Number("100000000000"): 0,
		"2000-01-01T00:00:00Z": 946684800, "2000-01-01T01:00:00+0100": 946684800, "1999-12-31T23:59:59Z": 0, "2026-13-01T00:00:00Z": 0,
	} {
		if at, ok := instantOf(v); ok != (want != 0) || ok && at.Unix() != want {
			t.Errorf("%v: got %v, %v", v, at, ok)
		}
	}
}

func TestACopyOfWhatHasEndedIsRefused(t *testing.T) {
	for _, members := range []string{`"expires_in": 60`, `"expires_in": -1`, `"expires_at": 1700000000`} {
		path := filepath.Join(t.TempDir(), "vault.use")
		write(t, path, `{"access_token": "opaque", `+members+`}`, 0o600)
		if err := os.Chtimes(path, time.Now(), time.Now().Add(-time.Hour)); err != nil {
			t.Fatal(err)
		}
		_, err := fileCopy{Path: path}.Issue(t.Context(), agent.Request{})
		wantFault(t, err, agent.Transient, path, "expired at")
		_, err = presented{what: "subject token", path: path}.Read(time.Now())
		wantFault(t, err, agent.Transient, path, "expired at")
	}
}
