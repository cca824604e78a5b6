package issuer

import (
	"crypto/x509"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/sources/issuer/issuertest"
)

var anyClient = Client{Auth: "none"}

func TestProbeTellsWhereAllIs(t *testing.T) {
	i := issuertest.Start(t)
	r := NewServer(Address{Issuer: i.URL, CAFile: i.CAFile}).Probe(t.Context(), anyClient)
	if r.MetadataErr != nil || r.EndpointErr != nil || r.KeysErr != nil {
		t.Fatalf("errors: %v, %v, %v", r.MetadataErr, r.EndpointErr, r.KeysErr)
	}
	got := []any{r.Metadata.Issuer, r.Endpoint, r.KeysURL, len(r.Keys), r.Dated, r.Skew}
	want := []any{i.URL, i.URL + issuertest.TokenPath, i.URL + issuertest.KeysPath, 1, true, time.Duration(0)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if paths := asked(i); !slices.Equal(paths, []string{issuertest.MetadataPath, issuertest.TokenPath, issuertest.KeysPath}) {
		t.Errorf("asked %v", paths)
	}
}

func asked(i *issuertest.Issuer) (paths []string) {
	for _, r := range i.Requests() {
		paths = append(paths, r.Path)
	}
	return paths
}

func TestProbeWithoutAClientAsksForNoToken(t *testing.T) {
	i := issuertest.Start(t)
	r := NewServer(Address{Issuer: i.URL, CAFile: i.CAFile}).Probe(t.Context(), Client{})
	if r.Endpoint != "" || len(i.Requests(issuertest.TokenPath)) > 0 || len(r.Keys) != 1 {
		t.Errorf("got %+v", r)
	}
}

func TestProbeTellsTheClockAndTheCertificateFromEachAnswerAlone(t *testing.T) {
	i := issuertest.Start(t)
	i.Change(func(b *issuertest.Behaviour) { b.Metadata = func(m map[string]any) { delete(m, "jwks_uri") } })
	for what, r := range map[string]Report{
		"metadata":       NewServer(Address{Issuer: i.URL, CAFile: i.CAFile}).Probe(t.Context(), Client{}),
		"token endpoint": NewServer(Address{TokenEndpoint: i.URL + issuertest.TokenPath, CAFile: i.CAFile}).Probe(t.Context(), anyClient),
		"keys":           NewServer(Address{JWKSURI: i.URL + issuertest.KeysPath, CAFile: i.CAFile}).Probe(t.Context(), Client{}),
	} {
		if len(r.Certificates) != 1 || r.Dated != (what != "metadata") {
			t.Errorf("%s: got %d certificates; dated: %v", what, len(r.Certificates), r.Dated)
		}
	}
}

func TestProbeOfATokenEndpointAloneAsksForNoMetadata(t *testing.T) {
	i := issuertest.Start(t)
	r := NewServer(Address{TokenEndpoint: i.URL + issuertest.TokenPath, CAFile: i.CAFile}).Probe(t.Context(), anyClient)
	if paths := asked(i); !slices.Equal(paths, []string{issuertest.TokenPath}) || r.EndpointErr != nil || r.MetadataErr != nil {
		t.Errorf("asked %v; %v, %v", paths, r.MetadataErr, r.EndpointErr)
	}
}

func TestProbeTellsWhenTheFirstCertificateOfTheChainEnds(t *testing.T) {
	ca := issuertest.NewCA(t)
	ends := time.Now().Add(time.Hour).Truncate(time.Second).UTC()
	cert := ca.Certificate(t, func(c *x509.Certificate) { c.NotAfter = ends })
	i := issuertest.StartWith(t, ca, &cert)
	r := NewServer(Address{Issuer: i.URL, CAFile: i.CAFile}).Probe(t.Context(), anyClient)
	want := []Certificate{{Host: strings.TrimPrefix(i.URL, "https://"), Ends: ends, Subject: "CN=a test"}}
	if diff := cmp.Diff(want, r.Certificates); diff != "" {
		t.Error(diff)
	}
}

// A redirect of the token endpoint, as to a page to log in at, is an answer; it is
// not followed.
func TestProbeFollowsNoRedirectOfTheTokenEndpoint(t *testing.T) {
	i := issuertest.Start(t)
	i.Change(func(b *issuertest.Behaviour) {
		b.ServeToken = func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://127.0.0.1:1/login", http.StatusFound)
		}
	})
	if r := NewServer(Address{Issuer: i.URL, CAFile: i.CAFile}).Probe(t.Context(), anyClient); r.EndpointErr != nil {
		t.Error(r.EndpointErr)
	}
}

