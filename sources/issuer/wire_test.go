package issuer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/sources/issuer/issuertest"
	"github.com/tokenagent/tokenagent/sources/keys"
)

// A wire answers requests in place of connections, so that hours pass in no time.
type wire func(*http.Request) (*http.Response, error)

func (w wire) RoundTrip(req *http.Request) (*http.Response, error) { return w(req) }

const example = "https://iam.example.org"

// serverOver is a Server of the example that asks over the wire.
func serverOver(w wire) *Server {
	s := NewServer(Address{Issuer: example})
	s.wire = w
	return s
}

// respond is an answer in JSON.
func respond(req *http.Request, status int, value any) *http.Response {
	data, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return &http.Response{
		StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: req,
		Header: http.Header{"Content-Type": {"application/json"}},
		Body:   io.NopCloser(bytes.NewReader(data)), ContentLength: int64(len(data)),
	}
}

func exampleMetadata(req *http.Request) *http.Response {
	return respond(req, http.StatusOK, map[string]any{"issuer": example, "token_endpoint": example + "/token", "device_authorization_endpoint": example + "/device", "jwks_uri": example + "/jwks"})
}

func TestMetadataIsReadRarelyAndTheLastGoodIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, down := 0, false
		s := serverOver(func(req *http.Request) (*http.Response, error) {
			asked++
			if down {
				return respond(req, http.StatusServiceUnavailable, nil), nil
			}
			return exampleMetadata(req), nil
		})
		wants := func(n int) {
			t.Helper()
			if m, err := s.Metadata(t.Context()); err != nil || m.TokenEndpoint != example+"/token" {
				t.Errorf("got %v, %v", m, err)
			}
			if asked != n {
				t.Errorf("it was asked for %d times, want %d", asked, n)
			}
		}
		wants(1)
		time.Sleep(metadataLife - time.Second)
		wants(1)
		time.Sleep(time.Second)
		wants(2)
		down = true
		time.Sleep(metadataLife)
		wants(3) // in vain
		time.Sleep(metadataAgain - time.Second)
		wants(3)
		time.Sleep(time.Second)
		wants(4)
	})
}

func TestAKeyThatIsWithdrawnVouchesForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		published, down := true, false
		public, text := signedByExample(t)
		s := serverOver(func(req *http.Request) (*http.Response, error) {
			switch {
			case req.URL.Path != "/jwks":
				return exampleMetadata(req), nil
			case down:
				return respond(req, http.StatusServiceUnavailable, nil), nil
			case published:
				return respond(req, http.StatusOK, map[string]any{"keys": []any{public}}), nil
			}
			return respond(req, http.StatusOK, map[string]any{"keys": []any{}}), nil
		})
		wants := func(good bool) {
			t.Helper()
			if _, err := s.Verify(t.Context(), text); (err == nil) != good {
				t.Errorf("got %v", err)
			}
		}
		wants(true)
		down = true
		time.Sleep(metadataLife)
		wants(true) // the last good are kept
		published, down = false, false
		time.Sleep(metadataAgain)
		wants(false)
	})
}

func TestKeysCountOnlyWhileTheMetadataNameThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		public, text := signedByExample(t)
		at, keys := "/old", map[string]any{"/old": []any{public}, "/new": []any{}}
		s := serverOver(func(req *http.Request) (*http.Response, error) {
			if list, there := keys[req.URL.Path]; there {
				return respond(req, http.StatusOK, map[string]any{"keys": list}), nil
			}
			return respond(req, http.StatusOK, map[string]any{"issuer": example, "token_endpoint": example + "/token", "jwks_uri": example + at}), nil
		})
		if _, err := s.Metadata(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(metadataLife / 2) // the keys are read again later than the metadata
		if _, err := s.Verify(t.Context(), text); err != nil {
			t.Fatal(err)
		}
		at = "/new"
		time.Sleep(metadataLife / 2)
		if _, err := s.Verify(t.Context(), text); err == nil {
			t.Error("a key of the old address still vouches for a token")
		}
	})
}

// A closer notes whether a body was closed.
type closer struct {
	io.Reader
	open *int
}

func (c closer) Close() error { *c.open--; return nil }

