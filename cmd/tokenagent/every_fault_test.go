package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/sources/issuer/issuertest"
)

// everyKind is a configuration without a fault that has a block of every kind of source,
// sink and hook, each with a profile's token. DIR is its folder.
const everyKind = `
source "local_key" "own" {
  issuer    = "https://own.example.org"
  key_file  = "DIR/key.pem"
  key_id    = "one"
  algorithm = "ES256"
}
token "own" {
  source   = source.local_key.own
  profile  = "wlcg"
  subject  = "robot"
  audience = ["https://own"]
  scope    = ["storage.read:/"]
  sink "file" {
    path       = "DIR/own"
    owner      = "root"
    group      = "root"
    mode       = "0600"
    format     = "json"
  }
  hook "on_change" {
    command = ["/bin/true"]
    timeout = "10s"
    user    = "root"
  }
  validate {
    command = ["/bin/false"]
    timeout = "20s"
    user    = "0"
  }
}
source "htcondor" "pool" {
  key_file     = "DIR/POOL"
  key_id       = "POOL"
  trust_domain = "cm.example.org"
}
token "pool" {
  source  = source.htcondor.pool
  subject = "schedd@example.org"
  scope   = ["condor:/READ"]
}
source "client_credentials" "client" {
  issuer             = "https://client.example.org"
  jwks_uri           = "https://client.example.org/jwks"
  client_id          = "client"
  client_secret_file = "DIR/client-secret"
  ca_file            = "DIR/client-ca"
  audience_parameter = "aud"
  parameters         = { kind = "robot" }
  on_narrowed        = "warn"
  assume_lifetime    = "1h"
}
token "client" {
  source  = source.client_credentials.client
  profile = "scitokens"
  scope   = ["read:/client"]
}
source "client_credentials" "certificate" {
  token_endpoint   = "https://certificate.example.org/token"
  verify           = false
  client_id        = "certificate"
  client_auth      = "tls_client_auth"
  client_cert_file = "DIR/cert.pem"
  client_key_file  = "DIR/cert.key"
}
source "refresh_token" "person" {
  issuer             = "https://person.example.org"
  client_id          = "person"
  client_auth        = "none"
  refresh_token_file = "DIR/person.refresh"
  on_widened         = "warn"
}
source "token_exchange" "exchange" {
  issuer               = "https://exchange.example.org"
  client_id            = "exchange"
  client_auth          = "none"
  subject_token_file   = "DIR/subject"
  subject_token_type   = "urn:x:subject"
  requested_token_type = "urn:x:requested"
}
source "jwt_bearer" "bearer" {
  issuer             = "https://bearer.example.org"
  key_file           = "DIR/key.pem"
  key_id             = "two"
  assertion_issuer   = "bearer"
  assertion_audience = "https://bearer.example.org/token"
  assertion_claims   = { scope = "x" }
}
source "client_credentials" "pod" {
  issuer                = "https://pod.example.org"
  client_assertion_file = "DIR/subject"
  client_assertion_type = "urn:x:pod"
}
source "file" "copy" {
  path            = "DIR/copied"
  on_widened      = "refuse"
  assume_lifetime = "2h"
}
token "copy" {
  source  = source.file.copy
  profile = "htcondor"
  scope   = ["condor:/WRITE"]
}
source "command" "printed" {
  command         = ["/bin/echo", "token"]
  timeout         = "20s"
  user            = "daemon"
  assume_lifetime = "3h"
}
`

