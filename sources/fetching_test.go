package sources

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/profile"
	"github.com/tokenagent/tokenagent/sources/issuer"
	"github.com/tokenagent/tokenagent/sources/issuer/issuertest"
)

// fetched is a source block of that kind with those lines in it, and a token of it
// in line 20.
func fetched(kind string, lines ...string) string {
	text := "source \"" + kind + "\" \"x\" {\n  " + strings.Join(lines, "\n  ") + "\n}\n"
	return text + strings.Repeat("\n", 19-strings.Count(text, "\n")) + "token \"t\" {\n  source = source." + kind + ".x\n}\n"
}

// secrets makes a folder with every file that a client may have, well kept.
func secrets(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	ca := issuertest.NewCA(t)
	cert, key := ca.Files(t, nil)
	for name, from := range map[string]string{"ca.pem": ca.File, "cert.pem": cert, "client.pem": key} {
		data, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name), string(data), 0o600)
	}
	write(t, filepath.Join(dir, "secret"), "s3cret\n", 0o600)
	write(t, filepath.Join(dir, "subject"), "subject-token\n", 0o600)
	return dir
}

// write writes a file with exactly that mode.
func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	syscall.ForkLock.RLock() // a child that had it open for writing would keep others from executing it
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

const (
	theIssuer = `issuer = "https://iam.example.org/"`
	theClient = `client_id = "robot"`
	theSecret = `client_secret_file = "DIR/secret"`
	theKey    = `client_key_file = "DIR/client.pem"`
	theCert   = `client_cert_file = "DIR/cert.pem"`
)

