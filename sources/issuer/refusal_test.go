package issuer

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/sources/issuer/issuertest"
)

// errorCodes are those of RFC 6749, 6750, 8628, 8693 and 8707 and of OpenID Connect, one
// that no RFC knows, and none.
var errorCodes = []string{
	"", "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope",
	"invalid_target", "access_denied", "expired_token", "authorization_pending", "slow_down", "server_error", "temporarily_unavailable", "quota_exceeded",
	"invalid_token", "insufficient_scope", "interaction_required", "login_required", "consent_required", "account_selection_required", "unsupported_token_type",
}

// kindsByStatus is the table of what each status says with each of errorCodes, in
// their order.
func kindsByStatus() map[int][]agent.Kind {
	const t_, c_ = agent.Transient, agent.Configuration
	person := []agent.Kind{t_, c_, c_, c_, c_, c_, c_, c_, c_, c_, t_, t_, t_, t_, t_, c_, c_, c_, c_, c_, c_, c_} // by what is asked for
	always := slices.Repeat([]agent.Kind{t_}, len(errorCodes))
	return map[int][]agent.Kind{
		200: person, 204: person, 301: person, 302: person, 307: person, 400: person, 401: person, 402: person, 403: person, 404: person,
		405: person, 407: person, 409: person, 410: person, 413: person, 415: person, 421: person, 422: person, 451: person,
		408: always, 425: always, 429: always, 500: always, 501: always, 502: always, 503: always, 504: always, 507: always, 520: always, 599: always,
	}
}

func TestEveryStatusAndErrorHasItsKind(t *testing.T) {
	if known := append(slices.Sorted(maps.Keys(oauthErrors)), "", "quota_exceeded"); len(errorCodes) != len(known) {
		t.Errorf("the table has %d codes, there are %d", len(errorCodes), len(known))
	}
	for status, kinds := range kindsByStatus() {
		for n, code := range errorCodes {
			if got := classify(status, code); got != kinds[n] {
				t.Errorf("%d %s: %s, want %s", status, code, got, kinds[n])
			}
		}
		for said, meant := range sameAs {
			if got, want := classify(status, said), classify(status, meant); got != want {
				t.Errorf("%d %s: %s, want %s as %s", status, said, got, want, meant)
			}
			if _, known := oauthErrors[meant]; !known || oauthErrors[said].what != "" {
				t.Errorf("%s is said for %s", said, meant)
			}
		}
	}
}

