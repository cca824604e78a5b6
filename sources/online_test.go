package sources

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/sources/issuer"
	"github.com/tokenagent/tokenagent/sources/issuer/issuertest"
	"github.com/tokenagent/tokenagent/sources/keys"
)

// lines are the findings as a person reads them.
func lines(all []Finding) string {
	var text strings.Builder
	for _, f := range all {
		passing := ""
		if f.Transient {
			passing = " (transient)"
		}
		fmt.Fprintf(&text, "%s%s %s: %s\n", f.Mark, passing, f.About, f.Text)
	}
	return text.String()
}

func wantFound(t *testing.T, all []Finding, want ...string) {
	t.Helper()
	text := lines(all)
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("no finding %q in:\n%s", w, text)
		}
	}
}

// looked is what an Inquiry finds of the one source of the blocks.
func looked(t *testing.T, dir, text string) []Finding {
	t.Helper()
	cfg, faults := load(t, dir, text, false)
	if faults.HasErrors() {
		t.Fatal(faults)
	}
	var q Inquiry
	return q.Look(t.Context(), cfg.Sources[0].Source, []agent.Request{cfg.Renewers[0].Request})
}

// clientOf are the attributes of a client of the issuer.
func clientOf(i *issuertest.Issuer) []string {
	return []string{fmt.Sprintf("issuer = %q", i.URL), fmt.Sprintf("ca_file = %q", i.CAFile), theClient, theSecret}
}

func TestAnInquiryComparesTheGrantOfEachKind(t *testing.T) {
	t.Parallel()
	i := issuertest.Start(t)
	i.Change(func(b *issuertest.Behaviour) {
		b.Metadata = func(m map[string]any) { m["grant_types_supported"] = []string{"password"} }
	})
	for kind, more := range map[string]string{
		"client_credentials": "",
		"token_exchange":     `subject_token_file = "DIR/subject"`,
	} {
		found := looked(t, secrets(t), fetched(kind, append(clientOf(i), more)...))
		grant := map[string]string{"client_credentials": "client_credentials", "token_exchange": issuer.GrantTokenExchange}[kind]
		wantFound(t, found, "fault grant type: "+grant+" is not offered, but password; have the issuer allow it")
	}
}

func TestAnInquiryRepeatsNothingWithoutEnd(t *testing.T) {
	t.Parallel()
	i := issuertest.Start(t)
	key := generated(t, "ES256")
	i.Publish(jose.JSONWebKey{Key: key.Public(), KeyID: strings.Repeat("k", 100_000)})
	i.Change(func(b *issuertest.Behaviour) {
		b.Metadata = func(m map[string]any) { m["grant_types_supported"] = []string{strings.Repeat("g", 100_000)} }
	})
	for _, f := range looked(t, secrets(t), fetched("client_credentials", clientOf(i)...)) {
		if len(f.Text) > 1000 {
			t.Errorf("%s has %d bytes", f.About, len(f.Text))
		}
	}
}

func TestAnInquiryLooksForTheSubjectToken(t *testing.T) {
	t.Parallel()
	i := issuertest.Start(t)
	dir := secrets(t)
	text := fetched("token_exchange", append(clientOf(i), `subject_token_file = "DIR/subject"`)...)
	wantFound(t, looked(t, dir, text), "ok subject token: one lies in "+dir+"/subject")
	if err := os.Remove(filepath.Join(dir, "subject")); err != nil {
		t.Fatal(err)
	}
	wantFound(t, looked(t, dir, text), "fault (transient) subject token: subject token "+dir+"/subject: no such file")
}

func TestAnInquiryLooksForTheRefreshToken(t *testing.T) {
	r := newRobot(t)
	look := func() []Finding {
		var q Inquiry
		return q.Look(t.Context(), r.refreshToken, nil)
	}
	wantFound(t, look(), "ok refresh token: one lies in "+r.dir+"/first", "ok grant type: refresh_token is offered")
	if err := os.Remove(filepath.Join(r.dir, "first")); err != nil {
		t.Fatal(err)
	}
	wantFound(t, look(), "fault refresh token: ")
}

func TestAnInquiryOfAClientWithoutAuthenticationOnlyWarns(t *testing.T) {
	t.Parallel()
	i := issuertest.Start(t)
	i.Change(func(b *issuertest.Behaviour) {
		b.Metadata = func(m map[string]any) {
			m["token_endpoint_auth_methods_supported"] = []string{"client_secret_basic"}
		}
	})
	text := fetched("client_credentials", append(clientOf(i)[:3], `client_auth = "none"`)...)
	wantFound(t, looked(t, secrets(t), text), "warning client authentication: none is not offered, but client_secret_basic")
}