func TestFaultsOfAClient(t *testing.T) {
	dir := secrets(t)
	auth := func(way string) string { return `client_auth = "` + way + `"` }
	for name, c := range map[string]struct {
		lines []string
		want  []string // line: summary; detail
	}{
		"a secret, by default":     {[]string{theIssuer, theClient, theSecret}, nil},
		"a secret in the body":     {[]string{theIssuer, theClient, theSecret, auth("client_secret_post")}, nil},
		"a key":                    {[]string{theIssuer, theClient, theKey, auth("private_key_jwt")}, nil},
		"a certificate":            {[]string{theIssuer, theClient, theKey, theCert, auth("tls_client_auth")}, nil},
		"nothing":                  {[]string{theIssuer, theClient, auth("none")}, nil},
		"nobody":                   {[]string{theIssuer, auth("none")}, nil},
		"no client_id":             {[]string{theIssuer, theSecret}, []string{`1: missing attribute client_id; write client_id = "…", as the issuer registered it`}},
		"unknown way":              {[]string{theIssuer, theClient, theSecret, auth("client_secret_jwt")}, []string{`5: unknown client_auth "client_secret_jwt"; it is "client_secret_basic", "client_secret_post", "private_key_jwt", "tls_client_auth", "none"`}},
		"a way that is a list":     {[]string{theIssuer, theClient, theKey, `client_auth = ["private_key_jwt"]`}, []string{`5: `}},
		"no secret":                {[]string{theIssuer, theClient}, []string{`1: missing attribute client_secret_file; client_auth "client_secret_basic" needs it, which is the default; a client without a secret is client_auth = "none"`}},
		"no secret, but a key":     {[]string{theIssuer, theClient, theKey}, []string{`1: missing attribute client_secret_file; client_auth "client_secret_basic" needs it; with a key write client_auth = "private_key_jwt"`, `4: client_key_file is not used; client_auth "client_secret_basic" has no use for it; it is for "private_key_jwt", "tls_client_auth"`}},
		"no secret, but both":      {[]string{theIssuer, theClient, theKey, theCert}, []string{`1: missing attribute client_secret_file; client_auth "client_secret_basic" needs it; with a certificate write client_auth = "tls_client_auth"`, `4: client_key_file is not used`, `5: client_cert_file is not used`}},
		"no secret for the body":   {[]string{theIssuer, theClient, auth("client_secret_post")}, []string{`1: missing attribute client_secret_file; client_auth "client_secret_post" needs it`}},
		"no key":                   {[]string{theIssuer, theClient, auth("private_key_jwt")}, []string{`1: missing attribute client_key_file; client_auth "private_key_jwt" needs it`}},
		"a key and a secret":       {[]string{theIssuer, theClient, theKey, theSecret, auth("private_key_jwt")}, []string{`5: client_secret_file is not used; client_auth "private_key_jwt" has no use for it; it is for "client_secret_basic", "client_secret_post"`}},
		"a key and a certificate":  {[]string{theIssuer, theClient, theKey, theCert, auth("private_key_jwt")}, []string{`5: client_cert_file is not used; client_auth "private_key_jwt" has no use for it; it is for "tls_client_auth"`}},
		"no certificate":           {[]string{theIssuer, theClient, theKey, auth("tls_client_auth")}, []string{`1: missing attribute client_cert_file; client_auth "tls_client_auth" needs it`}},
		"a certificate and no key": {[]string{theIssuer, theClient, theCert, auth("tls_client_auth")}, []string{`1: missing attribute client_key_file; client_auth "tls_client_auth" needs it`}},
		"nothing and a secret":     {[]string{theIssuer, theClient, theSecret, auth("none")}, []string{`4: client_secret_file is not used; client_auth "none" has no use for it`}},
		"a secret for nobody":      {[]string{theIssuer, theClient, `client_secret_file = "DIR/gone"`}, []string{`4: no usable client; DIR/gone: no such file or directory`}},
		"a secret for everybody":   {[]string{theIssuer, theClient, `client_secret_file = "DIR/open"`}, []string{`4: no usable client; DIR/open: everybody can read it (mode 0644); chmod 0600 DIR/open`}},
		"an empty secret":          {[]string{theIssuer, theClient, `client_secret_file = "DIR/empty"`}, []string{`4: no usable client; DIR/empty: `}},
		"a key that is none":       {[]string{theIssuer, theClient, `client_key_file = "DIR/secret"`, auth("private_key_jwt")}, []string{`4: no usable client; `}},
		"a certificate of another": {[]string{theIssuer, theClient, `client_key_file = "DIR/other.pem"`, theCert, auth("tls_client_auth")}, []string{`5: no usable client; `}},
		"a key under a name":       {[]string{theIssuer, theClient, theKey, auth("private_key_jwt"), `client_key_id = "2026-11"`, `assertion_audience = "https://iam.example.org/token"`}, nil},
		"a name that is too long":  {[]string{theIssuer, theClient, theKey, auth("private_key_jwt"), `client_key_id = "` + strings.Repeat("x", 256) + `"`}, []string{`6: no usable client_key_id; its kid has 256 bytes; at most 255 are allowed`}},
		"a name of a secret":       {[]string{theIssuer, theClient, theSecret, `client_key_id = "x"`, `assertion_audience = "x"`}, []string{`5: client_key_id is not used; client_auth "client_secret_basic" has no use for it; it is for client_auth "private_key_jwt"`, `6: assertion_audience is not used`}},
		"a token of the pod":       {[]string{theIssuer, `client_assertion_file = "DIR/subject"`}, nil},
		"a token to come":          {[]string{theIssuer, theClient, `client_assertion_file = "DIR/later"`, `client_assertion_type = "urn:x:y"`}, nil},
		"a token and a way":        {[]string{theIssuer, theClient, `client_assertion_file = "DIR/subject"`, auth("private_key_jwt")}, []string{`5: client_auth is not used; client_assertion_file says how the client proves who it is; leave one of both out`}},
		"a token and a secret":     {[]string{theIssuer, `client_assertion_file = "DIR/subject"`, theSecret}, []string{`4: client_secret_file is not used; client_assertion_file has no use for it; it is for "client_secret_basic", "client_secret_post"`}},
		"a token and a key":        {[]string{theIssuer, `client_assertion_file = "DIR/subject"`, theKey, `client_key_id = "x"`}, []string{`4: client_key_file is not used; client_assertion_file has no use`, `5: client_key_id is not used; client_assertion_file has no use for it; it is for client_auth "private_key_jwt"`}},
		"a type without a token":   {[]string{theIssuer, theClient, theSecret, `client_assertion_type = "urn:x:y"`}, []string{`5: client_assertion_type is not used; client_auth "client_secret_basic" has no use for it; it is for client_assertion_file`}},
		"a type that is none":      {[]string{theIssuer, `client_assertion_file = "DIR/subject"`, `client_assertion_type = "jwt"`}, []string{`4: client_assertion_type is not a URI; it is such as "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"`}},
		"a way by another name":    {[]string{theIssuer, auth("client_assertion_file")}, []string{`3: unknown client_auth "client_assertion_file"; write the attribute client_assertion_file, and leave client_auth out`}},
		"the secret itself":        {[]string{theIssuer, theClient, `client_secret = "s3cret"`}, []string{`4: unknown attribute client_secret; did you mean client_secret_file?`}},
	} {
		t.Run(name, func(t *testing.T) {
			write(t, filepath.Join(dir, "open"), "s3cret", 0o644)
			_ = os.Link(filepath.Join(dir, "open"), filepath.Join(dir, "link")) // so that a closed folder for tests does not count
			write(t, filepath.Join(dir, "empty"), "\n", 0o600)
			_, other := issuertest.NewCA(t).Files(t, nil)
			data, err := os.ReadFile(other)
			if err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(dir, "other.pem"), string(data), 0o600)
			_, faults := load(t, dir, fetched("token_exchange", append(slices.Clone(c.lines), `subject_token_file = "DIR/subject"`)...), false)
			compare(t, dir, faults.Errors(), c.want)
		})
	}
}