func TestTheBodyOfEveryAnswerIsClosed(t *testing.T) {
	for name, body := range map[string]string{"good": `{"issuer":"` + example + `"}`, "cut off": `{"issuer":`, "large": strings.Repeat(" ", 64<<20)} {
		open := 0
		s := serverOver(func(req *http.Request) (*http.Response, error) {
			resp := respond(req, http.StatusOK, nil)
			open++
			resp.Body, resp.ContentLength = closer{strings.NewReader(body), &open}, -1
			return resp, nil
		})
		s.Metadata(t.Context())
		if open != 0 {
			t.Errorf("%s: %d bodies are left open", name, open)
		}
	}
}

// Each request says who asks in the way that the client is configured for, and no other.
func TestHowAClientShowsWhoItIs(t *testing.T) {
	secret, key := testFile(t, "a b/c"), testKeyFile(t)
	for _, c := range []struct {
		client Client
		basic  string   // user and password of the header Authorization, encoded as RFC 6749 section 2.3.1 says
		form   []string // the members of the form that are proof
	}{
		{Client{ID: "robot", Auth: "none"}, "", nil},
		{Client{ID: "robot", Auth: "client_secret_basic", SecretFile: secret}, "robot a+b%2Fc", nil},
		{Client{ID: "robot", Auth: "client_secret_post", SecretFile: secret}, "", []string{"client_secret"}},
		{Client{ID: "robot", Auth: "private_key_jwt", KeyFile: key}, "", []string{"client_assertion", "client_assertion_type"}},
	} {
		s := serverOver(func(req *http.Request) (*http.Response, error) {
			if req.Method == http.MethodGet {
				return exampleMetadata(req), nil
			}
			if err := req.ParseForm(); err != nil {
				t.Error(err)
			}
			user, password, _ := req.BasicAuth()
			var form []string
			for name := range req.PostForm {
				if name == "client_secret" || strings.HasPrefix(name, "client_assertion") {
					form = append(form, name)
				}
			}
			slices.Sort(form)
			if got := strings.TrimSpace(user + " " + password); got != c.basic || !slices.Equal(form, c.form) {
				t.Errorf("%s at %s: the header says %q, and the form has %v", c.client.Auth, req.URL.Path, got, form)
			}
			return respond(req, http.StatusBadRequest, map[string]any{"error": "invalid_client"}), nil
		})
		parameters := url.Values{"audience": {"x"}}
		if _, err := s.Token(t.Context(), c.client, Grant{"client_credentials", parameters}); err == nil {
			t.Error("a refusal is no error")
		}
		if _, err := s.Device(t.Context(), c.client, []string{"a"}, parameters, func(Device) {}); err == nil {
			t.Error("a refusal is no error")
		}
		if len(parameters) != 1 {
			t.Errorf("%s: the caller's parameters became %v", c.client.Auth, parameters)
		}
	}
}

// signedByExample is a token of the example, and the key that has signed it.
func signedByExample(t *testing.T) (public jose.JSONWebKey, text agent.Secret) {
	t.Helper()
	key, err := keys.Generate("ES256")
	if err != nil {
		t.Fatal(err)
	}
	token := issuertest.SignedBy(jose.SigningKey{Algorithm: jose.ES256, Key: key.Private()}, nil, map[string]any{"iss": example})
	return jose.JSONWebKey{Key: key.Public()}, agent.NewSecret(token)
}

func TestAPanicOverADocumentIsAFault(t *testing.T) {
	s := serverOver(func(*http.Request) (*http.Response, error) { panic("SECRET") })
	_, err := s.Metadata(t.Context())
	wants(t, err, example, agent.Configuration, "issuer ISSUER: metadata: panic; please report this defect of tokenagent")
	if len(s.limits.room) > 0 {
		t.Error("it still has its place")
	}
}

func TestWhoGivesUpDoesNotEndWhatOthersWaitFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serverOver(func(req *http.Request) (*http.Response, error) {
			select {
			case <-req.Context().Done():
				return nil, req.Context().Err()
			case <-time.After(10 * time.Second):
				return exampleMetadata(req), nil
			}
		})
		impatient, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		failed := make(chan error)
		go func() {
			_, err := s.Metadata(impatient)
			failed <- err
		}()
		synctest.Wait()
		if _, err := s.Metadata(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-failed; err == nil {
			t.Error("who gave up got an answer")
		}
	})
}

