package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/tokenagent/tokenagent/sources"
	"github.com/tokenagent/tokenagent/sources/issuer/issuertest"
)

// An onlineSite is a configuration with a client of an issuer, and a file for its
// token.
type onlineSite struct {
	folder string
	issuer *issuertest.Issuer
	source map[string]string // attributes of the source, as they are written
	token  map[string]string // and of the token block
}

func newOnlineSite(t *testing.T, i *issuertest.Issuer) *onlineSite {
	t.Helper()
	s := &onlineSite{folder: t.TempDir(), issuer: i}
	writeFile(t, s.path("secret"), []byte("top-secret\n"))
	s.source = map[string]string{
		"issuer": fmt.Sprintf("%q", i.URL), "ca_file": fmt.Sprintf("%q", i.CAFile),
		"client_id": `"robot"`, "client_secret_file": `"${path.config}/secret"`,
	}
	s.token = map[string]string{"source": "source.client_credentials.iam", "scope": `["storage.read:/data"]`}
	return s
}

func (s *onlineSite) path(name string) string { return filepath.Join(s.folder, name) }

// check runs check --online with further flags.
func (s *onlineSite) check(t *testing.T, flags ...string) (code int, out, complaints string) {
	t.Helper()
	text := "agent {\nstate_dir = \"${path.config}/state\"\n}\nsource \"client_credentials\" \"iam\" {\n" + written(s.source) + "}\n" +
		"token \"robot\" {\n" + written(s.token) + "sink \"file\" {\npath = \"${path.config}/robot\"\n}\n}\n"
	writeFile(t, s.path("site.hcl"), []byte(text))
	var stdout, stderr bytes.Buffer
	code = run(append([]string{"check", "--online", "--config", s.path("site.hcl")}, flags...), strings.NewReader(""), &stdout, &stderr)
	if strings.Contains(stdout.String()+stderr.String(), "top-secret") || strings.Contains(stdout.String()+stderr.String(), "eyJ") {
		t.Errorf("a secret is shown:\n%s%s", &stdout, &stderr)
	}
	return code, stdout.String(), stderr.String()
}

func written(attributes map[string]string) (text string) {
	for name, value := range attributes {
		text += name + " = " + value + "\n"
	}
	return text
}

func wantLines(t *testing.T, out string, patterns ...string) {
	t.Helper()
	for _, p := range patterns {
		if !regexp.MustCompile(`(?m)` + p).MatchString(out) {
			t.Errorf("no line matches %s in:\n%s", p, out)
		}
	}
}

func TestCheckOnlineTellsWhatTheIssuerOffersAndWhatLiesInTheSinks(t *testing.T) {
	s := newOnlineSite(t, issuertest.Start(t))
	code, out, complaints := s.check(t)
	if code != 0 || complaints != "" {
		t.Errorf("exit %d, %s", code, complaints)
	}
	wantLines(t, out,
		`^source\.client_credentials\.iam \(.*site\.hcl:4\)$`,
		`^  ok       metadata +read, and its issuer is `+s.issuer.URL+`$`,
		`^  ok       token endpoint +`+s.issuer.URL+`/token answers$`,
		`^  ok       keys +1 key at `+s.issuer.URL+`/jwks: \w+ ES256$`,
		`^  ok       certificate +that of 127\.0\.0\.1:\d+ is good until [\d-]+, in \d+ days$`,
		`^  ok       clock +this host's and the issuer's agree$`,
		`^  ok       grant type +client_credentials is offered$`,
		`^  ok       client authentication +client_secret_basic is offered$`,
		`^  ok       scope +storage\.read:/data is offered$`,
		`^token robot$`,
		`^  ok       `+s.path("robot")+` +nothing lies there yet$`,
		`^usable: 1 token, 1 sink, 0 warnings; online: 0 faults, 0 warnings$`,
	)
	for _, r := range s.issuer.Requests(issuertest.TokenPath) {
		if len(r.Form) > 0 {
			t.Errorf("a token was asked for: %v", r.Form)
		}
	}
}

