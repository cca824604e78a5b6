// Package issuertest is a small authorization server for tests, over https with
// an authority of its own on the loopback interface. It does what it should,
// until a test makes it awkward.
package issuertest

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// A Behaviour is how an Issuer acts; the zero value is well. Its functions may be
// called from several goroutines at once.
type Behaviour struct {
	ClientID     string           // the only client that is known; "": any
	ClientSecret string           // which it must present, by Basic or in the body; "": any or none
	ClientKey    *jose.JSONWebKey // the public key that its assertion must be signed with; nil: none is wanted
	ClientCert   bool             // it must present a certificate (which the authority of the Issuer signed)

	Lifetime  time.Duration // of access tokens; zero: an hour
	Opaque    bool          // access tokens are no JWT
	Rotate    bool          // a refresh token is good once; then it is replaced
	Strict    bool          // with Rotate: a refresh token that is used again ends all that came of it
	NoRefresh bool          // no refresh token comes with a grant of refresh_token or device_code
	Interval  int           // seconds between the polls of the device flow; 0: it does not say

	// These alter what was going to be said.
	Claims   func(form url.Values, claims map[string]any)
	Answer   func(form url.Values, answer map[string]any) // the token response
	Metadata func(metadata map[string]any)

	Answered func(path string) // after an answer was written

	// These answer in its place, unless they are nil.
	ServeToken, ServeMetadata, ServeKeys http.HandlerFunc
	ServeDevice, ServeRevoke             http.HandlerFunc
	ServeOAuth                           http.HandlerFunc // at OAuthPath, where otherwise nothing is
}

// A Request is one that an Issuer was sent.
type Request struct {
	At     time.Time
	Path   string
	Form   url.Values
	Header http.Header
}

// An Issuer is a running authorization server.
type Issuer struct {
	URL    string // the issuer, and the address
	CAFile string // for ca_file
	CA     *CA

	server *httptest.Server
	mu     sync.Mutex
	how    Behaviour
	signer jose.Signer
	keys   jose.JSONWebKeySet
	seen   []Request
	now    int // requests that are being answered
	most   int // the most there were at a time

	refresh map[string]*family // by refresh token
	devices map[string]bool    // device codes, and whether somebody let them in

	assertions map[string]bool // the jti of client assertions that were used
}

// Start runs an Issuer until the test ends.
func Start(t testing.TB) *Issuer { return StartWith(t, NewCA(t), nil) }

// StartWith runs an Issuer with a certificate of the authority; nil: a usual one.
func StartWith(t testing.TB, ca *CA, cert *tls.Certificate) *Issuer {
	t.Helper()
	i := &Issuer{CA: ca, CAFile: ca.File, refresh: map[string]*family{}, devices: map[string]bool{}, assertions: map[string]bool{}}
	i.RotateKey(t, true)
	if cert == nil {
		usual := ca.Certificate(t, nil)
		cert = &usual
	}
	i.server = httptest.NewUnstartedServer(i)
	i.server.TLS = &tls.Config{Certificates: []tls.Certificate{*cert}, ClientAuth: tls.RequestClientCert}
	i.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	i.server.StartTLS()
	i.URL = i.server.URL
	t.Cleanup(i.Stop)
	return i
}

// Stop ends it, with all its connections: then it refuses them.
func (i *Issuer) Stop() {
	i.server.CloseClientConnections()
	i.server.Close()
}

// Change alters how it behaves from now on.
func (i *Issuer) Change(how func(*Behaviour)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	how(&i.how)
}

// RotateKey signs with a new key from now on, which its key set names if it is
// published; those before it stay there.
func (i *Issuer) RotateKey(t testing.TB, publish bool) {
	t.Helper()
	key := newKey(t)
	id := rand.Text()
	signer := must(jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: id}},
		(&jose.SignerOptions{}).WithType("JWT")))(t)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.signer = signer
	if publish {
		i.keys.Keys = append(slices.Clone(i.keys.Keys), jose.JSONWebKey{Key: key.Public().(*ecdsa.PublicKey), KeyID: id, Use: "sig", Algorithm: "ES256"})
	}
}

// Publish adds keys to its key set.
func (i *Issuer) Publish(keys ...jose.JSONWebKey) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys.Keys = append(slices.Clone(i.keys.Keys), keys...)
}

// Refresh makes a refresh token that is good, as if a person had been there.
func (i *Issuer) Refresh() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.newRefresh(new(family))
}

// A family is all refresh tokens that came of one.
type family struct {
	good string // the one that has not been used; "": it has ended
}

func (i *Issuer) newRefresh(f *family) string {
	f.good = remember("refresh-" + rand.Text())
	i.refresh[f.good] = f
	return f.good
}

