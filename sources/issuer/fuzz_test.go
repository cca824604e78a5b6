package issuer

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tokenagent/tokenagent/agent"
)

func FuzzTokenResponse(f *testing.F) {
	for _, seed := range []string{
		`{"access_token":"a.b.c","token_type":"Bearer","expires_in":3600,"scope":"a b","refresh_token":"r"}`,
		`{"access_token":"a","token_type":"N_A","expires_in":"60","issued_token_type":"urn:x"}`,
		`{"access_token":"a\n","token_type":"bearer","expires_in":1e99}`,
		`{"error":"invalid_grant","error_description":"no"}`,
		`[]`, `null`, "\ufeff{}", `{"a":1,"a":2}`, ``,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		object, err := decodeObject([]byte(body))
		if err != nil {
			oneLine(t, err)
			return
		}
		r := &reply{status: http.StatusOK, object: object, sent: time.Now()}
		d := demand{endpoint: "https://a.example", grant: Grant{Type: GrantTokenExchange}}
		a, err := r.answer(nil, d)
		if err != nil {
			oneLine(t, err)
			return
		}
		access := a.Access.Reveal()
		if access == "" || len(access) > agent.MaxText || strings.ContainsAny(access, "\r\n\t \x00\"") {
			t.Errorf("the token is %q", access)
		}
		if a.ExpiresIn < 0 || a.ExpiresIn > agent.MaxLife {
			t.Errorf("it lives %v", a.ExpiresIn)
		}
	})
}

func FuzzMetadata(f *testing.F) {
	for _, seed := range []string{
		`{"issuer":"https://iam.example.org","token_endpoint":"https://iam.example.org/token","scopes_supported":["a"]}`,
		`{"issuer":"https://iam.example.org/","mtls_endpoint_aliases":{"token_endpoint":5}}`,
		`{"issuer":["https://iam.example.org"]}`, `{"grant_types_supported":[null]}`, `{}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		object, err := decodeObject([]byte(body))
		if err != nil {
			oneLine(t, err)
			return
		}
		m, err := serverOver(nil).readMetadata(object)
		if err != nil {
			oneLine(t, err)
		} else if m.Issuer != example {
			t.Errorf("metadata of %q was accepted", m.Issuer)
		}
	})
}

// FuzzAnswer reads a whole answer as it comes from the net, whatever its headers.
func FuzzAnswer(f *testing.F) {
	f.Add(200, "application/json", "", "Sun, 22 Nov 2026 12:00:00 GMT", `{"access_token":"a","token_type":"Bearer"}`)
	f.Add(503, "text/html", "gzip", "soon", "<html>")
	f.Fuzz(func(t *testing.T, status int, kind, coding, date, body string) {
		w := httptest.NewRecorder()
		w.Header().Set("Content-Type", kind)
		w.Header().Set("Content-Encoding", coding)
		w.Header().Set("Date", date)
		w.Header().Set("Retry-After", date)
		w.WriteHeader(100 + (status%500+500)%500)
		w.WriteString(body)
		resp := w.Result()
		resp.Request = httptest.NewRequest(http.MethodPost, "https://a.example/", nil)
		r, _, err := serverOver(nil).read(t.Context(), resp, time.Now())
		switch {
		case err != nil:
			oneLine(t, err)
		case r.skew().Abs() > mostSkew || r.retryAfter < 0:
			t.Errorf("skew %v, Retry-After %v", r.skew(), r.retryAfter)
		case !r.ok():
			oneLine(t, r.refusal(demand{endpoint: "https://a.example"}))
		}
	})
}

func oneLine(t *testing.T, err error) {
	t.Helper()
	if text := err.Error(); text == "" || strings.ContainsAny(text, "\r\n\x1b") {
		t.Errorf("%q is not one line", text)
	}
}