// What an issuer says or does, and what becomes of the check. Certificates of the
// test's authority always warn, so --strict is tried elsewhere.
func TestCheckOnlineFindsWhatIsWrongWithTheIssuer(t *testing.T) {
	metadata := func(name string, value any) func(*issuertest.Behaviour) {
		return func(b *issuertest.Behaviour) {
			b.Metadata = func(m map[string]any) {
				if m[name] = value; value == nil {
					delete(m, name)
				}
			}
		}
	}
	serves := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		}
	}
	dated := func(off time.Duration) func(*issuertest.Behaviour) {
		return func(b *issuertest.Behaviour) {
			b.ServeToken = func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Date", time.Now().Add(off).UTC().Format(http.TimeFormat))
				w.WriteHeader(http.StatusMethodNotAllowed)
			}
			b.ServeKeys = b.ServeToken
		}
	}
	for _, tt := range []struct {
		name string
		how  func(*issuertest.Behaviour)
		code int
		line string
	}{
		{"another issuer", metadata("issuer", "https://other.example.org"), 78, `fault +metadata .*its issuer is "https://other\.example\.org"; write just that`},
		{"no metadata", func(b *issuertest.Behaviour) { b.ServeMetadata = http.NotFound }, 1, `fault +metadata .*there is none`},
		{"metadata is down", func(b *issuertest.Behaviour) { b.ServeMetadata = serves(503, "") }, 1, `fault +metadata .*503`},
		{"grant not offered", metadata("grant_types_supported", []string{"implicit"}), 78, `fault +grant type +client_credentials is not offered, but implicit; have the issuer allow it`},
		{"grants not said", metadata("grant_types_supported", nil), 0, `ok +grant type +client_credentials; the issuer does not say what it offers`},
		{"authentication not offered", metadata("token_endpoint_auth_methods_supported", []string{"private_key_jwt"}), 78, `fault +client authentication +client_secret_basic is not offered, but private_key_jwt; write`},
		{"scope not offered", metadata("scopes_supported", []string{"openid"}), 0, `warning +scope +storage\.read:/data is not among what`},
		{"scopes not said", metadata("scopes_supported", nil), 0, `ok +scope +storage\.read:/data; the issuer does not say`},
		{"no token endpoint", metadata("token_endpoint", nil), 78, `fault +token endpoint +the metadata names none`},
		{"no keys", metadata("jwks_uri", nil), 78, `fault +keys +the metadata names no jwks_uri`},
		{"the token endpoint is down", func(b *issuertest.Behaviour) { b.ServeToken = serves(502, "") }, 1, `fault +token endpoint .*502 Bad Gateway`},
		{"the token endpoint is a page", func(b *issuertest.Behaviour) {
			b.ServeToken = func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>Welcome!</html>") }
		}, 1, `fault +token endpoint .*an HTML page and not JSON`},
		{"an unknown token endpoint", func(b *issuertest.Behaviour) { b.ServeToken = http.NotFound }, 0, `ok +token endpoint`}, // as oidc-provider answers a GET
		{"the keys are down", func(b *issuertest.Behaviour) { b.ServeKeys = serves(500, "") }, 1, `fault +keys .*500`},
		{"no set of keys", func(b *issuertest.Behaviour) { b.ServeKeys = serves(200, `{"keys":"none"}`) }, 1, `fault +keys .*not a set of keys`},
		{"an empty set", func(b *issuertest.Behaviour) { b.ServeKeys = serves(200, `{"keys":[{"kty":"oct","k":"AAAA"}]}`) }, 78, `fault +keys .*has no key that`},
		{"a clock that is behind", dated(10 * time.Second), 1, `warning +clock +this host's is (9|10)s behind the issuer's`},
		{"a clock that is far ahead", dated(-time.Hour), 78, `fault +clock +this host's is 5 minutes or more ahead of the issuer's`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newOnlineSite(t, issuertest.Start(t))
			s.issuer.Change(tt.how)
			code, out, complaints := s.check(t)
			if code != tt.code {
				t.Errorf("exit %d, want %d\n%s%s", code, tt.code, out, complaints)
			}
			wantLines(t, out, tt.line)
			if verdict := regexp.MustCompile(`(?m)^(not )?usable: `).FindString(out); (verdict == "usable: ") != (code == 0) {
				t.Errorf("the verdict is %q with exit %d", verdict, code)
			}
		})
	}
}

