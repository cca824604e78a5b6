package sources

import (
	"testing"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/sources/issuer/issuertest"
)

func TestMetadataThatLeadsToAnotherIssuerIsFound(t *testing.T) {
	known := []string{"https://a.example", "https://b.example/", "https://kc.example/realms/a", "https://kc.example/realms/b", "https://cilogon.example", "https://cilogon.example/ligo"}
	for name, c := range map[string]struct{ own, address, want string }{
		"its own":                     {"https://a.example", "https://a.example/token", ""},
		"another's":                   {"https://a.example", "https://b.example/token", "https://b.example/"},
		"another's own address":       {"https://a.example", "https://b.example", "https://b.example/"},
		"a host that begins so":       {"https://a.example", "https://b.example.org/token", ""},
		"nobody's":                    {"https://a.example", "https://oauth2.example/token", ""},
		"none":                        {"https://a.example", "", ""},
		"another realm":               {"https://kc.example/realms/a", "https://kc.example/realms/b/protocol/token", "https://kc.example/realms/b"},
		"its own realm":               {"https://kc.example/realms/a", "https://kc.example/realms/a/protocol/token", ""},
		"a realm that begins so":      {"https://kc.example/realms/a", "https://kc.example/realms/bb/token", ""},
		"one host for several":        {"https://cilogon.example/ligo", "https://cilogon.example/oauth2/token", ""},
		"a part of the host, instead": {"https://cilogon.example", "https://cilogon.example/ligo/token", "https://cilogon.example/ligo"},
		"its own with a slash":        {"https://b.example", "https://b.example/token", ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := issuerAt(c.address, c.own, known); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestAnInquiryWarnsOfAMixUp(t *testing.T) {
	t.Parallel()
	own, other := issuertest.Start(t), issuertest.Start(t)
	own.Change(func(b *issuertest.Behaviour) {
		b.Metadata = func(m map[string]any) { m["device_authorization_endpoint"] = other.URL + "/device" }
	})
	cfg, faults := load(t, secrets(t), fetched("client_credentials", clientOf(own)...), false)
	if faults.HasErrors() {
		t.Fatal(faults)
	}
	q := Inquiry{Issuers: []string{own.URL, other.URL}}
	found := q.Look(t.Context(), cfg.Sources[0].Source, []agent.Request{cfg.Renewers[0].Request})
	wantFound(t, found, "warning mix-up: the metadata of "+own.URL+" names the device_authorization_endpoint "+other.URL+"/device, which lies at another issuer of this configuration, "+other.URL)
}

// A token of another issuer of the configuration is refused by its iss, with the keys
// of either.
func TestATokenOfAnotherIssuerOfTheConfigurationIsRefused(t *testing.T) {
	t.Parallel()
	own := issuertest.Start(t)
	other := issuertest.StartWith(t, own.CA, nil)
	own.Change(func(b *issuertest.Behaviour) {
		b.Metadata = func(m map[string]any) {
			m["token_endpoint"], m["jwks_uri"] = other.URL+issuertest.TokenPath, other.URL+issuertest.KeysPath
		}
	})
	r := asking(t, own, "client_credentials", nil, asksFor)
	_, err := r.Source.Issue(t.Context(), r.Request)
	wantFault(t, err, agent.Configuration, "issuer "+own.URL+`: token: iss: it is "`+other.URL+`", another than the issuer that was asked`)
}