func TestFaultsOfWhatAsksAnIssuer(t *testing.T) {
	dir := secrets(t)
	write(t, filepath.Join(dir, "text"), "no certificate", 0o644)
	for name, c := range map[string]struct {
		lines []string // beside the client and its secret in lines 2 and 3
		want  []string
	}{
		"an issuer":                      {[]string{theIssuer}, nil},
		"no issuer":                      {nil, []string{`1: missing attribute issuer; write issuer = "https://…", whose metadata tells the rest, or where it has none token_endpoint`}},
		"no issuer, but keys":            {[]string{`jwks_uri = "https://iam.example.org/jwk"`}, []string{`1: missing attribute issuer`}},
		"an endpoint and keys":           {[]string{`token_endpoint = "https://iam.example.org/token"`, `jwks_uri = "https://iam.example.org/jwk"`}, nil},
		"an endpoint, but no keys":       {[]string{`token_endpoint = "https://iam.example.org/token"`}, []string{`4: nothing tells the issuer's keys; write issuer, whose metadata names them, or jwks_uri, or verify = false`}},
		"an endpoint without signatures": {[]string{`token_endpoint = "https://iam.example.org/token"`, `verify = false`}, nil},
		"an issuer in the clear":         {[]string{`issuer = "http://iam.example.org/"`}, []string{`4: issuer is not an https URL; it is http, over which secrets`}},
		"a host":                         {[]string{`issuer = "iam.example.org"`}, []string{`4: issuer is not an https URL`}},
		"an issuer with a query":         {[]string{`issuer = "https://iam.example.org/?a=b"`}, []string{`4: issuer is not an https URL`}},
		"an issuer with a fragment":      {[]string{`issuer = "https://iam.example.org/#a"`}, []string{`4: issuer is not an https URL`}},
		"an issuer with a password":      {[]string{`issuer = "https://a:b@iam.example.org/"`}, []string{`4: issuer is not an https URL`}},
		"an issuer without a host":       {[]string{`issuer = "https:///path"`}, []string{`4: issuer is not an https URL`}},
		"an endpoint in the clear":       {[]string{theIssuer, `token_endpoint = "http://iam.example.org/token"`}, []string{`5: token_endpoint is not an https URL`}},
		"an endpoint with a query":       {[]string{theIssuer, `token_endpoint = "https://iam.example.org/token?realm=x"`}, nil},
		"keys in the clear":              {[]string{theIssuer, `jwks_uri = "http://iam.example.org/jwk"`}, []string{`5: jwks_uri is not an https URL`}},
		"an authority":                   {[]string{theIssuer, `ca_file = "DIR/ca.pem"`}, nil},
		"no such authority":              {[]string{theIssuer, `ca_file = "DIR/gone.pem"`}, []string{`5: no usable CA; DIR/gone.pem: no such file or directory`}},
		"an authority that is none":      {[]string{theIssuer, `ca_file = "DIR/text"`}, []string{`5: no usable CA; DIR/text: it holds no certificate in PEM; wanted are those of the authorities to trust`}},
		"a folder of authorities":        {[]string{theIssuer, `ca_file = "DIR"`}, []string{`5: no usable CA; DIR: it is a directory, not a regular file`}},
		"a relative path":                {[]string{theIssuer, `ca_file = "ca.pem"`}, []string{`5: ca_file is a relative path`}},
		"parameters":                     {[]string{theIssuer, `parameters = { lifetime = "7200", resource = ["https://a", "https://b"] }`}, nil},
		"a number":                       {[]string{theIssuer, `parameters = { lifetime = 7200 }`}, []string{`5: wrong value of the parameter lifetime; it is a string, or a list of strings for one that is repeated; write a number in quotes`}},
		"a list of numbers":              {[]string{theIssuer, `parameters = { a = ["x", 1] }`}, []string{`5: wrong value of the parameter a`}},
		"the grant":                      {[]string{theIssuer, `parameters = { grant_type = "password" }`}, []string{`5: the parameter grant_type is set elsewhere; the kind of the source says it`}},
		"the client":                     {[]string{theIssuer, `parameters = { client_id = "x" }`}, []string{`5: the parameter client_id is set elsewhere; write the attribute client_id`}},
		"the secret":                     {[]string{theIssuer, `parameters = { client_secret = "s3cret" }`}, []string{`5: the parameter client_secret is set elsewhere; write it into a file, and that into client_secret_file`}},
		"the scope":                      {[]string{theIssuer, `parameters = { scope = "x" }`}, []string{`5: the parameter scope is set elsewhere; write the attribute scope in the token block`}},
		"the audience":                   {[]string{theIssuer, `parameters = { audience = "x" }`}, []string{`5: the parameter audience is set elsewhere; write the attribute audience in the token block`}},
		"the audience by another name":   {[]string{theIssuer, `audience_parameter = "aud"`, `parameters = { aud = "x" }`}, []string{`6: the parameter aud is set elsewhere; write the attribute audience in the token block`}},
		"another parameter audience":     {[]string{theIssuer, `audience_parameter = "resource"`, `parameters = { audience = "x" }`}, nil},
		"an assertion":                   {[]string{theIssuer, `parameters = { client_assertion = "x", client_assertion_type = "x" }`}, []string{`5: the parameter client_assertion is set elsewhere`, `5: the parameter client_assertion_type is set elsewhere`}},
		"a refresh token":                {[]string{theIssuer, `parameters = { refresh_token = "x" }`}, []string{`5: the parameter refresh_token is set elsewhere; source "refresh_token" reads it from a file`}},
		"a password":                     {[]string{theIssuer, `parameters = { password = "x" }`}, []string{`5: the parameter password is set elsewhere; it would be a secret in the configuration`}},
		"an audience as the scope":       {[]string{theIssuer, `audience_parameter = "scope"`}, []string{`5: the audience cannot go as scope; it is a name such as "audience", "resource" or "aud"`}},
		"another format":                 {[]string{theIssuer, `token_format = "JWT"`}, []string{`5: unknown token_format "JWT"; did you mean "jwt"?`}},
		"an empty format":                {[]string{theIssuer, `token_format = ""`}, []string{`5: token_format is empty; give it a value, or leave the attribute out`}},
		"opaque, and nothing but that":   {[]string{`token_endpoint = "https://x.example/t"`, `token_format = "opaque"`}, nil},
		"narrowed otherwise":             {[]string{theIssuer, `on_narrowed = "ignore"`}, []string{`5: unknown on_narrowed "ignore"; it is "refuse" or "warn"`}},
		"widened otherwise":              {[]string{theIssuer, `on_widened = "ignore"`}, []string{`5: unknown on_widened "ignore"; it is "refuse" or "warn"`}},
		"half a minute":                  {[]string{theIssuer, `assume_lifetime = "30s"`}, nil},
		"a moment":                       {[]string{theIssuer, `assume_lifetime = "29s"`}, []string{`5: assume_lifetime is out of range; it is at least "30s" and at most ten years`}},
		"for ever":                       {[]string{theIssuer, `assume_lifetime = "4000d"`}, []string{`5: assume_lifetime is out of range`}},
		"no time":                        {[]string{theIssuer, `assume_lifetime = "0s"`}, []string{`5: assume_lifetime is out of range`}},
		"beside one that there is not":   {[]string{`issuer = "http://x"`, `client_auth = "x"`, `client_secret = "x"`, `verify = 1`}, []string{`4: issuer is not an https URL; it is http`, `5: unknown client_auth "x"`, `6: unknown attribute client_secret`, `7: wrong type for verify`}},
		"all in one run":                 {[]string{`issuer = "x"`, `on_narrowed = "x"`, `on_widened = "x"`, `client_auth = "x"`, `parameters = { scope = "x" }`}, []string{`4: issuer is not an https URL`, `5: unknown on_narrowed "x"`, `6: unknown on_widened "x"`, `7: unknown client_auth "x"`, `8: the parameter scope is set elsewhere`}},
	} {
		t.Run(name, func(t *testing.T) {
			_, faults := load(t, dir, fetched("client_credentials", append([]string{theClient, theSecret}, c.lines...)...), false)
			compare(t, dir, faults.Errors(), c.want)
		})
	}
}