// The metadata need not list all that there is: a token that came proves more.
func TestATokenProvesWhatTheMetadataDoesNotList(t *testing.T) {
	t.Parallel()
	s := newOnlineSite(t, issuertest.Start(t))
	s.issuer.Change(func(b *issuertest.Behaviour) {
		b.Metadata = func(m map[string]any) {
			m["grant_types_supported"], m["token_endpoint_auth_methods_supported"] = []string{"implicit"}, []string{"none"}
		}
	})
	code, out, complaints := s.check(t, "--issue")
	if code != 0 {
		t.Errorf("exit %d\n%s%s", code, out, complaints)
	}
	wantLines(t, out, `ok +grant type +client_credentials is not among what the metadata lists \(implicit\), and gives a token all the same`,
		`ok +client authentication +client_secret_basic is not among what the metadata lists \(none\), and gives`)
	s.issuer.Change(func(b *issuertest.Behaviour) {
		b.ServeToken = func(w http.ResponseWriter, _ *http.Request) { issuertest.Refuse(w, 400, "unsupported_grant_type") }
	})
	if code, out, _ := s.check(t, "--issue"); code != 78 || !strings.Contains(out, "client_credentials is not offered, but implicit") {
		t.Errorf("without a token: exit %d\n%s", code, out)
	}
}

func TestCheckOnlineJudgesTheCertificate(t *testing.T) {
	ca := issuertest.NewCA(t)
	for _, tt := range []struct {
		name   string
		change func(*x509.Certificate)
		caFile string
		code   int
		line   string
	}{
		{"of an authority that is not trusted", nil, issuertest.NewCA(t).File, 78, `fault +metadata .*authority that is not trusted here`},
		{"expired", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, ca.File, 78, `fault +metadata .*expired at`},
		{"for another name", func(c *x509.Certificate) { c.IPAddresses = nil }, ca.File, 78, `fault +metadata .*for another name`},
		{"ends soon", endsSoon, ca.File, 0, `warning +certificate +that of 127\.0\.0\.1:\d+ ends [\d-]+, in less than a day \(CN=.*\); have it renewed before that$`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cert := ca.Certificate(t, tt.change)
			s := newOnlineSite(t, issuertest.StartWith(t, ca, &cert))
			s.source["ca_file"] = fmt.Sprintf("%q", tt.caFile)
			code, out, complaints := s.check(t)
			if code != tt.code {
				t.Errorf("exit %d, want %d\n%s", code, tt.code, complaints)
			}
			wantLines(t, out, tt.line)
		})
	}
}

func TestCheckOnlineOfAnIssuerThatIsDownIsNoFaultOfTheConfiguration(t *testing.T) {
	s := newOnlineSite(t, issuertest.Start(t))
	s.issuer.Stop()
	code, out, _ := s.check(t)
	if code != exitFailed {
		t.Errorf("exit %d, want %d", code, exitFailed)
	}
	wantLines(t, out, `fault +metadata .*connection refused`, `^not usable: 0 errors, 0 warnings; online: 1 fault, 0 warnings; what is missing may come back by itself$`)

	var found verdict
	code, out, _ = s.check(t, "--json")
	if err := json.Unmarshal([]byte(out), &found); err != nil || code != exitFailed {
		t.Fatalf("exit %d, %v in:\n%s", code, err, out)
	}
	if found.Usable || len(found.Online) != 2 || !found.Online[0].Findings[0].Transient {
		t.Errorf("as JSON:\n%s", out)
	}
}

func endsSoon(c *x509.Certificate) { c.NotAfter = time.Now().Add(time.Hour) }

