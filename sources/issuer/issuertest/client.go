package issuertest

import (
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// assertionType is what client_assertion_type must be (RFC 7523 section 2.2).
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// client says who asks; code is an error of RFC 6749 when it has not proved it.
func (i *Issuer) client(how Behaviour, r *http.Request) (id, code string) {
	id, secret := presented(r)
	switch {
	case how.ClientID != "" && id != how.ClientID,
		how.ClientSecret != "" && secret != how.ClientSecret,
		how.ClientKey != nil && !i.asserted(how, id, r.PostForm),
		how.ClientCert && !i.certified(r):
		return "", "invalid_client"
	}
	return id, ""
}

// presented are the id and secret of the Basic header, form-encoded as RFC 6749
// section 2.3.1 wants them, or of the body.
func presented(r *http.Request) (id, secret string) {
	user, password, basic := r.BasicAuth()
	if !basic {
		return r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	}
	id, _ = url.QueryUnescape(user)
	secret, _ = url.QueryUnescape(password)
	return id, secret
}

// asserted judges a client assertion by RFC 7523 section 3; each jti is good once.
func (i *Issuer) asserted(how Behaviour, id string, form url.Values) bool {
	if form.Get("client_assertion_type") != assertionType {
		return false
	}
	jws, err := jose.ParseSignedCompact(form.Get("client_assertion"), []jose.SignatureAlgorithm{
		jose.ES256, jose.ES384, jose.ES512, jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.EdDSA,
	})
	if err != nil {
		return false
	}
	payload, err := jws.Verify(how.ClientKey)
	var claims struct {
		Iss, Sub, Aud, Jti string
		Iat, Exp           int64
	}
	if err != nil || json.Unmarshal(payload, &claims) != nil {
		return false
	}
	now := time.Now().Unix()
	timely := claims.Iat <= now+1 && claims.Exp > now && claims.Exp <= now+600
	known := claims.Iss == id && claims.Sub == id && (claims.Aud == i.URL || claims.Aud == i.URL+TokenPath)
	return timely && known && i.first(claims.Jti)
}

// first reports whether nobody has used the jti before.
func (i *Issuer) first(jti string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	used := i.assertions[jti]
	i.assertions[jti] = true
	return jti != "" && !used
}

// certified reports whether the client showed a certificate of our authority.
func (i *Issuer) certified(r *http.Request) bool {
	return len(r.TLS.PeerCertificates) > 0 && r.TLS.PeerCertificates[0].CheckSignatureFrom(i.CA.cert) == nil
}
