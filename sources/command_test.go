package sources

import (
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tokenagent/tokenagent/agent"
)

// commanded is a source "command" that runs the script, with those lines in its
// block.
func commanded(t *testing.T, script string, lines ...string) agent.Source {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "program")
	write(t, path, "#!/bin/sh\n"+script+"\n", 0o755)
	c, faults := load(t, dir, fetched("command", append([]string{`command = ["` + path + `", "an argument"]`}, lines...)...), false)
	if faults.HasErrors() {
		t.Fatal(faults)
	}
	return c.Renewers[0].Source
}

func TestCommandPrintsTheToken(t *testing.T) {
	exp := time.Now().Add(time.Hour).Truncate(time.Second)
	jwt := signed(t, map[string]any{"exp": exp.Unix()})
	assumed := `assume_lifetime = "20m"`
	for name, c := range map[string]struct {
		script string
		lines  []string
		want   string
		life   time.Duration // beyond that of the JWT
	}{
		"a line":                 {"echo " + jwt, nil, jwt, 0},
		"no end of a line":       {"printf " + jwt, nil, jwt, 0},
		"blanks around it":       {`printf '\n  %s \r\n\n' ` + jwt, nil, jwt, 0},
		"words beside it":        {"echo hello >&2; echo " + jwt, nil, jwt, 0},
		"what it is given":       {`echo "$1" | tr -d ' '`, []string{assumed}, "anargument", 20 * time.Minute},
		"opaque":                 {"echo hvs.CAES", []string{assumed}, "hvs.CAES", 20 * time.Minute},
		"a JWT, if it says more": {"echo " + jwt, []string{assumed}, jwt, 0},
	} {
		t.Run(name, func(t *testing.T) {
			before := time.Now()
			got := issue(t, commanded(t, c.script, c.lines...), agent.Request{})
			if got.Secret.Reveal() != c.want {
				t.Errorf("got %q", got.Secret.Reveal())
			}
			want := exp
			if c.life > 0 {
				want = got.Issued.Add(c.life)
			}
			if !got.Expires.Equal(want) || got.Issued.Before(before) {
				t.Errorf("issued at %s, it expires at %s, want %s", got.Issued, got.Expires, want)
			}
		})
	}
}

func TestCommandsThatPrintNoTokenAreRefused(t *testing.T) {
	jwt := signed(t, map[string]any{"sub": "x"})
	for name, c := range map[string]struct {
		script string
		lines  []string
		kind   agent.Kind
		want   string
	}{
		"a failure":                {"echo nobody is there >&2; exit 3", nil, agent.Transient, "/program: exit status 3; it said: nobody is there"},
		"a failure without words":  {"exit 1", nil, agent.Transient, "/program: exit status 1; it said nothing, so run it by hand to see why"},
		"a failure beside a token": {"echo token; exit 1", nil, agent.Transient, "exit status 1"},
		"nothing":                  {"true", nil, agent.Transient, "printed: there is no token"},
		"a line end":               {"echo", nil, agent.Transient, "printed: there is no token"},
		"null":                     {"echo null", nil, agent.Transient, "printed: there is no token"},
		"None":                     {"echo None", nil, agent.Transient, "printed: it is a word that programs print where they have no token"},
		"two lines":                {"echo token; echo another", nil, agent.Transient, "printed: it has 2 lines; a token is one, so have the program print nothing else to its standard output"},
		"words":                    {"echo no token today", nil, agent.Transient, "printed: it is not a token: only the characters of RFC 6750"},
		"JSON":                     {`echo '{"access_token":"x"}'`, nil, agent.Transient, "printed: it is not a token"},
		"NUL bytes":                {`printf 'a\000b'`, nil, agent.Transient, "printed: it is not a token"},
		"a token too long":         {"printf %016384d 0", nil, agent.Transient, "printed: it has 16384 bytes; readers take at most 16382"},
		"17 KiB":                   {"printf %017408d 0", nil, agent.Transient, "/program: it printed more than 16384 bytes; a token is one line"},
		"no end, ever":             {"yes", []string{`timeout = "1s"`}, agent.Transient, "/program: ended as it took longer than 1s"},
		"a hang":                   {"exec sleep 60", []string{`timeout = "1s"`}, agent.Transient, "/program: ended as it took longer than 1s; see why it hangs, or give it a longer timeout"},
		"opaque, and no life":      {"echo opaque", nil, agent.Configuration, "printed: nothing says when the token expires; write assume_lifetime in the source"},
		"a JWT for ever":           {"echo " + jwt, nil, agent.Configuration, "printed: nothing says when the token expires"},
		"half a JWT":               {"echo " + jwt[:strings.LastIndex(jwt, ".")], nil, agent.Transient, "printed: it begins like a JWT, but a part is missing"},
		"not valid yet":            {"echo " + signed(t, map[string]any{"exp": time.Now().Add(2 * time.Hour).Unix(), "iat": time.Now().Add(time.Hour).Unix()}), nil, agent.Transient, "the token is not valid before "},
		"an end in milliseconds":   {"echo " + signed(t, map[string]any{"exp": time.Now().UnixMilli()}), nil, agent.Configuration, "this looks like milliseconds"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := commanded(t, c.script, c.lines...).Issue(t.Context(), agent.Request{})
			wantFault(t, err, c.kind, c.want)
		})
	}
}

