package tokendir

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var now = time.Unix(1800000300, 0)

// A claimSet makes tokens that differ in what a test is about.
type claimSet struct {
	alg, kid, iss, sub, scope string // "-" leaves it out
	iat, exp                  int64
}

// signature is what no output may show.
const signature = "c2lnbmF0dXJlLXRoYXQtbm9ib2R5LW1heS1zZWUtMzI"

func (c claimSet) String() string {
	header := map[string]any{"alg": or(c.alg, "HS256"), "typ": "JWT"}
	claims := map[string]any{"jti": "00112233445566778899aabbccddeeff", "iat": c.iat, "exp": c.exp}
	if c.iat == 0 {
		claims["iat"] = now.Unix() - 300
	}
	if c.exp == 0 {
		claims["exp"] = now.Unix() + 3600
	}
	for _, f := range []struct {
		in             map[string]any
		name, v, usual string
	}{
		{header, "kid", c.kid, "POOL"},
		{claims, "iss", c.iss, "cm.example.org"},
		{claims, "sub", c.sub, "schedd@example.org"},
		{claims, "scope", c.scope, "condor:/READ"},
	} {
		if f.v != "-" {
			f.in[f.name] = or(f.v, f.usual)
		}
	}
	return part(header) + "." + part(claims) + "." + signature
}

func or(text, usual string) string {
	if text == "" {
		return usual
	}
	return text
}

func part(v map[string]any) string {
	data, _ := json.Marshal(v)
	return base64.RawURLEncoding.EncodeToString(data)
}

var (
	good    = claimSet{}.String() + "\n"
	elsePOO = claimSet{kid: "site"}.String() + "\n"
	other   = claimSet{iss: "other.example.org"}.String() + "\n"
	expired = claimSet{exp: now.Unix() - 60}.String() + "\n"
	notYet  = claimSet{iat: now.Unix() + 60}.String() + "\n"
)

// self is the test's own user, as a reader.
func self() Reader { return Reader{User: User{Name: "me", UID: os.Getuid()}} }

// directory is a new token directory with these files, of mode 0600.
func directory(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// mustRead reads the directory, or fails when that takes longer than anybody
// would wait.
func mustRead(t testing.TB, dir string, reader Reader) Reading {
	t.Helper()
	type answer struct {
		Reading
		error
	}
	done := make(chan answer, 1)
	go func() {
		r, err := Read(dir, reader, now)
		done <- answer{r, err}
	}()
	select {
	case a := <-done:
		if a.error != nil {
			t.Fatal(a.error)
		}
		return a.Reading
	case <-time.After(2 * time.Minute):
		t.Fatal("it hangs")
		return Reading{}
	}
}

// verdicts are the entries, one a line: "name:line verdict by X, state".
func verdicts(r Reading) string {
	var lines strings.Builder
	for _, e := range r.Entries {
		fmt.Fprint(&lines, e.Name)
		if e.Line > 0 {
			fmt.Fprintf(&lines, ":%d", e.Line)
		}
		fmt.Fprintf(&lines, " %s", e.Verdict)
		if e.By != "" {
			fmt.Fprintf(&lines, " by %s", e.By)
		}
		if e.Only != "" {
			fmt.Fprintf(&lines, " only %s", e.Only)
		}
		if e.Token != nil && e.Token.State != Valid {
			fmt.Fprintf(&lines, ", %s", e.Token.State)
		}
		lines.WriteString("\n")
	}
	return lines.String()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantVerdicts(t *testing.T, dir string, reader Reader, want string) {
	t.Helper()
	if diff := cmp.Diff(want, verdicts(mustRead(t, dir, reader))); diff != "" {
		t.Error(diff)
	}
}