// For each status a code and a Retry-After count, wherever in an answer they are.
func TestACodeCountsInWhateverFormItComes(t *testing.T) {
	i := issuertest.Start(t)
	page := func(text string) string {
		return "<html><body><h1>HTTP Status 400</h1><p>" + text + "</p></body></html>"
	}
	for name, c := range map[string]struct {
		kind, challenge, body string
		code                  string // of Denied; "": none
	}{
		"JSON":                  {"application/json", "", `{"error":"invalid_grant"}`, "invalid_grant"},
		"JSON called HTML":      {"text/html;charset=utf-8", "", `{"error":"invalid_grant","error_description":"x"}`, "invalid_grant"},
		"JSON called nothing":   {"", "", `{"error":"invalid_token"}`, "invalid_token"},
		"capitals":              {"application/json", "", `{"error":" Invalid_Grant "}`, "invalid_grant"},
		"an object":             {"application/json", "", `{"error":{"code":"invalid_grant","message":"x"}}`, "invalid_grant"},
		"an object of Google's": {"application/json", "", `{"error":{"code":401,"status":"UNAUTHENTICATED"}}`, ""},
		"another's word":        {"application/json", "", `{"error":"bad_refresh_token"}`, "invalid_grant"},
		"a page":                {"text/html", "", page("invalid_grant: Invalid refresh token"), "invalid_grant"},
		"a page, twice":         {"text/html", "", page("invalid_grant invalid_grant"), "invalid_grant"},
		"a page of many words":  {"text/html", "", page("invalid_grant, invalid_client or invalid_scope"), ""},
		"a page without":        {"text/html", "", page("my_invalid_grant access_denied server_error"), ""},
		"a form":                {"application/x-www-form-urlencoded", "", "error=invalid_grant&error_description=x", "invalid_grant"},
		"XML":                   {"application/xml", "", "<OAuth2Exception><error>invalid_token</error></OAuth2Exception>", "invalid_token"},
		"the header":            {"text/plain", `Bearer realm="iam", error="invalid_token", error_description="x"`, "", "invalid_token"},
		"the header, busy":      {"text/plain", `Bearer error="temporarily_unavailable"`, "", ""},
		"nothing":               {"text/html", `Basic realm="x"`, "", ""},
	} {
		for _, status := range []int{400, 401, 403, 500, 503} {
			i.Change(func(b *issuertest.Behaviour) {
				b.ServeToken = func(w http.ResponseWriter, _ *http.Request) {
					w.Header()["Content-Type"] = []string{c.kind}
					w.Header().Set("Retry-After", "7")
					if c.challenge != "" {
						w.Header().Set("WWW-Authenticate", c.challenge)
					}
					w.WriteHeader(status)
					io.WriteString(w, c.body)
				}
			})
			s := NewServer(Address{TokenEndpoint: i.URL + "/token", CAFile: i.CAFile})
			s.limits.rate.SetLimit(rate.Inf)
			_, err := s.Token(t.Context(), robot, Grant{"refresh_token", nil})
			f, _ := errors.AsType[*agent.Fault](err)
			denied, _ := errors.AsType[*Denied](err)
			want, kind := c.code, agent.Configuration
			if want == "" || status >= 500 {
				kind = agent.Transient
			}
			if status >= 500 && !strings.HasPrefix(c.body, "{") {
				want = ""
			}
			if f == nil || f.Kind != kind || f.RetryAfter != 7*time.Second || (denied == nil) != (want == "") || denied != nil && denied.Code != want {
				t.Errorf("%s, %d: %v", name, status, err)
			}
		}
	}
}