func TestAnInquiryAsksAnIssuerOnceForAllItsClients(t *testing.T) {
	t.Parallel()
	i := issuertest.Start(t)
	dir := secrets(t)
	text := fetched("client_credentials", clientOf(i)...)
	other := strings.NewReplacer(`"x"`, `"y"`, `"t"`, `"u"`, ".x", ".y", theSecret, `client_auth = "none"`).Replace(text)
	c, faults := load(t, dir, text+other, false)
	if faults.HasErrors() {
		t.Fatal(faults)
	}
	var q Inquiry
	for _, s := range c.Sources {
		wantFound(t, q.Look(t.Context(), s.Source, nil), "ok keys: 1 key at ")
	}
	if n := len(i.Requests(issuertest.KeysPath)); n != 1 {
		t.Errorf("the keys were read %d times", n)
	}
}

func TestAnInquiryNeedsNoMetadataWhereTheBlockNamesAll(t *testing.T) {
	t.Parallel()
	i := issuertest.Start(t)
	i.Change(func(b *issuertest.Behaviour) { b.ServeMetadata = http.NotFound })
	all := append(clientOf(i),
		fmt.Sprintf("token_endpoint = %q", i.URL+issuertest.TokenPath),
		fmt.Sprintf("jwks_uri = %q", i.URL+issuertest.KeysPath))
	wantFound(t, looked(t, secrets(t), fetched("client_credentials", all...)),
		"warning metadata: issuer "+i.URL+": metadata: there is none", "the block names all that it would tell",
		"ok token endpoint: ", "ok keys: 1 key at ")
}

func TestAnInquiryLooksAtTheFileOfATokenAndAtTheProgram(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "token"), "opaque\n", 0o600)
	write(t, filepath.Join(dir, "program"), "#!/bin/sh\n", 0o700)
	for text, want := range map[string]string{
		fetched("file", `path = "DIR/token"`):              "ok file: a token lies in " + dir + "/token that does not say when it expires\n",
		fetched("file", `path = "DIR/gone"`):               "fault (transient) file: " + dir + "/gone: no such file",
		fetched("command", `command = ["DIR/program"]`):    "ok program: " + dir + "/program is there; --issue runs it\n",
		fetched("command", `command = ["DIR/nowhere/at"]`): "fault program: " + dir + "/nowhere/at: no such file or directory; install it, or correct the path\n",
	} {
		wantFound(t, looked(t, dir, text), want)
	}
}

// signer is a local key that the issuer knows, or not.
func signer(t *testing.T, issuerURL string) (*localKey, keys.Key) {
	t.Helper()
	key := generated(t, "ES256").WithID("2026-11")
	s, err := newLocalKey(key, issuerURL)
	if err != nil {
		t.Fatal(err)
	}
	return s, key
}

// inquired is what is found of the key whose issuer's certificate is trusted, for
// a token of that profile.
func inquired(ctx context.Context, s *localKey, i *issuertest.Issuer, profile string) []Finding {
	trusting := issuer.NewServer(issuer.Address{Issuer: i.URL, CAFile: i.CAFile})
	q := Inquiry{servers: map[issuer.Address]*issuer.Server{{Issuer: i.URL}: trusting}}
	return q.Look(ctx, s, []agent.Request{{Profile: profile}})
}