func TestCheckOnlineTakesWarningsForFaultsWithStrict(t *testing.T) {
	ca := issuertest.NewCA(t)
	cert := ca.Certificate(t, endsSoon)
	s := newOnlineSite(t, issuertest.StartWith(t, ca, &cert))
	if code, out, _ := s.check(t, "--strict"); code != exitConfiguration {
		t.Errorf("exit %d, want %d:\n%s", code, exitConfiguration, out)
	}
}

func TestCheckIssueShowsAllOfTheTokenButTheToken(t *testing.T) {
	s := newOnlineSite(t, issuertest.Start(t))
	s.token["audience"] = `["https://se.example.org"]`
	s.token["lifetime"] = `"1h"`
	code, out, complaints := s.check(t, "--issue")
	if code != 0 {
		t.Errorf("exit %d\n%s", code, complaints)
	}
	wantLines(t, out,
		`^  ok       token +issued as for robot$`,
		`^  ok       lifetime +1h, as asked$`,
		`^  ok       scope +storage\.read:/data, as asked$`,
		`^  ok       audience +https://se\.example\.org, as asked$`,
		`^  ok       .*/robot +nothing lies there yet$`,
	)
	left, err := os.ReadDir(s.folder)
	if err != nil || len(left) != 2 { // the configuration and the secret
		t.Errorf("in the folder lie %v, %v", left, err)
	}
	asked := 0
	for _, r := range s.issuer.Requests(issuertest.TokenPath) {
		asked += len(r.Form["grant_type"])
	}
	if asked != 1 {
		t.Errorf("%d tokens were asked for, want 1", asked)
	}
}

func TestCheckIssueJudgesAsTheAgentWould(t *testing.T) {
	for _, tt := range []struct {
		name  string
		how   func(*issuertest.Behaviour)
		token map[string]string
		code  int
		line  string
	}{
		{"a client that is refused", func(b *issuertest.Behaviour) { b.ClientSecret = "another" }, nil, 78, `fault +token +as for robot: .*invalid_client`},
		{"a narrowed scope", func(b *issuertest.Behaviour) {
			b.Answer = func(_ url.Values, a map[string]any) { a["scope"] = "openid" }
		}, nil, 78, `fault +token +as for robot: .*storage\.read:/data`},
		{"what the profile refuses", nil, map[string]string{"profile": `"wlcg"`, "audience": `["https://se.example.org"]`}, 78, `fault +token +as for robot: the token is not as asked: .*wlcg\.ver`},
		{"an issuer that is busy", func(b *issuertest.Behaviour) {
			b.ServeToken = func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPost {
					w.WriteHeader(http.StatusServiceUnavailable)
				}
			}
		}, nil, 1, `fault +token +as for robot: .*503`},
		{"a life shorter than asked for", func(b *issuertest.Behaviour) { b.Lifetime = 10 * time.Minute }, map[string]string{"lifetime": `"1h"`}, 0, `warning +lifetime +(10m|9m59s), and 1h was asked for`},
		{"an opaque token", func(b *issuertest.Behaviour) { b.Opaque = true }, nil, 0, `ok +claims +none that could be read`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newOnlineSite(t, issuertest.Start(t))
			if tt.how != nil {
				s.issuer.Change(tt.how)
			}
			for name, value := range tt.token {
				s.token[name] = value
			}
			code, out, complaints := s.check(t, "--issue")
			if code != tt.code {
				t.Errorf("exit %d, want %d\n%s%s", code, tt.code, out, complaints)
			}
			wantLines(t, out, tt.line)
		})
	}
}

