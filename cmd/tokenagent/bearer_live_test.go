package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tokenagent/tokenagent/agent/host/hosttest"
	"github.com/tokenagent/tokenagent/sinks/bearer"
)

// An xrootd is a real server that lets nobody in without a token.
type xrootd struct {
	dir string
	log *hosttest.Buffer
	url string
}

const xrootdConfig = `
xrd.port %[2]d
xrd.network nodnr
all.adminpath %[1]s/own
all.pidpath %[1]s/own
all.export /data
oss.localroot %[1]s/root
xrd.tls %[1]s/cert.pem %[1]s/own/key.pem
xrd.tlsca certdir %[1]s/ca
xrootd.tls capable all
ofs.authorize 1
ofs.authlib libXrdAccSciTokens.so config=%[1]s/issuers
xrootd.seclib libXrdSec.so
sec.protocol ztn -tokenlib libXrdAccSciTokens.so
sec.protbind * ztn
`

const xrootdIssuers = "[Global]\naudience = https://wlcg.cern.ch/jwt/v1/any\n\n[Issuer Test]\nissuer = %s\nbase_path = /data\n"

// newXRootD begins a server that refuses every token: all that counts is whether its
// client sent one.
func newXRootD(t *testing.T) *xrootd {
	t.Helper()
	return newXRootDOf(t, "https://i.example", func(command ...string) []string { return append([]string{"env"}, command...) })
}

// newXRootDOf begins a server that takes the tokens of that issuer; masked runs it.
func newXRootDOf(t *testing.T, issuer string, masked func(command ...string) []string) *xrootd {
	t.Helper()
	requireLong(t)
	requireRoot(t, "run a server of XRootD as another user")
	requirePart(t, "xrootd", "-v")
	requirePart(t, "xrdcp", "--version")
	requirePart(t, "strace", "--version")
	dir, err := os.MkdirTemp("", "xrootd-")
	check(t, err)
	t.Cleanup(func() { check(t, os.RemoveAll(dir)) })
	check(t, errors.Join(os.Chmod(dir, 0o755), os.Mkdir(dir+"/ca", 0o755), os.Mkdir(dir+"/own", 0o755), os.MkdirAll(dir+"/root/data", 0o755)))
	for _, args := range [][]string{
		{"openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", dir + "/own/key.pem", "-out", dir + "/cert.pem"},
		{"cp", dir + "/cert.pem", dir + "/ca/"},
		{"openssl", "rehash", dir + "/ca"},
		{"chmod", "0600", dir + "/own/key.pem"},
		{"chown", "-R", "xrootd", dir + "/own"},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", args, err, out)
		}
	}
	x := &xrootd{dir: dir, log: new(hosttest.Buffer)}
	port := freePort(t)
	x.url = fmt.Sprintf("roots://localhost:%d//data/file", port)
	put(t, dir+"/config", fmt.Sprintf(xrootdConfig, dir, port))
	put(t, dir+"/issuers", fmt.Sprintf(xrootdIssuers, issuer))
	put(t, dir+"/root/data/file", "what lies there\n")
	for _, name := range []string{"config", "issuers", "cert.pem", "root/data/file"} {
		check(t, os.Chmod(filepath.Join(dir, name), 0o644))
	}
	argv := masked("xrootd", "-R", "xrootd", "-c", dir+"/config")
	server := exec.Command(argv[0], argv[1:]...)
	server.Dir, server.Stdout, server.Stderr = dir, x.log, x.log
	server.Env = append(os.Environ(), "XDG_CACHE_HOME="+dir+"/own")
	server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	check(t, launch(server))
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
		if t.Failed() {
			t.Logf("xrootd says\n%s", x.log)
		}
	})
	eventually(t, "xrootd is ready", func() bool {
		if strings.Contains(x.log.String(), "initialization failed") {
			t.Fatal("xrootd does not start")
		}
		return strings.Contains(x.log.String(), " initialization completed.\n------ xrootd ")
	})
	return x
}

// client are the variables with which a client finds its way to the server.
func (x *xrootd) client() []string {
	return []string{"X509_CERT_DIR=" + x.dir + "/ca", "XrdSecPROTOCOL=ztn", "XRD_CONNECTIONRETRY=1", "XRD_CONNECTIONWINDOW=20"}
}