func TestAnInquiryComparesALocalKeyWithWhatIsPublished(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		publish func(keys.Key) []jose.JSONWebKey
		profile string
		want    string
	}{
		{"it is there", func(k keys.Key) []jose.JSONWebKey {
			return []jose.JSONWebKey{{Key: k.Public(), KeyID: k.ID(), Algorithm: "ES256", Use: "sig"}}
		}, "wlcg", "ok published key: 2026-11 is in "},
		{"it is not", nil, "wlcg", "fault published key: 2026-11 is not in "},
		{"it is not, and perhaps nobody minds", nil, "", "warning published key: 2026-11 is not in "},
		{"under another name", func(k keys.Key) []jose.JSONWebKey {
			return []jose.JSONWebKey{{Key: generated(t, "ES256").Public(), KeyID: "old"}, {Key: k.Public(), KeyID: "key-es256"}}
		}, "wlcg", `as key-es256, and its tokens say 2026-11, so verifiers refuse them; write key_id = "key-es256"`},
		{"under another name, and another under its own", func(k keys.Key) []jose.JSONWebKey {
			return []jose.JSONWebKey{{Key: generated(t, "ES256").Public(), KeyID: "2026-11"}, {Key: k.Public(), KeyID: "key-es256"}}
		}, "wlcg", `has another key under the name 2026-11, and this one as key-es256, so verifiers refuse its tokens; write key_id = "key-es256"`},
		{"another has its name", func(keys.Key) []jose.JSONWebKey {
			return []jose.JSONWebKey{{Key: generated(t, "ES256").Public(), KeyID: "2026-11"}}
		}, "scitokens", "has another key under the name 2026-11, so verifiers refuse its tokens"},
		{"it is for another algorithm", func(k keys.Key) []jose.JSONWebKey {
			return []jose.JSONWebKey{{Key: k.Public(), KeyID: k.ID(), Algorithm: "ES384"}}
		}, "scitokens", "says that 2026-11 signs with ES384, and here it signs with ES256; make both the same"},
	} {
		i := issuertest.Start(t)
		s, key := signer(t, i.URL)
		if tt.publish != nil {
			i.Publish(tt.publish(key)...)
		}
		found := inquired(t.Context(), s, i, tt.profile)
		if !strings.Contains(lines(found[:1]), tt.want) {
			t.Errorf("%s: %swant %s", tt.name, lines(found), tt.want)
		}
		wantFound(t, found, "certificate: that of 127.0.0.1")
		if asked := i.Requests(issuertest.TokenPath); len(asked) > 0 {
			t.Errorf("%s: the token endpoint of a key of ours was asked", tt.name)
		}
	}
}

// publishedAs is a Report of an issuer with that set of keys.
func publishedAs(t *testing.T, members ...map[string]any) issuer.Report {
	t.Helper()
	text, err := json.Marshal(map[string]any{"keys": members})
	if err != nil {
		t.Fatal(err)
	}
	set, err := issuer.ParseKeys(text)
	if err != nil {
		t.Fatal(err)
	}
	return issuer.Report{KeysURL: "https://iam/jwks", KeySet: set}
}

func TestKeysThatCannotBeUsedAreNamedWithTheReason(t *testing.T) {
	t.Parallel()
	s, key := signer(t, "https://iam")
	jwk := map[string]any{}
	text, err := key.PublicJWK()
	if err == nil {
		err = json.Unmarshal(text, &jwk)
	}
	if err != nil {
		t.Fatal(err)
	}
	with := func(pairs ...any) map[string]any {
		changed := maps.Clone(jwk)
		for i := 0; i < len(pairs); i += 2 {
			changed[pairs[i].(string)] = pairs[i+1]
		}
		return changed
	}
	padded := with("x", jwk["x"].(string)+"=", "y", jwk["y"].(string)+"=")
	broken, foreign := with("kid", "old", "x", "AAAA"), with("kid", "enc", "use", "enc")
	weak := map[string]any{"kty": "RSA", "kid": "weak", "n": "AQAB", "e": "AQAB"}
	const mend = "; have the issuer correct what it publishes"
	for name, c := range map[string]struct {
		set             []map[string]any
		keys, published string
	}{
		"padded":              {[]map[string]any{padded}, "ok keys: 1 key at https://iam/jwks: 2026-11 ES256\n", "ok published key: 2026-11 is in https://iam/jwks\n"},
		"a bad certificate":   {[]map[string]any{with("x5c", []string{"AAAA"})}, "ok keys: 1 key", "ok published key: "},
		"beside a broken one": {[]map[string]any{broken, jwk}, `warning keys: 1 key at https://iam/jwks: 2026-11 ES256; not used: "old" (its x and y are not a point of P-256)` + mend, "ok published key: "},
		"beside others":       {[]map[string]any{foreign, weak, jwk}, `ok keys: 1 key at https://iam/jwks: 2026-11 ES256; not used: "enc" (its use is enc, not sig), "weak" (it is an RSA key of 17 bits`, "ok published key: "},
		"a broken one alone":  {[]map[string]any{broken}, `fault keys: https://iam/jwks has no key that a signature could be verified with; not used: "old" (its x and y are not`, `fault published key: 2026-11 is not in https://iam/jwks, so verifiers refuse its tokens; there is none; not used: "old" (`},
		"broken itself":       {[]map[string]any{with("y", nil)}, `fault keys: `, `fault published key: 2026-11 is in https://iam/jwks, and cannot be used there: its y is missing; so verifiers refuse its tokens; publish what`},
		"a number as its kid": {[]map[string]any{with("kid", 7)}, "warning keys: of the key 7 ES256, its kid is a number, and libscitokens and python-jwt look for text; publish it in quotes; have the issuer correct that\n", "fault published key: the key is in https://iam/jwks as 7, and its tokens say 2026-11"},
		"another before it":   {[]map[string]any{with("x", broken["x"]), jwk}, "warning keys: of the key 2026-11 ES256, a key before it has the same kid", "warning published key: 2026-11 is in https://iam/jwks, but a key before it has the same kid"},
		"sort of private":     {[]map[string]any{with("d", "AAAA")}, "warning keys: of the key 2026-11 ES256, it holds the private half (d) too", "warning published key: "},
	} {
		report := publishedAs(t, c.set...)
		if got := lines(keysFound(report)); !strings.Contains(got, c.keys) {
			t.Errorf("%s: got %swant %s", name, got, c.keys)
		}
		if got := lines([]Finding{s.published(report)}); !strings.HasPrefix(got, c.published) {
			t.Errorf("%s: got %swant %s", name, got, c.published)
		}
	}
}

