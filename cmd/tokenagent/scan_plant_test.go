package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/agent/control"
	"github.com/tokenagent/tokenagent/sources/keys"
)

// The search for secrets must be able to find some. These tests leak secrets of
// every kind, in every encoding and at every place, and want each to be found.

// planted are secrets of every kind, and the text that a test would have them in.
func planted(t *testing.T) map[string]struct{ learnt, secret string } {
	t.Helper()
	random := func() string { return strings.ToLower(rand.Text()) + "/+\"\\" + rand.Text() }
	token := "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJyb2JvdCJ9." + base64.RawURLEncoding.EncodeToString([]byte(rand.Text()+rand.Text()))
	all := map[string]struct{ learnt, secret string }{
		"a token":             {token + "\n", token[strings.LastIndex(token, ".")+1:]},
		"a client secret":     {"", random()},
		"a refresh token":     {"", random()},
		"a device code":       {"", random()},
		"a short secret":      {"", "c0rrect-horse"},
		"an octet key as JWK": {`{"kty":"oct","k":"` + base64.RawURLEncoding.EncodeToString([]byte(token[40:70])) + `"}`, token[40:70]},
	}
	for _, algorithm := range []string{"ES256", "ES384", "EdDSA"} {
		key, err := keys.Generate(algorithm)
		check(t, err)
		text, err := key.MarshalPEM()
		check(t, err)
		found := &secrets{all: map[string]string{}}
		found.find(string(text))
		for secret := range found.all {
			all[fmt.Sprintf("a key for %s, of %d characters", algorithm, len(secret))] = struct{ learnt, secret string }{string(text), secret}
		}
	}
	return all
}

// encodings are how a mistake may write a secret.
var encodings = map[string]func(secret string) string{
	"plain":     func(s string) string { return s },
	"its start": func(s string) string { return s[:min(len(s), windowSize)] },
	"its end":   func(s string) string { return s[max(0, len(s)-windowSize):] },
	"base64":    func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
	"Basic":     func(s string) string { return base64.StdEncoding.EncodeToString([]byte("robot:" + s)) },
	"a shifted": func(s string) string { return base64.URLEncoding.EncodeToString([]byte("robot12:" + s + " and more")) },
	"hex":       func(s string) string { return hex.EncodeToString([]byte(s)) },
	"HEX":       func(s string) string { return strings.ToUpper(hex.EncodeToString([]byte(s))) },
	"a query":   func(s string) string { return "https://issuer.example.org/?secret=" + url.QueryEscape(s) },
	"a path":    func(s string) string { return url.PathEscape(s) },
	"JSON":      func(s string) string { text, _ := json.Marshal(s); return string(text) },
	"JSON twice": func(s string) string {
		text, _ := json.Marshal(s)
		text, _ = json.Marshal(string(text))
		return string(text)
	},
	"%q":           func(s string) string { return fmt.Sprintf("%q", s) },
	"%v of bytes":  func(s string) string { return fmt.Sprint([]byte(s)) },
	"%#v of bytes": func(s string) string { return fmt.Sprintf("%#v", []byte(s)) },
}

func TestSearchFindsEverySecretInEveryEncoding(t *testing.T) {
	t.Parallel()
	for kind, p := range planted(t) {
		s := &secrets{all: map[string]string{}}
		s.find(p.learnt)
		if p.learnt == "" {
			s.add(kind, p.secret)
		}
		h := haystackFor(s)
		for name, encode := range encodings {
			if strings.HasPrefix(name, "JSON") && !utf8.ValidString(p.secret) {
				continue // little is left of it
			}
			if text := "time=now msg=\"" + encode(p.secret) + "\""; h.leakIn(text) == "" {
				t.Errorf("%s, written as %s, is not found in %s", kind, name, text)
			}
		}
	}
}

func TestSearchFindsWhatLooksLikeASecretNobodyKnew(t *testing.T) {
	t.Parallel()
	h := haystackFor(&secrets{all: map[string]string{}})
	key, err := keys.Generate("ES256")
	check(t, err)
	text, err := key.MarshalPEM()
	check(t, err)
	for _, text := range []string{
		"Bearer eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJyb2JvdCJ9.c2lnbmF0dXJlc2lnbmF0dXJl",
		`the answer is "eyJhbGciOiJFUzI1NiJ9%2EeyJzdWIiOiJyb2JvdCJ9%2Ec2lnbmF0dXJlc2lnbmF0dXJl"`,
		string(text),
		`{"kty":"EC","d":"c2lnbmF0dXJlc2lnbmF0dXJl"}`,
		fmt.Sprintf("%q", `{"d":"c2lnbmF0dXJlc2lnbmF0dXJl"}`),
	} {
		if h.leakIn(text) == "" {
			t.Errorf("nothing is found in %s", text)
		}
	}
	for _, text := range []string{
		"", "[secret]", "-----BEGIN PUBLIC KEY-----", "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJyb2JvdCJ9", `{"kid":"c2lnbmF0dXJlc2lnbmF0dXJl"}`,
	} {
		if leak := h.leakIn(text); leak != "" {
			t.Errorf("%q is taken for %s", text, leak)
		}
	}
}