var openedFile = regexp.MustCompile(`openat\(AT_FDCWD, "([^"]*)", [^)]*\) = [0-9]`)

// sends is the last file of these that xrdcp opened, and whether it sent a token.
func (x *xrootd) sends(t *testing.T, env []string, files []string) (file string, sent bool) {
	t.Helper()
	trace := x.dir + "/trace"
	before := len(x.log.String())
	c := exec.CommandContext(t.Context(), "strace", "-f", "-e", "trace=openat", "-o", trace, "xrdcp", "-f", "-s", x.url, x.dir+"/got")
	c.Env = slices.Concat(env, x.client(), []string{"PATH=" + os.Getenv("PATH")})
	if out, err := c.CombinedOutput(); err == nil || !strings.Contains(string(out), "Auth failed") {
		t.Fatalf("xrdcp was not refused: %v\n%s", err, out)
	}
	eventually(t, "the server has seen the client go", func() bool { return strings.Contains(x.log.String()[before:], " disc ") })
	for _, found := range openedFile.FindAllStringSubmatch(readFile(t, trace), -1) {
		if slices.Contains(files, found[1]) {
			file = found[1]
		}
	}
	return file, strings.Contains(x.log.String()[before:], "User authentication failed")
}

// A bearerCase is what lies at a place, beside a fallback that is fine.
type bearerCase struct {
	name  string
	lay   func(path string) error // lays the file of the place
	more  []string                // further variables; DIR is the folder
	place string                  // the variable that names it: default BEARER_TOKEN_FILE
}

func content(text string, mode os.FileMode) func(string) error {
	return func(path string) error {
		return errors.Join(os.WriteFile(path, []byte(text), 0o600), os.Chmod(path, mode))
	}
}

// bearerCases are what clients may find.
func bearerCases() []bearerCase {
	token := unsignedToken(time.Now().Add(time.Hour))
	long := func(n int) func(string) error {
		return content(token+strings.Repeat("x", n-len(token)), 0o600)
	}
	return []bearerCase{
		{name: "fine", lay: content(token+"\n", 0o600)},
		{name: "read-only", lay: content(token, 0o400)},
		{name: "executable", lay: content(token, 0o700)},
		{name: "of a group", lay: content(token, 0o640)},
		{name: "of all", lay: content(token, 0o644)},
		{name: "of others to write", lay: content(token, 0o602)},
		{name: "empty", lay: content("", 0o600)},
		{name: "empty and of all", lay: content("", 0o644)},
		{name: "blank", lay: content(" \n\t\n", 0o600)},
		{name: "blank and of all", lay: content(" \n\t\n", 0o644)},
		{name: "missing", lay: func(string) error { return nil }},
		{name: "below a file", lay: content(token, 0o600), more: []string{"BEARER_TOKEN_FILE=DIR/file/below"}},
		{name: "expired", lay: content(unsignedToken(time.Now().Add(-time.Hour)), 0o600)},
		{name: "no token", lay: content("null\n", 0o600)},
		{name: "JSON", lay: content(`{"access_token":"`+token+`"}`, 0o600)},
		{name: "two lines", lay: content(token+"\n"+token+"\n", 0o600)},
		{name: "two lines of CR LF", lay: content(token+"\r\n"+token+"\r\n", 0o600)},
		{name: "4095 bytes", lay: long(4095)},
		{name: "4096 bytes", lay: long(4096)},
		{name: "4096 bytes with blanks", lay: content(token+strings.Repeat(" ", 4096-len(token)), 0o600)},
		{name: "4097 bytes with blanks", lay: content(token+strings.Repeat(" ", 4097-len(token)), 0o600)},
		{name: "5000 bytes", lay: long(5000)},
		{name: "16383 bytes", lay: long(16383)},
		{name: "16384 bytes", lay: long(16384)},
		{name: "a link", lay: func(path string) error {
			return errors.Join(content(token, 0o600)(path+"2"), os.Symlink(path+"2", path))
		}},
		{name: "a link to nothing", lay: func(path string) error { return os.Symlink(path+"2", path) }},
		{name: "a folder", lay: func(path string) error { return os.Mkdir(path, 0o700) }},
		{name: "of another user", lay: func(path string) error {
			return errors.Join(content(token, 0o600)(path), os.Chown(path, 65534, 65534))
		}},
		{name: "an empty BEARER_TOKEN", lay: content(token, 0o600), more: []string{"BEARER_TOKEN="}},
		{name: "a blank BEARER_TOKEN", lay: content(token, 0o600), more: []string{"BEARER_TOKEN= "}},
		{name: "a BEARER_TOKEN", lay: content(token, 0o600), more: []string{"BEARER_TOKEN=" + token}},
		{name: "an empty BEARER_TOKEN_FILE", lay: content(token, 0o600), more: []string{"BEARER_TOKEN_FILE="}},
		{name: "a relative BEARER_TOKEN_FILE", lay: content(token, 0o600), more: []string{"BEARER_TOKEN_FILE=no/such/file"}},
		{name: "an empty XDG_RUNTIME_DIR", lay: func(string) error { return nil }, more: []string{"XDG_RUNTIME_DIR="}},
		{name: "an XDG_RUNTIME_DIR that is not there", lay: func(string) error { return nil }, more: []string{"XDG_RUNTIME_DIR=/nonexistent"}},
		{name: "of all, by XDG_RUNTIME_DIR", lay: content(token, 0o644), place: "XDG_RUNTIME_DIR"},
	}
}