// use takes a refresh token; next is what replaces it, "" where nothing does.
func (i *Issuer) use(how Behaviour, old string) (next, code string) {
	f := i.refresh[old]
	switch {
	case f == nil:
		return "", "invalid_grant"
	case f.good != old:
		if how.Strict {
			f.good = ""
		}
		return "", "invalid_grant"
	case how.Rotate:
		return i.newRefresh(f), ""
	}
	return "", ""
}

// Approve lets in every device that waits.
func (i *Issuer) Approve() {
	i.mu.Lock()
	defer i.mu.Unlock()
	for code := range i.devices {
		i.devices[code] = true
	}
}

// Sign makes a JWT of the claims, signed with the key of now.
func (i *Issuer) Sign(claims map[string]any) string {
	i.mu.Lock()
	signer := i.signer
	i.mu.Unlock()
	return sign(signer, claims)
}

// SignedBy makes a JWT of the claims, signed with any key. The header has these parameters
// in addition.
func SignedBy(key jose.SigningKey, header map[jose.HeaderKey]any, claims any) string {
	signer, err := jose.NewSigner(key, &jose.SignerOptions{ExtraHeaders: header})
	if err != nil {
		panic(err)
	}
	return sign(signer, claims)
}

func sign(signer jose.Signer, claims any) string {
	data, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	jws, err := signer.Sign(data)
	if err != nil {
		panic(err)
	}
	text, err := jws.CompactSerialize()
	if err != nil {
		panic(err)
	}
	return remember(text)
}

// Requests are those that it was sent, to the paths; without one, to any.
func (i *Issuer) Requests(paths ...string) []Request {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(i.seen), func(r Request) bool {
		return len(paths) > 0 && !slices.Contains(paths, r.Path)
	})
}

// MostAtOnce is how many requests it was ever answering at a time.
func (i *Issuer) MostAtOnce() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.most
}

// The paths of what it serves.
const (
	MetadataPath = "/.well-known/openid-configuration"
	OAuthPath    = "/.well-known/oauth-authorization-server"
	TokenPath    = "/token"
	DevicePath   = "/device"
	RevokePath   = "/revoke"
	KeysPath     = "/jwks"
)

// ServeHTTP answers one request.
func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.ParseForm()
	how := i.begin(r)
	defer i.end()
	serve, instead := i.parts(how, r.URL.Path)
	switch {
	case instead != nil:
		instead(w, r)
	case serve != nil:
		serve(how, w, r)
	default:
		http.NotFound(w, r)
	}
	if how.Answered != nil {
		http.NewResponseController(w).Flush()
		how.Answered(r.URL.Path)
	}
}

type part func(how Behaviour, w http.ResponseWriter, r *http.Request)

func (i *Issuer) parts(how Behaviour, path string) (part, http.HandlerFunc) {
	switch path {
	case MetadataPath:
		return i.serveMetadata, how.ServeMetadata
	case KeysPath:
		return i.serveKeys, how.ServeKeys
	case TokenPath:
		return i.serveToken, how.ServeToken
	case DevicePath:
		return i.serveDevice, how.ServeDevice
	case RevokePath:
		return i.serveRevoke, how.ServeRevoke
	case OAuthPath:
		return nil, how.ServeOAuth
	default:
		return nil, nil
	}
}

func (i *Issuer) begin(r *http.Request) Behaviour {
	note(r)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.seen = append(i.seen, Request{At: time.Now(), Path: r.URL.Path, Form: maps.Clone(r.PostForm), Header: r.Header.Clone()})
	i.now++
	i.most = max(i.most, i.now)
	return i.how
}

func (i *Issuer) end() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.now--
}

func (i *Issuer) serveMetadata(how Behaviour, w http.ResponseWriter, _ *http.Request) {
	metadata := map[string]any{
		"issuer":                                i.URL,
		"token_endpoint":                        i.URL + TokenPath,
		"device_authorization_endpoint":         i.URL + DevicePath,
		"revocation_endpoint":                   i.URL + RevokePath,
		"jwks_uri":                              i.URL + KeysPath,
		"grant_types_supported":                 []string{"client_credentials", "refresh_token", grantExchange, grantBearer, grantDevice},
		"token_endpoint_auth_methods_supported": []string{"client_secret_basic", "client_secret_post", "private_key_jwt", "tls_client_auth", "none"},
		"scopes_supported":                      []string{"openid", "offline_access", "storage.read:/", "storage.modify:/", "compute.read"},
	}
	if how.Metadata != nil {
		how.Metadata(metadata)
	}
	Reply(w, http.StatusOK, metadata)
}