// The places where a program can leak.
var leakyPlaces = []string{
	"stdout", "stdout, by and by", "stderr", "log, below its level", "log, and then it is killed", "control", "argv", "environ", "state", "log",
}

func TestSearchFindsASecretAtEveryPlace(t *testing.T) {
	t.Parallel()
	for _, place := range leakyPlaces {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			secret := rand.Text() + rand.Text()
			s := &secrets{all: map[string]string{}}
			s.add("a planted secret", secret)
			folder := t.TempDir()
			runs, err := makeRuns(t.TempDir())
			check(t, err)

			c := exec.Command("leaky", secret, place, runs, folder)
			stdin, err := c.StdinPipe()
			check(t, err)
			check(t, launch(c))
			found := func() bool {
				watchFolder("a plant", folder)
				return slices.ContainsFunc(search(runs, s), func(leak string) bool {
					return strings.Contains(leak, "a planted secret") && strings.Contains(leak, strings.SplitN(place, ",", 2)[0])
				})
			}
			eventually(t, "the secret in "+place, found)
			stdin.Close()
			_ = c.Wait() // one was killed
		})
	}
}

// However much a process shows, its copy goes on, and what is shown again and again
// takes no room.
func TestARecordingIsNeverFull(t *testing.T) {
	t.Parallel()
	runs, err := makeRuns(t.TempDir())
	check(t, err)
	r, err := newRecording(runs, []string{"tokenagent", "run"})
	check(t, err)
	secret := rand.Text() + rand.Text()
	s := &secrets{all: map[string]string{}}
	s.add("a planted secret", secret)
	show := func(line string) { r.add("stdout", []byte(line+"\n")) }
	for n := range 10000 {
		show(fmt.Sprintf("time=%d the token is written", n))
	}
	if r.used > 1000 {
		t.Errorf("%d bytes are kept of one line", r.used)
	}
	for range recordedInOne>>16 + 1 {
		show(strings.Repeat(rand.Text(), 1<<16/26))
	}
	show("the secret is " + secret)
	files, err := os.ReadDir(runs)
	check(t, err)
	found := slices.ContainsFunc(search(runs, s), func(leak string) bool { return strings.HasPrefix(leak, "tokenagent run ") })
	if len(files) != 2 || !found {
		t.Errorf("it is found: %v, in %d files", found, len(files))
	}
}

// leakyMain is a program that shows a secret at one place and waits for the end of
// its input. It is watched as tokenagent is, with a folder of its own for the copy,
// and has another for its files.
func leakyMain() {
	secret, place, runs, folder := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	must(os.WriteFile("/proc/self/comm", []byte("tokenagent"), 0))
	os.Args = []string{"tokenagent", "leaky"}
	must(watchedBy(runs))
	leakAt(secret, place, folder)
	io.Copy(io.Discard, os.Stdin)
}

func leakAt(secret, place, folder string) {
	stdout, stderr := &copied{os.Stdout, lines{place: "stdout"}}, &copied{os.Stderr, lines{place: "stderr"}}
	switch place {
	case "stdout":
		fmt.Fprintln(stdout, "the secret is", secret)
	case "stdout, by and by":
		for _, c := range secret {
			fmt.Fprintf(stdout, "%c", c)
		}
		stdout.end()
	case "stderr":
		fmt.Fprintln(stderr, "the secret is", secret)
	case "log, below its level":
		newLogger(io.Discard, config.Settings{LogLevel: "error"}).WithField("token", secret).Debug("issued")
	case "log, and then it is killed":
		newLogger(io.Discard, config.Settings{}).WithField("token", secret).Error("failed")
		must(unix.Kill(os.Getpid(), unix.SIGKILL))
	case "control":
		leakAtControl(secret, filepath.Join(folder, "socket"))
	case "argv":
		leakToProgram(exec.Command("sh", "-c", "sleep 1000", secret))
	case "environ":
		c := exec.Command("sleep", "1000")
		c.Env = []string{"BEARER_TOKEN=" + secret}
		leakToProgram(c)
	case "state", "log":
		path := filepath.Join(folder, map[string]string{"state": "state/records.json", "log": "log"}[place])
		must(os.MkdirAll(filepath.Dir(path), 0o700))
		must(os.WriteFile(path, []byte("the secret is "+secret), 0o600))
	}
}

// leakToProgram starts the program, which ends with this one.
func leakToProgram(c *exec.Cmd) {
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	must(c.Start())
}

// leakAtControl has a control socket answer with the secret.
func leakAtControl(secret, path string) {
	listener, err := listenControl(path, control.OwnerOnly)
	must(err)
	ctx, end := context.WithCancel(context.Background())
	go func() {
		defer end()
		control.NewClient(path).Status(ctx)
	}()
	must(control.Serve(ctx, listener, control.Answers{
		Status: func(context.Context, ...string) ([]agent.Status, error) {
			return []agent.Status{{Name: secret}}, nil
		},
	}))
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