func TestAnInquiryOfALocalKeyWhoseIssuerIsDown(t *testing.T) {
	t.Parallel()
	i := issuertest.Start(t)
	s, _ := signer(t, i.URL)
	i.Stop()
	wantFound(t, inquired(t.Context(), s, i, "wlcg"), "fault (transient) published key: ")
	wantFound(t, inquired(t.Context(), s, i, ""), "warning published key: ")
}

func TestAnInquiryAsksNobodyAboutAKeyThatNobodyLooksFor(t *testing.T) {
	i := issuertest.Start(t)
	for url, profile := range map[string]string{i.URL: "clustercockpit", "cm.example.org": "", "": ""} {
		s, _ := signer(t, url)
		if found := inquired(t.Context(), s, i, profile); found != nil {
			t.Errorf("%q, %q: %s", url, profile, lines(found))
		}
	}
	if asked := i.Requests(); len(asked) > 0 {
		t.Errorf("asked %v", asked)
	}
}

func TestCertificateFindings(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for left, want := range map[time.Duration]string{
		time.Hour:            "warning certificate: that of iam ends 2026-11-22, in less than a day (CN=iam); have it renewed before that\n",
		30 * time.Hour:       "warning certificate: that of iam ends 2026-11-23, in 1 day (CN=iam); have it renewed before that\n",
		14*24*time.Hour - 1:  "warning certificate: that of iam ends 2026-12-06, in 13 days (CN=iam); have it renewed before that\n",
		14 * 24 * time.Hour:  "ok certificate: that of iam is good until 2026-12-06, in 14 days\n",
		300 * 24 * time.Hour: "ok certificate: that of iam is good until 2027-09-18, in 300 days\n",
	} {
		if got := lines([]Finding{certificateFound(issuer.Certificate{Host: "iam", Ends: now.Add(left), Subject: "CN=iam"}, now)}); got != want {
			t.Errorf("%v: %swant %s", left, got, want)
		}
	}
}

func TestClockFindings(t *testing.T) {
	for skew, want := range map[time.Duration]string{
		0:                 "ok clock: this host's and the issuer's agree",
		3 * time.Second:   "warning clock: this host's is 3s ahead of the issuer's, which matters to verifiers; set it",
		-90 * time.Second: "warning clock: this host's is 1m30s behind the issuer's",
		mostSkew:          "fault clock: this host's is 5 minutes or more ahead of the issuer's, more than can be made up for",
		-mostSkew:         "fault clock: this host's is 5 minutes or more behind the issuer's",
	} {
		wantFound(t, []Finding{clockFound(skew)}, want)
	}
}

func TestAScopeIsOfferedByItsNameOrByAPathAboveIt(t *testing.T) {
	said := []string{"openid", "storage.read:/", "storage.create", "storage.modify:/data/", "compute.read"}
	for word, want := range map[string]bool{
		"openid": true, "compute.read": true, "storage.read:/": true, "storage.read:/a/b": true,
		"storage.create:/x": true, "storage.modify:/data/x": true, "storage.modify:/data": true,
		"storage.modify:/database": false, "storage.modify:/": false, "storage.stage:/": false, "compute": false, "open": false,
		"storage.read": false,
	} {
		if got := isOffered(word, said); got != want {
			t.Errorf("%s: %v, want %v", word, got, want)
		}
	}
}