// Only what is surely no longer good ends what a person has granted.
func TestWhichCodesWantAPerson(t *testing.T) {
	for _, c := range []struct{ said, ends string }{
		{"invalid_grant", "yes"}, {"invalid_token", "yes"}, {"bad_refresh_token", "yes"}, {"token_inactive", "yes"},
		{"interaction_required", "yes"}, {"consent_required", "yes"}, {"login_required", "yes"}, {"mfa_required", "yes"},
		{"invalid_request", "perhaps"}, {"unauthorized_client", "perhaps"}, {"access_denied", "perhaps"},
		{"invalid_client", "no"}, {"unauthorized", "no"}, {"invalid_scope", "no"}, {"server_error", "no"},
	} {
		d, _ := errors.AsType[*Denied](error(refusalOf(400, demand{}, map[string]any{"error": c.said})))
		got := "no"
		if d.EndsGrant() {
			got = "yes"
		} else if d.MayEndGrant() {
			got = "perhaps"
		}
		if got != c.ends || d.Said != c.said || !strings.HasPrefix(d.Error(), c.said+": ") {
			t.Errorf("%s: %s, want %s: %v", c.said, got, c.ends, d)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"":                               0,
		"0":                              0,
		"120":                            2 * time.Minute,
		" 120 ":                          2 * time.Minute,
		"86400":                          24 * time.Hour,
		"86401":                          24 * time.Hour,
		"99999999999999999999999999":     24 * time.Hour,
		"-5":                             0,
		"1.5":                            0,
		"+5":                             0,
		"soon":                           0,
		"Sun, 22 Nov 2026 12:01:30 GMT":  90 * time.Second,
		"Sunday, 22-Nov-26 12:01:30 GMT": 90 * time.Second, // RFC 850, and asctime: RFC 9110 section 5.6.7 has both read
		"Sun Nov 22 12:01:30 2026":       90 * time.Second,
		"Sun, 22 Nov 2026 11:59:59 GMT":  0,
		"Thu, 01 Jan 1970 00:00:00 GMT":  0,
		"Fri, 31 Dec 9999 23:59:59 GMT":  24 * time.Hour,
		"Sun, 22 Nov 2026 12:01:30 CET":  0,
	} {
		if got := parseRetryAfter(text, now); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

// A date is meant by the clock of whoever wrote it.
func TestARetryAfterByDateIsMeantByTheIssuersClock(t *testing.T) {
	ours := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	resp := &http.Response{Header: http.Header{
		"Date":        {"Sun, 22 Nov 2026 11:00:00 GMT"},
		"Retry-After": {"Sun, 22 Nov 2026 11:00:30 GMT"},
	}}
	if got := newReply(resp, ours, ours).retryAfter; got != 30*time.Second {
		t.Errorf("got %v", got)
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, seed := range []string{"120", "Sun, 22 Nov 2026 12:01:30 GMT", "-1", "1e9", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if got := parseRetryAfter(text, time.Now()); got < 0 || got > longestRetryAfter {
			t.Errorf("%q: %v", text, got)
		}
	})
}

// refusalOf is the fault of an answer with that status and those members.
func refusalOf(status int, d demand, object map[string]any) *agent.Fault {
	return (&reply{status: status, object: object, retryAfter: time.Minute}).refusal(d)
}

func TestWordsOfARefusal(t *testing.T) {
	const where = "https://iam.example.org/token"
	basic := Client{ID: "robot", Auth: "client_secret_basic"}
	for _, c := range []struct {
		status int
		code   any
		client Client
		grant  string
		text   string
	}{
		{401, "invalid_client", basic, "client_credentials", "invalid_client: the issuer does not accept the client id or secret; check client_id and client_secret_file, and whether it wants another client_auth than client_secret_basic"},
		{401, "invalid_client", Client{Auth: "private_key_jwt"}, "client_credentials", "invalid_client: the issuer does not accept the client id or what its key signed; check client_id, whether the public half of client_key_file is registered for it, and this host's clock"},
		{401, "invalid_client", Client{Auth: "tls_client_auth"}, "client_credentials", "invalid_client: the issuer does not accept the client id or certificate; check client_id, and whether the certificate in client_cert_file is registered for it"},
		{401, "invalid_client", Client{Auth: "none"}, "client_credentials", "invalid_client: the issuer does not know the client id, or wants more than that; check client_id and client_auth"},
		{400, "invalid_grant", basic, "refresh_token", "invalid_grant: the refresh token has expired, was revoked or used before, or is another client's; log in again for a new one"},
		{400, "invalid_grant", basic, GrantTokenExchange, "invalid_grant: the issuer does not accept the subject token; check that subject_token_file is kept fresh, and is for this issuer"},
		{400, "invalid_grant", Client{Auth: AuthAsserted}, GrantTokenExchange, "invalid_grant: the issuer does not accept the subject token; check that subject_token_file is kept fresh, and is for this issuer; some issuers also say this of a client assertion that they do not accept: check that the token in client_assertion_file is for this issuer (its aud), that the issuer trusts its signer, and client_id"},
		{400, "invalid_grant", Client{Auth: "private_key_jwt"}, revocation, "invalid_grant: the issuer does not know the refresh token; see whether it has expired or was revoked before, and is this client's; some issuers also say this of a client assertion that they do not accept: check client_id, whether the public half of client_key_file is registered for it, and this host's clock"},
		{400, "invalid_grant", basic, "client_credentials", "invalid_grant: the issuer does not accept what was presented for the token; check that it has not expired, and is for this client"},
		{401, "invalid_token", basic, "refresh_token", "invalid_token: the refresh token has expired, was revoked or used before, or is another client's; log in again for a new one"},
		{401, "unauthorized", basic, "refresh_token", "unauthorized: the issuer does not accept the client id or secret; check client_id and client_secret_file, and whether it wants another client_auth than client_secret_basic"},
		{400, "interaction_required", basic, "refresh_token", "interaction_required: the issuer wants a person to log in or consent; log in again"},
		{400, "unauthorized_client", basic, "client_credentials", "unauthorized_client: the client may not use this grant (client_credentials); have it allowed for the client at the issuer"},
		{400, "invalid_target", basic, "client_credentials", "invalid_target: the issuer does not give tokens for that audience; check audience and audience_parameter"},
		{503, "invalid_grant", basic, "refresh_token", "503 Service Unavailable with the error invalid_grant; the issuer or something before it is overloaded or down"},
		{500, "server_error", basic, "refresh_token", "server_error: something went wrong at the issuer; see its own log if it lasts"},
		{400, "quota_exceeded", basic, "refresh_token", "400 Bad Request with the error quota_exceeded, which no RFC knows; see the issuer's documentation"},
		{400, "Quota exceeded for aGVsbG8", basic, "refresh_token", "400 Bad Request at " + where + " with an error that no RFC knows; see the issuer's documentation"},
		{200, map[string]any{"message": "no"}, basic, "refresh_token", "200 OK at " + where + " with an error that no RFC knows; see the issuer's documentation"},
		{400, 17, basic, "refresh_token", "400 Bad Request at " + where + " with an error that no RFC knows; see the issuer's documentation"},
		{404, nil, basic, "refresh_token", "404 Not Found at " + where + " without an OAuth error; check the address"},
		{401, nil, basic, "refresh_token", "401 Unauthorized at " + where + " without an OAuth error; check client_id, client_auth and whether this host may ask there, and log in again for a new refresh token if it lasts"},
		{407, nil, basic, "refresh_token", "407 Proxy Authentication Required at " + where + " without an OAuth error; check https_proxy in the agent's environment"},
		{429, nil, basic, "refresh_token", "429 Too Many Requests at " + where + " without an OAuth error; the issuer or something before it is overloaded or down"},
		{599, nil, basic, "refresh_token", "599 at " + where + " without an OAuth error; the issuer or something before it is overloaded or down"},
	} {
		f := refusalOf(c.status, demand{endpoint: where, client: c.client, grant: Grant{Type: c.grant}}, map[string]any{"error": c.code})
		if f.Error() != c.text {
			t.Errorf("%d %v: got %q\nwant %q", c.status, c.code, f, c.text)
		}
		if f.RetryAfter != time.Minute {
			t.Errorf("%d %v: its Retry-After is lost", c.status, c.code)
		}
		code, _ := c.code.(string)
		_, known := oauthErrors[canonical(code)]
		if denied, ok := errors.AsType[*Denied](error(f)); ok != known || ok && denied.Said != code {
			t.Errorf("%d %v: Denied is %v", c.status, c.code, denied)
		}
	}
}

func TestADescriptionIsQuotedWithoutWhatMayBeSecret(t *testing.T) {
	const jwt = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.c2ln"
	d := demand{
		client: Client{ID: "robot-7F2A", Auth: "client_secret_basic"},
		proof:  proof{secret: "correct horse battery"},
		grant: Grant{"refresh_token", url.Values{
			"refresh_token": {"refresh-abcdefghijkl"}, "scope": {"storage.read:/a compute.read"}, "acr": {"hunterhunter"},
		}},
	}
	for said, want := range map[string]string{
		"":                                   "",
		"Client not found.":                  " (it says: Client not found.)",
		"no such scope: storage.read:/a":     " (it says: no such scope: storage.read:/a)",
		"client robot-7F2A is disabled":      " (it says: client robot-7F2A is disabled)",
		"The refresh_token 'x' was revoked":  " (it says: The refresh_token 'x' was revoked)",
		"token refresh-abcdefghijkl revoked": " (it says: token … revoked)",
		"token abcdefghijkl revoked":         " (it says: token … revoked)",
		"token (refresh-abc...) revoked":     " (it says: token … revoked)",
		"bad secret correct horse battery":   " (it says: bad secret …)",
		"acr hunter is unknown":              " (it says: acr … is unknown)",
		jwt:                                  "",
		"replay of " + jwt:                   " (it says: replay of …)",
		"id 5f3c2b1a-0000":                   " (it says: id …)",
		"AADSTS7000215: secret aGVsbG8gd29y": " (it says: … secret …)",
		"two\nlines\x1b[31m":                 " (it says: two …)",
		"größer":                             "",
		strings.Repeat("word ", 100):         " (it says: " + strings.Repeat("word ", 32) + "…)",
	} {
		if got := d.quote(map[string]any{"error_description": said}); got != want {
			t.Errorf("%q: got %q, want %q", said, got, want)
		}
	}
}