func (i *Issuer) serveKeys(_ Behaviour, w http.ResponseWriter, _ *http.Request) {
	i.mu.Lock()
	keys := i.keys
	i.mu.Unlock()
	Reply(w, http.StatusOK, keys)
}

const (
	grantExchange = "urn:ietf:params:oauth:grant-type:token-exchange"
	grantBearer   = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	grantDevice   = "urn:ietf:params:oauth:grant-type:device_code"
)

func (i *Issuer) serveToken(how Behaviour, w http.ResponseWriter, r *http.Request) {
	id, code := i.client(how, r)
	if code != "" {
		Refuse(w, http.StatusUnauthorized, code)
		return
	}
	refresh, code := i.grant(how, r.PostForm)
	if code != "" {
		Refuse(w, http.StatusBadRequest, code)
		return
	}
	answer := i.answer(how, id, r.PostForm)
	if refresh != "" {
		answer["refresh_token"] = refresh
	}
	if how.Answer != nil {
		how.Answer(r.PostForm, answer)
	}
	Reply(w, http.StatusOK, answer)
}

// grant judges what is asked for; refresh is the token to give with it.
func (i *Issuer) grant(how Behaviour, form url.Values) (refresh, code string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	switch form.Get("grant_type") {
	case "client_credentials":
	case grantBearer:
		if form.Get("assertion") == "" {
			return "", "invalid_request"
		}
	case grantExchange:
		if form.Get("subject_token") == "" || form.Get("subject_token_type") == "" {
			return "", "invalid_request"
		}
	case "refresh_token":
		return i.use(how, form.Get("refresh_token"))
	case grantDevice:
		code := form.Get("device_code")
		approved, known := i.devices[code]
		if !known {
			return "", "expired_token"
		}
		if !approved {
			return "", "authorization_pending"
		}
		delete(i.devices, code)
		if !how.NoRefresh {
			return i.newRefresh(new(family)), ""
		}
	default:
		return "", "unsupported_grant_type"
	}
	return "", ""
}

// answer is the token response as it should be.
func (i *Issuer) answer(how Behaviour, id string, form url.Values) map[string]any {
	life := how.Lifetime
	if life == 0 {
		life = time.Hour
	}
	answer := map[string]any{"token_type": "Bearer", "expires_in": int(life.Seconds())}
	if form.Has("scope") {
		answer["scope"] = form.Get("scope")
	}
	if form.Get("grant_type") == grantExchange {
		answer["issued_token_type"] = "urn:ietf:params:oauth:token-type:access_token"
	}
	if how.Opaque {
		answer["access_token"] = remember("opaque-" + rand.Text())
		return answer
	}
	answer["access_token"] = i.Sign(i.claims(how, id, life, form))
	return answer
}

func (i *Issuer) claims(how Behaviour, id string, life time.Duration, form url.Values) map[string]any {
	now := time.Now()
	claims := map[string]any{
		"iss": i.URL, "sub": id, "jti": rand.Text(),
		"iat": now.Unix(), "nbf": now.Unix() - 60, "exp": now.Add(life).Unix(),
	}
	if form.Has("scope") {
		claims["scope"] = form.Get("scope")
	}
	var audience []string
	for _, name := range []string{"audience", "aud", "resource"} {
		for _, value := range form[name] {
			audience = append(audience, strings.Fields(value)...)
		}
	}
	if len(audience) > 0 {
		claims["aud"] = audience
	}
	if how.Claims != nil {
		how.Claims(form, claims)
	}
	return claims
}

// serveRevoke ends a refresh token, and all that came of it (RFC 7009).
func (i *Issuer) serveRevoke(how Behaviour, w http.ResponseWriter, r *http.Request) {
	if _, code := i.client(how, r); code != "" {
		Refuse(w, http.StatusUnauthorized, code)
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if f := i.refresh[r.PostForm.Get("token")]; f != nil {
		f.good = ""
	}
}

func (i *Issuer) serveDevice(how Behaviour, w http.ResponseWriter, _ *http.Request) {
	code := remember(rand.Text())
	i.mu.Lock()
	i.devices[code] = false
	i.mu.Unlock()
	answer := map[string]any{
		"device_code": code, "user_code": "BCDF-GHJK", "expires_in": 600,
		"verification_uri": i.URL + "/activate", "verification_uri_complete": i.URL + "/activate?user_code=BCDF-GHJK",
	}
	if how.Interval > 0 {
		answer["interval"] = how.Interval
	}
	Reply(w, http.StatusOK, answer)
}

// Refuse answers with an error of RFC 6749 section 5.2.
func Refuse(w http.ResponseWriter, status int, code string) {
	Reply(w, status, map[string]any{"error": code})
}

// Reply answers with a value in JSON.
func Reply(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(value)
}
