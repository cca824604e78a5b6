package bearer

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var now = time.Unix(1_800_000_000, 0)

func token(subject string, expires time.Time) string {
	part := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	return part(`{"alg":"ES256","kid":"k"}`) + "." + part(fmt.Sprintf(`{"iss":"https://i.example","sub":%q,"exp":%d}`, subject, expires.Unix())) + "." + part(strings.Repeat("s", 64))
}

// places has a file for BEARER_TOKEN_FILE and a fallback that is fine, and tells
// which of both each client takes.
func TestWhichFileEachClientTakes(t *testing.T) {
	good, late := token("first", now.Add(time.Hour)), token("first", now.Add(-time.Hour))
	for _, c := range []struct {
		name, content string
		mode          os.FileMode
		want          map[Client]string // "file", "fallback" or "stops"
	}{
		{"fine", good + "\n", 0o600, map[Client]string{XRootD: "file", HTCondor: "file", Pelican: "file"}},
		{"open to others", good, 0o644, map[Client]string{XRootD: "stops", HTCondor: "file", Pelican: "file"}},
		{"empty", " \n", 0o600, map[Client]string{XRootD: "fallback", HTCondor: "fallback", Pelican: "fallback"}},
		{"missing", "-", 0o600, map[Client]string{XRootD: "fallback", HTCondor: "fallback", Pelican: "fallback"}},
		{"expired", late, 0o600, map[Client]string{XRootD: "file", HTCondor: "file", Pelican: "fallback"}},
		{"no token", "null", 0o600, map[Client]string{XRootD: "file", HTCondor: "file", Pelican: "fallback"}},
		{"JSON", `{"access_token":"` + good + `"}`, 0o600, map[Client]string{XRootD: "file", HTCondor: "file", Pelican: "file"}},
		{"larger than 4 KiB", good + strings.Repeat(" ", 4097-len(good)), 0o600, map[Client]string{XRootD: "stops", HTCondor: "file", Pelican: "file"}},
		{"as large as XRootD's client takes", good + strings.Repeat(" ", 4096-len(good)), 0o600, map[Client]string{XRootD: "file", HTCondor: "file", Pelican: "file"}},
		{"a token of 4 KiB", good + strings.Repeat("x", 4096-len(good)), 0o600, map[Client]string{XRootD: "stops", HTCondor: "file", Pelican: "fallback"}},
		{"larger than 16 KiB", good + strings.Repeat(" ", 17000), 0o600, map[Client]string{XRootD: "stops", HTCondor: "stops", Pelican: "file"}},
		{"two lines of CR LF", good + "\r\n" + good, 0o600, map[Client]string{XRootD: "file", HTCondor: "stops", Pelican: "fallback"}},
		{"a link", "link", 0o600, map[Client]string{XRootD: "file", HTCondor: "stops", Pelican: "file"}},
		{"a folder", "folder", 0o600, map[Client]string{XRootD: "stops", HTCondor: "stops", Pelican: "fallback"}},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "file")
		var err error
		switch c.content {
		case "-":
		case "folder":
			err = os.Mkdir(path, 0o700)
		case "link":
			err = os.WriteFile(path+"2", []byte(good), c.mode)
			if err == nil {
				err = os.Symlink(path+"2", path)
			}
		default:
			err = os.WriteFile(path, []byte(c.content), c.mode)
		}
		fallback := filepath.Join(dir, fmt.Sprintf("bt_u%d", os.Getuid()))
		if err == nil {
			err = os.WriteFile(fallback, []byte(token("fallback", now.Add(time.Hour))), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		env := map[string]string{"BEARER_TOKEN_FILE": path, "XDG_RUNTIME_DIR": dir, "BEARER_TOKEN": ""}
		s := Surroundings{UID: os.Getuid(), Now: now, Lookup: func(name string) (string, bool) { v, set := env[name]; return v, set }}
		for client, want := range c.want {
			got := "none"
			for _, step := range s.Steps(client) {
				switch {
				case step.Verdict == Stops:
					got = "stops"
				case step.Verdict == Taken && step.Path == path:
					got = "file"
				case step.Verdict == Taken && step.Path == fallback:
					got = "fallback"
				}
				if text := fmt.Sprintf("%+v", step.Reason+strings.Join(step.Faults, "")); strings.Contains(text, good[20:60]) {
					t.Errorf("%s: %s: the token is shown: %s", c.name, client, text)
				}
			}
			if got != want {
				t.Errorf("%s: %s: %s, want %s: %+v", c.name, client, got, want, s.Steps(client))
			}
		}
	}
}

func TestPelicanTakesABadTokenWhereThereIsNoBetterOne(t *testing.T) {
	s := Surroundings{UID: 3_000_000_000, Now: now, Lookup: func(name string) (string, bool) {
		return token("late", now.Add(-time.Hour)), name == "BEARER_TOKEN"
	}}
	steps := s.Steps(Pelican)
	if steps[0].Verdict != Taken || Usable(steps) {
		t.Errorf("%+v", steps)
	}
}

func TestSciTokensFileStandsForAllOthers(t *testing.T) {
	s := Surroundings{UID: 3_000_000_000, Now: now, SciTokensFile: "/nonexistent/token", Lookup: func(string) (string, bool) { return "x", true }}
	if steps := s.Steps(HTCondor); len(steps) != 1 || steps[0].Verdict != Passed || Usable(steps) {
		t.Errorf("%+v", steps)
	}
}