func TestCheckOnlineAsksAnIssuerOnceForAllItsSources(t *testing.T) {
	i := issuertest.Start(t)
	folder := t.TempDir()
	writeFile(t, filepath.Join(folder, "secret"), []byte("s"))
	var text strings.Builder
	for n := range 10 {
		fmt.Fprintf(&text, `
source "client_credentials" "s%d" {
  issuer             = %q
  ca_file            = %q
  client_id          = "robot%[1]d"
  client_secret_file = "${path.config}/secret"
}
token "t%[1]d" {
  source = source.client_credentials.s%[1]d
  sink "file" {
    path = "${path.config}/t%[1]d"
  }
}
`, n, i.URL, i.CAFile)
	}
	writeFile(t, filepath.Join(folder, "site.hcl"), []byte(text.String()))
	succeed(t, "check", "--online", "--issue", "--config", filepath.Join(folder, "site.hcl"))
	for path, want := range map[string]int{issuertest.MetadataPath: 1, issuertest.TokenPath: 1 + 10} {
		if got := len(i.Requests(path)); got != want {
			t.Errorf("%s was asked %d times, want %d", path, got, want)
		}
	}
	if most := i.MostAtOnce(); most > 2 {
		t.Errorf("%d requests at a time, want at most 2", most)
	}
}

func TestCheckOnlineLooksAtTheSinks(t *testing.T) {
	s := newOnlineSite(t, issuertest.Start(t))
	expired := s.issuer.Sign(map[string]any{"exp": time.Now().Add(-time.Hour).Unix()})
	fresh := s.issuer.Sign(map[string]any{"exp": time.Now().Add(time.Hour).Unix()})
	for _, tt := range []struct{ content, line string }{
		{fresh, `ok +.*/robot +a token lies there that expires in (1h|59m59s)$`},
		{expired, `warning +.*/robot +a token lies there that expired 1h ago; is the agent running\?$`},
		{"opaque", `ok +.*/robot +a token lies there that does not say when it expires$`},
		{strings.Repeat("x", 1<<17), `warning +.*/robot +what lies there cannot be read as a token, and is replaced: `},
	} {
		writeFile(t, s.path("robot"), []byte(tt.content+"\n"))
		code, out, _ := s.check(t)
		if code != 0 {
			t.Errorf("exit %d", code)
		}
		wantLines(t, out, tt.line)
	}
}

// A subject that takes so long; what was found is its name.
func slowSubject(name string, long time.Duration) subject {
	return subject{outcome{Name: name}, func(context.Context) []sources.Finding {
		time.Sleep(long)
		return []sources.Finding{said(sources.Fine, "look", "%s", name)}
	}}
}

func TestFindingsAreShownInOrderAsSoonAsTheyAreThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begun := time.Now()
		type shown struct {
			name string
			at   time.Duration
		}
		var got []shown
		var complaints bytes.Buffer
		all := []subject{slowSubject("b", 4*time.Second), slowSubject("a", time.Second), slowSubject("c", 8*time.Second)}
		examine(ctx, all, func(o outcome) { got = append(got, shown{o.Name, time.Since(begun)}) }, &complaints)
		want := []shown{{"b", 4 * time.Second}, {"a", 4 * time.Second}, {"c", 8 * time.Second}}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(shown{})); diff != "" {
			t.Error(diff)
		}
		const progress = "tokenagent: 0 of 3 looked at; waiting for b\ntokenagent: 2 of 3 looked at; waiting for c\n"
		if complaints.String() != progress {
			t.Errorf("progress:\n%swant:\n%s", &complaints, progress)
		}
	})
}

func TestAnExaminationEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		release := make(chan struct{})
		defer close(release)
		var all []subject
		for n := range 3 * examinedAtOnce {
			all = append(all, subject{outcome{Name: fmt.Sprint(n)}, func(context.Context) []sources.Finding {
				<-release // whatever ctx says
				return nil
			}})
		}
		begun := time.Now()
		found := examine(ctx, all, func(outcome) {}, &bytes.Buffer{})
		if took := time.Since(begun); took > 20*time.Second+sourceGrace {
			t.Errorf("it took %v", took)
		}
		if len(found) != len(all) || !found[0].Findings[0].Transient {
			t.Errorf("found %+v", found)
		}
	})
}

func TestCheckOnlineRefusesFlagsThatMakeNoSense(t *testing.T) {
	for _, flags := range [][]string{{"--issue"}, {"--online", "--definitions"}, {"--online", "--timeout", "0s"}} {
		var out, complaints bytes.Buffer
		if code := run(append([]string{"check"}, flags...), strings.NewReader(""), &out, &complaints); code != exitUsage || out.Len() > 0 {
			t.Errorf("%v: exit %d, %s", flags, code, &out)
		}
	}
}