// everySlip are faults in everyKind, in lines of their own or in values that have
// nothing to do with each other.
var everySlip = []struct{ from, to string }{
	{`issuer    = "https://own.example.org"`, `issuer = "own"`},
	{`issuer    = "https://own.example.org"`, `isuer = "https://own.example.org"`},
	{`key_file  = "DIR/key.pem"`, `key_file = "DIR/none.pem"`},
	{`key_file  = "DIR/key.pem"`, ``},
	{`key_id    = "one"`, `key_id = 1`},
	{`algorithm = "ES256"`, `algorithm = "ES999"`},
	{`subject  = "robot"`, ``},
	{`audience = ["https://own"]`, `audience = "https://own"`},
	{`storage.read:/"`, `storage.read"`},
	{`path       = "DIR/own"`, `path = "DIR/tokenagent.hcl"`},
	{`path       = "DIR/own"`, `path = "own"`},
	{`owner      = "root"`, `owner = "nobody-has-this-name"`},
	{`group      = "root"`, `group = "no-group-has-this-name"`},
	{`mode       = "0600"`, `mode = "0060"`},
	{`format     = "json"`, `format = "yaml"`},
	{`command = ["/bin/true"]`, `command = ["true"]`},
	{`timeout = "10s"`, `timeout = "10h"`},
	{`user    = "root"`, `user = "nobody-has-this-name"`},
	{`key_file     = "DIR/POOL"`, `key_file = "DIR/none"`},
	{`key_id       = "POOL"`, `key_id = "a/b"`},
	{`trust_domain = "cm.example.org"`, `trust_domain = 5`},
	{`condor:/READ"`, `condor:/READ "`},
	{`issuer             = "https://client.example.org"`, `issuer = "http://client.example.org"`},
	{`issuer             = "https://client.example.org"`, ``},
	{`jwks_uri           = "https://client.example.org/jwks"`, `jwks_uri = "jwks"`},
	{`client_id          = "client"`, ``},
	{`client_secret_file = "DIR/client-secret"`, `client_secret_file = "DIR/none"`},
	{`client_secret_file = "DIR/client-secret"`, ``},
	{`client_secret_file = "DIR/client-secret"`, `client_secret_file = "secret"`},
	{`ca_file            = "DIR/client-ca"`, `ca_file = "DIR/client-secret"`},
	{`audience_parameter = "aud"`, `audience_parameter = "scope"`},
	{`kind = "robot" }`, `scope = "x", client_id = "y" }`},
	{`on_narrowed        = "warn"`, `on_narrowed = "ask"`},
	{`assume_lifetime    = "1h"`, `assume_lifetime = "1s"`},
	{`assume_lifetime    = "1h"`, `assume_lifetime = 1`},
	{`read:/client`, `read client`},
	{`verify           = false`, ``},
	{`client_cert_file = "DIR/cert.pem"`, `client_cert_file = "DIR/none.pem"`},
	{`client_key_file  = "DIR/cert.key"`, `client_key_file = "DIR/none.key"`},
	{`client_key_file  = "DIR/cert.key"`, ``},
	{`issuer             = "https://person.example.org"`, `issuer = 7`},
	{`client_auth        = "none"`, `client_auth = "nothing"`},
	{`refresh_token_file = "DIR/person.refresh"`, `refresh_token_file = "DIR/client-ca"`},
	{`on_widened         = "warn"`, `on_widened = "ask"`},
	{`subject_token_file   = "DIR/subject"`, ``},
	{`subject_token_type   = "urn:x:subject"`, `subject_token_type = "subject"`},
	{`requested_token_type = "urn:x:requested"`, `requested_token_type = "requested"`},
	{`key_file           = "DIR/key.pem"`, `key_file = "DIR/none.pem"`},
	{`assertion_issuer   = "bearer"`, ``},
	{`assertion_claims   = { scope = "x" }`, `assertion_claims = { aud = "x" }`},
	{`client_assertion_type = "urn:x:pod"`, `client_assertion_type = "pod"`},
	{`path            = "DIR/copied"`, ``},
	{`on_widened      = "refuse"`, `on_widened = 5`},
	{`assume_lifetime = "2h"`, `assume_lifetime = "1s"`},
	{`condor:/WRITE`, `condor:/WRIT`},
	{`command         = ["/bin/echo", "token"]`, `command = ["echo", "eyJhbGciOiJub25lIn0.eyJhIjoxfQ."]`},
	{`timeout         = "20s"`, `timeout = "200s"`},
	{`user            = "daemon"`, `user = "nobody-has-this-name"`},
	{`assume_lifetime = "3h"`, `assume_lifetime = "0s"`},
}

// nearby is how far apart in everySlip two faults are that are tried together: at most
// those of one block, its token and its neighbour.
const nearby = 16

func TestOfTwoFaultsOfAnyKindBothAreFoundInOneRun(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files to others")
	}
	dir := t.TempDir()
	writeEveryKind(t, dir)
	if found := everyFaultOf(t, dir, everyKind); len(found) > 0 {
		t.Fatalf("everyKind has faults: %v", found)
	}
	alone := make([]map[string]bool, len(everySlip))
	texts := make([]string, len(everySlip))
	for i, s := range everySlip {
		if strings.Count(everyKind, s.from) != 1 {
			t.Fatalf("%q stands there %d times", s.from, strings.Count(everyKind, s.from))
		}
		texts[i] = strings.Replace(everyKind, s.from, s.to, 1)
		if alone[i] = everyFaultOf(t, dir, texts[i]); len(alone[i]) == 0 {
			t.Errorf("%q is no fault", s.to)
		}
	}
	for i, a := range everySlip {
		for j, b := range everySlip[:i] {
			if a.from == b.from || i-j > nearby {
				continue
			}
			want := maps.Clone(alone[i])
			maps.Copy(want, alone[j])
			got := everyFaultOf(t, dir, strings.Replace(texts[i], b.from, b.to, 1))
			if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got))); diff != "" {
				t.Errorf("%q (in the place of %s) and %q (of %s) together (-each alone +found):\n%s", a.to, a.from, b.to, b.from, diff)
			}
		}
	}
}

// everyFaultOf are the errors of the configuration, by line and summary.
func everyFaultOf(t *testing.T, dir, text string) map[string]bool {
	t.Helper()
	path := filepath.Join(dir, "tokenagent.hcl")
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "DIR", dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	env := config.Environment{State: func(config.Settings) config.State { return config.State{Dir: filepath.Join(dir, "state")} }}
	_, faults := config.Load(t.Context(), []string{path}, kinds, env)
	found := map[string]bool{}
	for _, f := range faults.Errors() {
		found[fmt.Sprintf("%3d %s", f.Line, f.Summary)] = true
	}
	return found
}

// writeEveryKind writes the files that everyKind names.
func writeEveryKind(t *testing.T, dir string) {
	t.Helper()
	certificate, key := issuertest.NewCA(t).Files(t, nil)
	contents := map[string][]byte{"POOL": []byte("the key of a pool\n"), "client-secret": []byte("secret\n"), "person.refresh": []byte("refresh\n")}
	for from, names := range map[string][]string{certificate: {"cert.pem", "client-ca"}, key: {"cert.key", "key.pem"}} {
		content, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			contents[name] = content
		}
	}
	for name, content := range contents {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