func TestParseKeysTakesWhatVerifiesAndPassesOverTheRest(t *testing.T) {
	const ec = `"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"`
	for _, tt := range []struct {
		name, set string
		want      []string // kid and alg
	}{
		{"one", `{"keys":[{` + ec + `,"kid":"a","alg":"ES256","use":"sig"}]}`, []string{"a ES256"}},
		{"without kid and alg", `{"keys":[{` + ec + `}]}`, []string{" "}},
		{"for encryption", `{"keys":[{` + ec + `,"use":"enc"}]}`, nil},
		{"a shared secret", `{"keys":[{"kty":"oct","k":"AAAA"}]}`, nil},
		{"of an unknown kind", `{"keys":[{"kty":"XYZ"},{` + ec + `,"kid":"b"}]}`, []string{"b "}},
		{"a private one, of which the public half counts", `{"keys":[{` + ec + `,"d":"870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE","kid":"c"}]}`, []string{"c "}},
		{"no objects", `{"keys":[1,null,"x",[]]}`, nil},
		{"none", `{"keys":[]}`, nil},
	} {
		set, err := ParseKeys([]byte(tt.set))
		var got []string
		for _, k := range set.Keys {
			got = append(got, k.ID+" "+k.Algorithm)
			if jwk := (jose.JSONWebKey{Key: k.Public}); !jwk.IsPublic() {
				t.Errorf("%s: a private key", tt.name)
			}
		}
		if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", tt.name, err, diff)
		}
	}
	for _, set := range []string{``, `[]`, `{}`, `{"keys":{}}`, `{"keys":[],"keys":[]}`, `<html>`} {
		if _, err := ParseKeys([]byte(set)); err == nil {
			t.Errorf("%s was taken for a set of keys", set)
		}
	}
}

func FuzzParseKeys(f *testing.F) {
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AQ","e":"AQAB"},{"kty":"OKP","crv":"Ed25519","x":"AA"},{"kty":"oct","k":""}]}`))
	f.Add([]byte(`{"keys":null}`))
	f.Fuzz(func(t *testing.T, set []byte) {
		parsed, err := ParseKeys(set)
		for _, k := range parsed.Keys {
			if jwk := (jose.JSONWebKey{Key: k.Public}); err != nil || !jwk.IsPublic() || !jwk.Valid() {
				t.Errorf("%v with the key %+v", err, k)
			}
		}
	})
}

func TestVerifyWithTakesTheKeyThatTheTokenNames(t *testing.T) {
	i, other := issuertest.Start(t), issuertest.Start(t)
	server := NewServer(Address{Issuer: i.URL, CAFile: i.CAFile})
	set, address, err := server.Keys(t.Context())
	keys := set.Keys
	if err != nil || address != i.URL+issuertest.KeysPath {
		t.Fatalf("%s, %v", address, err)
	}
	good := i.Sign(map[string]any{"iss": i.URL})
	renamed := slices.Clone(keys)
	renamed[0].ID = "another"
	unnamed := slices.Clone(keys)
	unnamed[0].ID = ""
	for _, tt := range []struct {
		name, token string
		keys        []Key
		want        string // "": it is verified
	}{
		{"good", good, keys, ""},
		{"none is there", good, nil, "there is no key to verify it with"},
		{"the key has another name", good, renamed, "is not among them"},
		{"the key has no name", good, unnamed, "is not among them"},
		{"another's", other.Sign(map[string]any{"iss": i.URL}), keys, "is not among them"},
		{"another's of that name", other.Sign(map[string]any{"iss": i.URL}), misnamed(t, keys, other), "its signature is not by the key that it names"},
		{"opaque", "opaque", keys, "not a JWT"},
		{"not signed", "eyJhbGciOiJub25lIn0.e30.", keys, "not signed"},
	} {
		_, err := KeySet{Keys: tt.keys}.Verify(agent.NewSecret(tt.token))
		if got := errorText(err); tt.want == "" && err != nil || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// misnamed are the keys under the name that the other issuer has for its own.
func misnamed(t *testing.T, keys []Key, other *issuertest.Issuer) []Key {
	t.Helper()
	theirs, _, err := NewServer(Address{Issuer: other.URL, CAFile: other.CAFile}).Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	named := slices.Clone(keys)
	named[0].ID = theirs.Keys[0].ID
	return named
}