func TestFaultsOfATokenExchange(t *testing.T) {
	dir := secrets(t)
	subject := `subject_token_file = "DIR/subject"`
	for name, c := range map[string]struct {
		lines []string
		want  []string
	}{
		"no subject":            {nil, []string{`1: missing attribute subject_token_file`}},
		"a subject to come":     {[]string{`subject_token_file = "DIR/later"`}, nil},
		"a type of its own":     {[]string{subject, `subject_token_type = "https://issuer.example.org/ticket"`}, nil},
		"a type that is none":   {[]string{subject, `subject_token_type = "jwt"`}, []string{`6: subject_token_type is not a URI; it is one of RFC 8693 section 3 such as "urn:ietf:params:oauth:token-type:jwt", or the issuer's own`}},
		"a wish that is none":   {[]string{subject, `requested_token_type = "jwt"`}, []string{`6: requested_token_type is not a URI`}},
		"a wish, as parameter":  {[]string{subject, `parameters = { requested_token_type = "x" }`}, []string{`6: the parameter requested_token_type is set elsewhere; write the attribute requested_token_type of source "token_exchange"`}},
		"an actor":              {[]string{subject, `actor_token_file = "DIR/subject"`, `actor_token_type = "urn:x:y"`}, nil},
		"an actor's type alone": {[]string{subject, `actor_token_type = "urn:x:y"`}, []string{`6: actor_token_type is not used; it is the type of what lies in actor_token_file; write that, or leave both out`}},
		"an actor's wrong type": {[]string{subject, `actor_token_file = "DIR/subject"`, `actor_token_type = "jwt"`}, []string{`7: actor_token_type is not a URI`}},
		"the actor itself":      {[]string{subject, `parameters = { actor_token = "x" }`}, []string{`6: the parameter actor_token is set elsewhere; source "token_exchange" reads it from actor_token_file`}},
		"the token itself":      {[]string{subject, `parameters = { subject_token = "x" }`}, []string{`6: the parameter subject_token is set elsewhere; source "token_exchange" reads it from subject_token_file`}},
	} {
		t.Run(name, func(t *testing.T) {
			_, faults := load(t, dir, fetched("token_exchange", append([]string{theClient, theSecret, theIssuer}, c.lines...)...), false)
			compare(t, dir, faults.Errors(), c.want)
		})
	}
}