// What a reader of the section types, at a client of a real issuer; and what is
// shown to them beside it.
func TestTheCommandsBeforeTheFirstStartRun(t *testing.T) {
	section := sections(readFile(t, filepath.Join(root, "docs/operating.md")))["Before the first start"]
	s := newOnlineSite(t, issuertest.Start(t))
	s.issuer.Change(func(b *issuertest.Behaviour) {
		b.Claims = func(_ url.Values, claims map[string]any) { claims["aud"] = "https://se.example.org" }
	})
	s.token["lifetime"] = `"1h"`
	text := "source \"client_credentials\" \"iam\" {\n" + written(s.source) + "}\n" +
		"token \"robot\" {\n" + written(s.token) + "sink \"file\" {\npath = \"${path.config}/tokens/robot\"\ncreate_dir = true\n}\n}\n"
	writeFile(t, s.path("tokenagent.hcl"), []byte(text))
	var all strings.Builder
	commands := strings.Split(strings.TrimSpace(strings.Join(fenced(section, "sh"), "")), "\n")
	if len(commands) < 6 {
		t.Fatalf("found %q", commands)
	}
	for _, line := range commands {
		words := strings.Fields(line)
		c := exec.Command(words[0], words[1:]...)
		c.Dir = s.folder
		c.Env = append(os.Environ(), "SSL_CERT_FILE="+s.issuer.CAFile, "STATE_DIRECTORY="+s.path("state"), "RUNTIME_DIRECTORY="+s.path("run"), "GORACE=atexit_sleep_ms=0")
		out, err := c.CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", line, err, out)
		}
		all.Write(out)
	}
	for line := range strings.Lines(fenced(section, "")[0]) {
		words := regexp.MustCompile(`^  (ok|warning) +([a-z]+( [a-z]+)?)  `).FindString(line)
		if words == "" && strings.HasPrefix(line, " ") || !strings.Contains(all.String(), words) {
			t.Errorf("nothing like this is printed: %s", line)
		}
	}
}

// The key that a token block of ours is signed with, before and after its public half
// is published.
func TestCheckOnlineLooksForTheSigningKeyAmongThePublished(t *testing.T) {
	t.Parallel()
	i := issuertest.Start(t)
	folder := t.TempDir()
	key := filepath.Join(folder, "key.pem")
	succeed(t, "key", "create", key)
	writeFile(t, filepath.Join(folder, "site.hcl"), fmt.Appendf(nil, `
source "local_key" "site" {
  issuer   = %q
  key_file = "${path.config}/key.pem"
}
token "robot" {
  source   = source.local_key.site
  profile  = "wlcg"
  subject  = "robot"
  audience = [%q]
  scope    = ["storage.read:/data"]
  sink "file" {
    path = "${path.config}/robot"
  }
}
`, i.URL, service))
	look := func() (string, error) {
		c := exec.Command("tokenagent", "check", "--online", "--config", "site.hcl")
		c.Dir, c.Env = folder, append(os.Environ(), "SSL_CERT_FILE="+i.CAFile, "GORACE=atexit_sleep_ms=0")
		out, err := c.Output()
		return string(out), err
	}
	out, err := look()
	if e, ok := errors.AsType[*exec.ExitError](err); !ok || e.ExitCode() != exitConfiguration {
		t.Errorf("%v, want exit %d", err, exitConfiguration)
	}
	wantLines(t, out, `^  fault    published key +[\w-]+ is not in `+i.URL+`/jwks, so verifiers refuse its tokens; there is \w+ ES256; publish what tokenagent key public prints`)

	var published jose.JSONWebKey
	check(t, published.UnmarshalJSON([]byte(succeed(t, "key", "public", "--format", "jwk", key))))
	i.Publish(published)
	out, err = look()
	check(t, err)
	wantLines(t, out, `^  ok       published key +[\w-]+ is in `+i.URL+`/jwks$`)
}