// prepare lays the files of a case in a folder of its own, and returns the variables
// by which clients find them, and the files.
func (c bearerCase) prepare(t *testing.T, dir string) (env, files []string) {
	t.Helper()
	check(t, errors.Join(os.Mkdir(dir, 0o755), os.Mkdir(dir+"/run", 0o700)))
	fallback := fmt.Sprintf("%s/run/bt_u%d", dir, os.Geteuid())
	file := dir + "/file"
	if c.place == "XDG_RUNTIME_DIR" {
		file = fallback
	} else {
		check(t, content(unsignedToken(time.Now().Add(time.Hour)), 0o600)(fallback))
	}
	check(t, c.lay(file))
	set := map[string]string{"BEARER_TOKEN_FILE": file, "XDG_RUNTIME_DIR": dir + "/run"}
	if c.place == "XDG_RUNTIME_DIR" {
		delete(set, "BEARER_TOKEN_FILE")
	}
	for _, one := range c.more {
		name, value, _ := strings.Cut(strings.ReplaceAll(one, "DIR/", dir+"/"), "=")
		set[name] = value
	}
	for name, value := range set {
		env = append(env, name+"="+value)
	}
	return env, []string{file, fallback, "/tmp/bt_u0"}
}

// replayed is what doctor --bearer says that the client takes: the file, and whether
// anything.
func replayedBearer(t *testing.T, env []string, client bearer.Client) (file string, taken bool) {
	t.Helper()
	c := exec.CommandContext(t.Context(), "tokenagent", "doctor", "--bearer", "--json")
	c.Env = append(env, "PATH="+os.Getenv("PATH"))
	out, _ := c.Output() // its exit code tells of tokens that are not valid
	var said bearing
	if err := json.Unmarshal(out, &said); err != nil {
		t.Fatalf("doctor --bearer: %v\n%s", err, out)
	}
	for _, view := range said.Clients {
		for _, step := range view.Steps {
			if view.Client == client && step.Verdict == bearer.Taken {
				return step.Path, true
			}
		}
	}
	return "", false
}

// unsignedToken is a token that ends then, and that every server refuses.
func unsignedToken(expires time.Time) string {
	encoded := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	return encoded(`{"alg":"ES256","kid":"k"}`) + "." + encoded(fmt.Sprintf(`{"iss":"https://elsewhere.example","sub":"me","exp":%d}`, expires.Unix())) + "." + encoded(strings.Repeat("s", 64))
}

func TestDoctorSaysWhichTokenTheRealXrdcpTakes(t *testing.T) {
	t.Parallel()
	x := newXRootD(t)
	for i, c := range bearerCases() {
		env, files := c.prepare(t, filepath.Join(x.dir, fmt.Sprint("case", i)))
		file, taken := replayedBearer(t, env, bearer.XRootD)
		opened, sent := x.sends(t, env, files)
		if taken != sent || sent && file != "" && file != opened {
			t.Errorf("%s: doctor says taken %v from %q; xrdcp opened %q last and sent a token: %v", c.name, taken, file, opened, sent)
		}
	}
}