func TestWhatIsSurelyNotMeantIsWarnedOf(t *testing.T) {
	dir := secrets(t)
	noFileForRoot := "" // others may check what root is to run
	if os.Geteuid() == 0 {
		noFileForRoot = "the file cannot be read as it lies there; "
	}
	write(t, filepath.Join(dir, "open"), "subject-token", 0o644)
	_ = os.Link(filepath.Join(dir, "open"), filepath.Join(dir, "link")) // so that a closed folder for tests does not count
	for name, c := range map[string]struct {
		kind  string
		lines []string
		want  string
	}{
		"nothing":                       {"client_credentials", []string{theIssuer, theClient, theSecret}, ""},
		"no verification":               {"client_credentials", []string{theIssuer, theClient, theSecret, `verify = false`}, "signatures are not verified; a token is installed whoever signed it; leave verify out where the issuer publishes its keys"},
		"keys without verification":     {"client_credentials", []string{theIssuer, theClient, theSecret, `verify = false`, `jwks_uri = "https://iam.example.org/jwk"`}, "the keys are not used; verify = false has no signature held against them; leave one of both out"},
		"credentials of nobody":         {"client_credentials", []string{theIssuer, theClient, `client_auth = "none"`}, "a client without authentication; RFC 6749 section 4.4"},
		"a subject that everybody sees": {"token_exchange", []string{theIssuer, theClient, theSecret, `subject_token_file = "DIR/open"`}, "others can get at the token; everybody can read or write DIR/open; who keeps it should change that: chmod o= DIR/open"},
		"a file that everybody sees":    {"file", []string{`path = "DIR/open"`}, "others can get at the token; everybody can read or write DIR/open"},
		"what is no file":               {"file", []string{`path = "DIR"`}, noFileForRoot},
		"a program that is not there":   {"command", []string{`command = ["DIR/gone"]`}, "the program cannot be run; there is no DIR/gone; install it, or correct the path"},
	} {
		t.Run(name, func(t *testing.T) {
			_, faults := load(t, dir, fetched(c.kind, c.lines...), false)
			if faults.HasErrors() {
				t.Fatal(faults)
			}
			var texts []string
			for _, w := range faults.Warnings() {
				if w.Summary != "no sink block" {
					texts = append(texts, w.Summary+"; "+w.Detail)
				}
			}
			want := strings.ReplaceAll(c.want, "DIR", dir)
			if got := strings.Join(texts, "\n"); !strings.Contains(got, want) || (got == "") != (want == "") {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestAClientsFaultIsShownAtTheFileThatItIsAbout(t *testing.T) {
	f := &fetching{clientAttributes: clientAttributes{ClientSecretFile: "/x/robot.secret", ClientKeyFile: "/x/robot", ClientCertFile: "/x/robot.pem"}}
	for text, want := range map[string]string{
		"/x/robot.secret: it is empty":              "client_secret_file",
		"key /x/robot: it is no key":                "client_key_file",
		"/x/robot.pem: it does not fit to /x/robot": "client_cert_file",
		"unknown client_auth":                       "",
	} {
		if got := f.fileIn(text); got != want {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
}

// On a build host there is neither a secret nor a user, and nobody asks for them.
func TestDefinitionsOfFetchingSourcesNeedNoFile(t *testing.T) {
	for kind, lines := range map[string][]string{
		"client_credentials": {theIssuer, theClient, theSecret, `ca_file = "/no/ca.pem"`},
		"token_exchange":     {theIssuer, theClient, theKey, `client_auth = "private_key_jwt"`, `subject_token_file = "/no/token"`},
		"file":               {`path = "/no/token"`},
		"command":            {`command = ["/no/program"]`, `user = "nobody-of-that-name"`},
	} {
		_, faults := load(t, t.TempDir(), fetched(kind, lines...), true)
		if len(faults) != 1 || faults[0].Summary != "no sink block" {
			t.Errorf("%s: %v", kind, faults)
		}
	}
}

// A change of any of these is a reason to load again, and no token is written over
// one of them.
func TestFilesOfAClientAreWatched(t *testing.T) {
	dir := secrets(t)
	c, faults := load(t, dir, fetched("client_credentials", theIssuer, theClient, theKey, theCert, `client_auth = "tls_client_auth"`, `ca_file = "DIR/ca.pem"`), false)
	if faults.HasErrors() {
		t.Fatal(faults)
	}
	for _, name := range []string{"client.pem", "cert.pem", "ca.pem"} {
		if !slices.Contains(c.Files, filepath.Join(dir, name)) {
			t.Errorf("%s is not in %v", name, c.Files)
		}
	}
}

// All sources of one issuer share what is known of it, and its limits.
func TestSourcesOfOneIssuerShareIt(t *testing.T) {
	dir := secrets(t)
	block := func(name, issuer string) string {
		return "source \"client_credentials\" \"" + name + "\" {\n" + strings.Join([]string{issuer, theClient, theSecret}, "\n") + "\n}\n" +
			"token \"" + name + "\" {\n source = source.client_credentials." + name + "\n}\n"
	}
	c, faults := load(t, dir, block("a", theIssuer)+block("b", theIssuer)+block("c", `issuer = "https://other.example.org"`), false)
	if faults.HasErrors() {
		t.Fatal(faults)
	}
	var servers []any
	for _, r := range c.Renewers {
		servers = append(servers, r.Source.(clientCredentials).server)
	}
	if servers[0] != servers[1] || servers[0] == servers[2] {
		t.Errorf("got %p", servers)
	}
}

func TestRequestsThatNoIssuerCanAnswerAreFaults(t *testing.T) {
	dir := secrets(t)
	for name, c := range map[string]struct {
		kind, token string
		want        []string
	}{
		"an IDTOKEN":              {"client_credentials", `profile = "htcondor"`, []string{`23: no issuer gives IDTOKENs, for only a pool's own key signs them; use a source "htcondor" or "htcondor_fetch"`}},
		"an IDTOKEN of a program": {"command", `profile = "htcondor"`, nil},
		"a level that is none":    {"command", "profile = \"htcondor\"\n scope = [\"condor:/REED\"]", []string{`24: scope: `}},
		"words in one":            {"client_credentials", `scope = ["a b"]`, []string{`23: scope: "a b" has a blank, which would make it two; write one word an entry`}},
		"audiences in one":        {"client_credentials", `audience = ["a b"]`, []string{`23: aud: "a b" is not an audience; it is printable ASCII without blanks`}},
		"a path that climbs":      {"client_credentials", "profile = \"wlcg\"\n scope = [\"storage.read:/a/../b\"]", []string{`24: scope: storage.read:/a/../b: the path climbs`}},
		"words for the issuer":    {"client_credentials", "profile = \"wlcg\"\n scope = [\"openid\", \"storage.read:/\"]", nil},
		"no words":                {"client_credentials", `profile = "wlcg"`, nil},
		"another issuer":          {"client_credentials", `claims = { iss = "https://other.example.org" }`, []string{`23: iss: a further claim says https://other.example.org, but it is set to https://iam.example.org/`}},
		"groups in one":           {"client_credentials", "profile = \"wlcg\"\n claims = { \"wlcg.groups\" = \"/cms,/atlas\" }", []string{`24: wlcg.groups: `}},
		"no limit":                {"client_credentials", `unlimited = true`, []string{`23: unlimited is for IDTOKENs alone`}},
		"a short life":            {"client_credentials", `lifetime = "1m"`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			lines := map[string][]string{"client_credentials": {theIssuer, theClient, theSecret}, "command": {`command = ["/bin/true"]`}}[c.kind]
			text := strings.Replace(fetched(c.kind, lines...), "token \"t\" {\n", "token \"t\" {\n\n\n "+c.token+"\n", 1)
			_, faults := load(t, dir, text, false)
			compare(t, dir, faults.Errors(), c.want)
		})
	}
}

func TestATokenOfNoProfileMayLeaveItsScopeToTheAnswer(t *testing.T) {
	said := issuer.Answer{Scope: []string{"a"}, ScopeSaid: true}
	for name, c := range map[string]struct {
		profile string
		answer  issuer.Answer
		claims  map[string]any
		whole   bool
	}{
		"the answer says it":         {"", said, map[string]any{"sub": "x"}, true},
		"nobody says it":             {"", issuer.Answer{Scope: []string{"a"}}, map[string]any{"sub": "x"}, false},
		"the token says another":     {"", said, map[string]any{"scope": "b"}, false},
		"a token of a profile":       {"wlcg", said, map[string]any{"sub": "x"}, false},
		"the answer leaves half out": {"", issuer.Answer{ScopeSaid: true}, map[string]any{"sub": "x"}, false},
	} {
		got := narrowed(agent.Request{Profile: c.profile, Scope: []string{"a"}}, c.answer, profile.Token{Claims: c.claims})
		if (got == "") != c.whole {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestWhatIsKnownOfATokenFollowsItsFormat(t *testing.T) {
	dir := secrets(t)
	write(t, filepath.Join(dir, "program"), "#!/bin/sh\n", 0o700)
	for kind, lines := range map[string][]string{
		"file":               {`path = "DIR/subject"`},
		"command":            {`command = ["DIR/program"]`},
		"client_credentials": {theIssuer, theClient, theSecret},
	} {
		for _, opaque := range []bool{false, true} {
			if opaque {
				lines = append(lines, `token_format = "opaque"`)
			}
			c, faults := load(t, dir, fetched(kind, lines...), false)
			if faults.HasErrors() {
				t.Fatal(faults)
			}
			if s := c.Sources[0]; s.Opaque != opaque || s.Form != nil && opaque {
				t.Errorf("%s, opaque %v: it says %v, and tells whole tokens from half ones: %v", kind, opaque, s.Opaque, s.Form != nil)
			}
		}
	}
}

func TestResourcesAreURIs(t *testing.T) {
	dir := secrets(t)
	text := fetched("client_credentials", theIssuer, theClient, theSecret, `audience_parameter = "resource"`)
	text = strings.Replace(text, "token \"t\" {\n", "token \"t\" {\n audience = [\"https://ce.example.org:9619\", \"ce\", \"https://a/#b\"]\n", 1)
	_, faults := load(t, dir, text, false)
	compare(t, dir, faults.Errors(), []string{
		`21: aud: "ce" is not a URI without a fragment, as audience_parameter "resource" wants them (RFC 8707)`,
		`21: aud: "https://a/#b" is not a URI without a fragment`,
	})
}

func TestAudienceGoesAsItsParameterSays(t *testing.T) {
	both := []string{"https://a.example.org", "https://b.example.org"}
	for name, c := range map[string]struct {
		parameter, grant string
		want             []string
	}{
		"joined":                   {"audience", "client_credentials", []string{both[0] + " " + both[1]}},
		"joined, by another name":  {"aud", issuer.GrantTokenExchange, []string{both[0] + " " + both[1]}},
		"repeated as RFC 8707 has": {"resource", "refresh_token", both},
		"repeated as RFC 8693 has": {"audience", issuer.GrantTokenExchange, both},
	} {
		a := &asker{audience: c.parameter}
		form := a.form(agent.Request{Audience: both}, c.grant, nil)
		if diff := cmp.Diff(c.want, form[c.parameter]); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