// A hanging issuer holds a request for the total time, and its two places no longer.
func TestAnIssuerThatHangsIsWaitedForNoLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serverOver(func(req *http.Request) (*http.Response, error) {
			<-req.Context().Done()
			return nil, req.Context().Err()
		})
		start := time.Now()
		_, err := s.Metadata(t.Context())
		f, ok := errors.AsType[*agent.Fault](err)
		if !ok || f.Kind != agent.Transient || err.Error() != "issuer "+example+": metadata: no complete answer in time, which is at most 30s; see whether the issuer is overloaded, or the network slow" {
			t.Errorf("got %v", err)
		}
		if took := time.Since(start); took != usual.total {
			t.Errorf("it took %v", took)
		}
		if len(s.limits.room) != 0 {
			t.Error("a place is still taken")
		}
	})
}

func TestWellKnown(t *testing.T) {
	for issuer, want := range map[string][2]string{
		"https://a.example":           {"https://a.example/.well-known/openid-configuration", "https://a.example/.well-known/oauth-authorization-server"},
		"https://a.example/":          {"https://a.example/.well-known/openid-configuration", "https://a.example/.well-known/oauth-authorization-server"},
		"https://a.example:8443/r/x":  {"https://a.example:8443/r/x/.well-known/openid-configuration", "https://a.example:8443/.well-known/oauth-authorization-server/r/x"},
		"https://a.example/r/x/":      {"https://a.example/r/x/.well-known/openid-configuration", "https://a.example/.well-known/oauth-authorization-server/r/x"},
		"https://a.example/r%20x":     {"https://a.example/r%20x/.well-known/openid-configuration", "https://a.example/.well-known/oauth-authorization-server/r%20x"},
		"https://a.example/a.example": {"https://a.example/a.example/.well-known/openid-configuration", "https://a.example/.well-known/oauth-authorization-server/a.example"},
	} {
		got, err := wellKnown(issuer)
		if err != nil || len(got) < 2 || [2]string(got[:2]) != want {
			t.Errorf("%s: %q, %v", issuer, got, err)
		}
	}
	for _, issuer := range []string{"https://a.example?x", "https://a.example/?", "http://a.example"} {
		if _, err := wellKnown(issuer); err == nil {
			t.Errorf("%s was accepted", issuer)
		}
	}
	got, err := wellKnown("https://a.example/r/x/")
	want := []string{
		"https://a.example/r/x/.well-known/openid-configuration", "https://a.example/.well-known/oauth-authorization-server/r/x",
		"https://a.example/r/x/.well-known/oauth-authorization-server", "https://a.example/.well-known/openid-configuration/r/x",
	}
	if !slices.Equal(got, want) || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestSkew(t *testing.T) {
	date := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct{ sent, received, want time.Duration }{ // relative to date
		{0, 0, 0},
		{-5 * time.Second, 5 * time.Second, 0},                // slow, but right
		{0, 30 * time.Second, 0},                              // made at once, sent late
		{-30 * time.Second, 500 * time.Millisecond, 0},        // made late
		{2900 * time.Millisecond, 3 * time.Second, 0},         // less than 2 s, as the date is cut to seconds
		{10 * time.Second, 11 * time.Second, 9 * time.Second}, // ours is ahead
		{-12 * time.Second, -10 * time.Second, -10 * time.Second},
		{-2 * time.Second, -2 * time.Second, 0},
		{time.Hour, time.Hour, 300 * time.Second},
		{-time.Hour, -time.Hour, -300 * time.Second},
	} {
		r := &reply{date: date, sent: date.Add(c.sent), received: date.Add(c.received)}
		if got := r.skew(); got != c.want {
			t.Errorf("sent %v, received %v: %v, want %v", c.sent, c.received, got, c.want)
		}
	}
	if got := (&reply{sent: date, received: date}).skew(); got != 0 {
		t.Errorf("without a date: %v", got)
	}
}

func TestADateOfACacheTellsNoSkew(t *testing.T) {
	now := time.Now()
	resp := &http.Response{StatusCode: 200, Header: http.Header{"Date": {now.Add(-time.Hour).UTC().Format(http.TimeFormat)}, "Age": {"3600"}}}
	if got := newReply(resp, now, now).skew(); got != 0 {
		t.Errorf("got %v", got)
	}
}

// The assertion's times are by the clock of the issuer, which judges them.
func TestAnAssertionIsOfTheIssuersTime(t *testing.T) {
	s := serverOver(nil)
	s.note(&reply{date: time.Now().Add(-time.Minute), sent: time.Now(), received: time.Now()})
	c := Client{ID: "robot", Auth: "private_key_jwt", KeyFile: testKeyFile(t)}
	p, err := s.prove(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	claims := claimsOf(t, p.assertion.Reveal())
	iat := time.Unix(int64(claims["iat"].(float64)), 0)
	if ago := time.Since(iat); ago < 55*time.Second || ago > 65*time.Second {
		t.Errorf("it was issued %v ago", ago)
	}
	if claims["aud"] != example || claims["iss"] != "robot" || claims["sub"] != "robot" {
		t.Errorf("its claims are %v", claims)
	}
	if exp := int64(claims["exp"].(float64)); exp-iat.Unix() != int64(assertionLife.Seconds()) {
		t.Errorf("it lives %d s", exp-iat.Unix())
	}
}

func TestAHostThatSleptIsNoticed(t *testing.T) {
	start := time.Now()
	then := instant{start.Round(0), start}
	for _, c := range []struct {
		wall, mono time.Duration
		want       bool
	}{
		{time.Hour, time.Hour, false},
		{time.Hour, time.Hour - 4*time.Second, false},
		{time.Hour, time.Minute, true},
		{-time.Hour, time.Minute, false}, // the clock was set back
	} {
		now := instant{start.Add(c.wall).Round(0), start.Add(c.mono)}
		if got := now.sleptSince(then); got != c.want {
			t.Errorf("wall %v, monotonic %v: %v", c.wall, c.mono, got)
		}
	}
	if then.sleptSince(instant{}) {
		t.Error("it slept before the first request")
	}
}

// RFC 8628 section 3.5: slow_down adds five seconds for good; a network that fails
// ends nothing.
func TestADeviceIsAskedForAsOftenAsTheIssuerWants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers := []string{"authorization_pending", "slow_down", "authorization_pending", "", "authorization_pending"}
		start := time.Now()
		var asked []time.Duration
		s := serverOver(func(req *http.Request) (*http.Response, error) {
			switch req.URL.Path {
			case "/device":
				return respond(req, http.StatusOK, map[string]any{"device_code": "a", "user_code": "b", "verification_uri": example + "/activate", "expires_in": 600}), nil
			case "/token":
				asked = append(asked, time.Since(start).Round(time.Second))
				if len(asked) > len(answers) {
					return respond(req, http.StatusOK, map[string]any{"access_token": "a", "token_type": "Bearer"}), nil
				}
				if code := answers[len(asked)-1]; code != "" {
					return respond(req, http.StatusBadRequest, map[string]any{"error": code}), nil
				}
				return nil, io.EOF
			}
			return exampleMetadata(req), nil
		})
		if _, err := s.Device(t.Context(), robot, nil, nil, func(Device) {}); err != nil {
			t.Fatal(err)
		}
		want := []time.Duration{5, 10, 20, 30, 45, 60}
		for n, at := range asked {
			if n >= len(want) || at != want[n]*time.Second {
				t.Errorf("it was asked at %v, want %v", asked, want)
				break
			}
		}
	})
}

func TestACodeThatNobodyTypesExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		s := serverOver(func(req *http.Request) (*http.Response, error) {
			switch req.URL.Path {
			case "/device":
				return respond(req, http.StatusOK, map[string]any{"device_code": "a", "user_code": "b", "verification_uri": example + "/activate", "expires_in": 60, "interval": 7}), nil
			case "/token":
				return respond(req, http.StatusBadRequest, map[string]any{"error": "authorization_pending"}), nil
			}
			return exampleMetadata(req), nil
		})
		_, err := s.Device(t.Context(), robot, nil, nil, func(Device) {})
		if err == nil || err.Error() != "issuer "+example+": expired_token: the device was not let in before its code expired; begin again" {
			t.Errorf("got %v", err)
		}
		if took := time.Since(start); took < 60*time.Second || took > 61*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}