// A program that fails may print the token, and passwords, wherever it likes.
func TestNothingThatACommandPrintsIsRepeatedIfItMayBeASecret(t *testing.T) {
	jwt := signed(t, map[string]any{"exp": time.Now().Add(time.Hour).Unix()})
	for name, script := range map[string]string{
		"beside a failure":     "echo " + jwt + "; echo " + jwt + " >&2; exit 1",
		"with a password":      "echo 'password=hunter2, token: " + jwt + "' >&2; exit 1",
		"in the arguments":     "echo $0 " + jwt + "$1 >&2; exit 2",
		"in two lines":         "echo " + jwt + "; echo " + jwt,
		"with words before it": "echo the token is " + jwt,
		"in a hang":            "echo " + jwt + " | fold >&2; exec sleep 60",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := commanded(t, script, `timeout = "2s"`).Issue(t.Context(), agent.Request{})
			if err == nil {
				t.Fatal("it was taken for a token")
			}
			for _, secret := range []string{jwt[:20], jwt[len(jwt)-20:], "hunter2", "an argument"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("%q has %q in it", err, secret)
				}
			}
		})
	}
}

func TestCommandFindsTheHomeOfItsUser(t *testing.T) {
	home := func(lines ...string) string {
		c, faults := load(t, t.TempDir(), fetched("command", append(lines, `assume_lifetime = "1h"`,
			`command = ["/bin/sh", "-c", "echo $HOME+$USER+$(id -u) | tr / -"]`)...), false)
		if faults.HasErrors() {
			t.Fatal(faults)
		}
		return issue(t, c.Renewers[0].Source, agent.Request{}).Secret.Reveal()
	}
	me, err := user.Current()
	if err != nil {
		t.Skipf("nobody knows who runs this test: %v", err)
	}
	want := strings.ReplaceAll(me.HomeDir, "/", "-") + "+" + me.Username + "+" + me.Uid
	if got := home(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if os.Geteuid() != 0 {
		return // only root can take on another identity
	}
	if got := home(`user = "daemon"`); got != "-usr-sbin+daemon+1" {
		t.Errorf("got %s", got)
	}
}

func TestFaultsOfACommand(t *testing.T) {
	run := `command = ["/bin/true"]`
	for name, c := range map[string]struct {
		lines []string
		want  []string
	}{
		"a program":           {[]string{run}, nil},
		"no program":          {nil, []string{"1: missing attribute command"}},
		"a line for a shell":  {[]string{`command = ["vault read -field=token x"]`}, []string{"2: no shell runs the command"}},
		"a name":              {[]string{`command = ["vault"]`}, []string{"2: the program has no absolute path"}},
		"a token":             {[]string{`command = ["/bin/echo", "eyJhbGciOiJub25lIn0.e30."]`}, []string{"2: there is a token in the command"}},
		"a moment":            {[]string{run, `timeout = "0s"`}, []string{`3: the timeout is out of range; it is at least "1s"`}},
		"longer than a try":   {[]string{run, `timeout = "2m"`}, []string{`3: the timeout is out of range; it is at least "1s" and at most "100s"; run what takes longer by itself, and copy what it writes with source "file"`}},
		"nobody":              {[]string{run, `user = "nobody-of-that-name"`}, []string{"3: unknown user"}},
		"a life of a moment":  {[]string{run, `assume_lifetime = "1s"`}, []string{"3: assume_lifetime is out of range"}},
		"an issuer":           {[]string{run, `issuer = "https://iam.example.org"`}, []string{"3: unknown attribute issuer"}},
		"a file with a slip":  {[]string{run, `path = "/x"`}, []string{"3: unknown attribute path"}},
		"another format":      {[]string{run, `token_format = "paseto"`}, []string{`3: unknown token_format "paseto"; it is "jwt", "opaque"`}},
		"widened otherwise":   {[]string{run, `on_widened = "ignore"`}, []string{`3: unknown on_widened "ignore"; it is "refuse" or "warn"`}},
		"several in one run ": {[]string{`command = []`, `assume_lifetime = "1s"`}, []string{"2: command is empty", "3: assume_lifetime is out of range"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			_, faults := load(t, dir, fetched("command", c.lines...), false)
			compare(t, dir, faults.Errors(), c.want)
		})
	}
}

func TestFaultsOfAFile(t *testing.T) {
	for name, c := range map[string]struct {
		lines []string
		want  []string
	}{
		"a file to come":     {[]string{`path = "DIR/later"`}, nil},
		"no path":            {nil, []string{"1: missing attribute path"}},
		"a relative path":    {[]string{`path = "token"`}, []string{"2: path is a relative path"}},
		"another format":     {[]string{`path = "DIR/x"`, `token_format = "paseto"`}, []string{`3: unknown token_format "paseto"; it is "jwt", "opaque"`}},
		"widened otherwise":  {[]string{`path = "DIR/x"`, `on_widened = "ignore"`}, []string{`3: unknown on_widened "ignore"; it is "refuse" or "warn"`}},
		"a life of a moment": {[]string{`path = "DIR/x"`, `assume_lifetime = "1s"`}, []string{"3: assume_lifetime is out of range"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			_, faults := load(t, dir, fetched("file", c.lines...), false)
			compare(t, dir, faults.Errors(), c.want)
		})
	}
}

var (
	_ agent.Follower = fileCopy{}
	_ agent.Follower = tokenExchange{}
)
