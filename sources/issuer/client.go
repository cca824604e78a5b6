package issuer

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/sources/keys"
)

// A Client is who asks, and how it proves that. Its files are read at each use,
// so that what they hold can be replaced at any time.
type Client struct {
	ID         string // the parameter client_id
	Auth       string // one of Auths
	SecretFile string // for client_secret_basic and client_secret_post; one line end at its end is not part of the secret
	KeyFile    string // the private key for private_key_jwt and tls_client_auth
	CertFile   string // the certificate for tls_client_auth, with those between it and its authority, in PEM

	KeyID         string // for private_key_jwt: see Assertion; "": the key's own
	Audience      string // for private_key_jwt: the aud of what is signed; "": the issuer
	Asserted      Asserted
	AssertionType string // for AuthAsserted: client_assertion_type; "": by what the JWT is
}

// Asserted reads a JWT that others keep fresh and that proves who the client is, for
// AuthAsserted. It is comparable. Its errors are faults.
type Asserted interface {
	Read(now time.Time) (agent.Secret, error)
}

// AuthAsserted is the Client.Auth that shows what Client.Asserted reads.
const AuthAsserted = "client_assertion_file"

// Auths are the ways in which a Client can prove who it is, as OpenID Connect
// Core section 9 and RFC 8705 section 2.1.1 name them.
func Auths() []string {
	return []string{"client_secret_basic", "client_secret_post", "private_key_jwt", "tls_client_auth", "none"}
}

// Check says what is wrong unless Auth is one of Auths and its files are there, well
// kept and readable. Each error names its file. What others keep fresh may come later.
func (c Client) Check() []error {
	switch c.Auth {
	case "tls_client_auth":
		return c.certificate().check()
	case AuthAsserted:
		return nil
	}
	if _, err := c.prove("https://issuer.invalid", time.Now()); err != nil {
		return []error{err}
	}
	return nil
}

// A proof is what one request shows of its client.
type proof struct {
	style      oauth2.AuthStyle
	id, secret string
	assertion  agent.Secret // zero where none is shown
	kind       string       // its client_assertion_type
}

// prove makes the proof for one request to that issuer, at now by its clock.
func (c Client) prove(issuer string, now time.Time) (proof, error) {
	p := proof{style: oauth2.AuthStyleInParams, id: c.ID}
	var err error
	switch c.Auth {
	case "client_secret_basic":
		p.style = oauth2.AuthStyleInHeader
		p.secret, err = readSecret(c.SecretFile)
	case "client_secret_post":
		p.secret, err = readSecret(c.SecretFile)
	case "private_key_jwt":
		p.kind = assertionType
		p.assertion, err = Assertion{c.KeyFile, c.KeyID, c.ID, c.ID, cmp.Or(c.Audience, issuer), nil}.Sign(now)
	case AuthAsserted:
		p.assertion, err = c.Asserted.Read(now)
		p.kind = cmp.Or(c.AssertionType, typeOfAssertion(p.assertion))
	case "tls_client_auth", "none":
	default:
		err = fmt.Errorf("client_auth: there is no %q; allowed are %s", c.Auth, strings.Join(Auths(), ", "))
	}
	return p, err
}

// certificate is that which the connections for the client show.
func (c Client) certificate() certificate {
	if c.Auth != "tls_client_auth" {
		return certificate{}
	}
	return certificate{c.CertFile, c.KeyFile}
}

// readSecret reads a client secret; it must be one line.
func readSecret(path string) (string, error) {
	data, err := keys.ReadSecretFile(path)
	if err != nil {
		return "", err
	}
	secret := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	switch {
	case secret == "":
		err = errors.New("it is empty; the client's secret belongs there")
	case strings.ContainsAny(secret, "\r\n\x00"):
		err = errors.New("it has several lines; wanted is the client's secret alone")
	default:
		return secret, nil
	}
	return "", at(path, err)
}

// parameters are the members of a request's body that are the proof, but for
// client_id and client_secret, which oauth2 writes.
func (p proof) parameters() url.Values {
	if p.kind == "" {
		return url.Values{}
	}
	return url.Values{"client_assertion_type": {p.kind}, "client_assertion": {p.assertion.Reveal()}}
}

// apply puts the whole proof into a request of our own, as oauth2 does it.
func (p proof) apply(header http.Header, body url.Values) {
	for name, values := range p.parameters() {
		body[name] = values
	}
	if p.style == oauth2.AuthStyleInHeader {
		r := http.Request{Header: header}
		r.SetBasicAuth(url.QueryEscape(p.id), url.QueryEscape(p.secret))
		return
	}
	if p.id != "" {
		body.Set("client_id", p.id)
	}
	if p.secret != "" {
		body.Set("client_secret", p.secret)
	}
}

// secrets are the parts of the proof that nobody may see.
func (p proof) secrets() []string {
	return slices.DeleteFunc([]string{p.secret, p.assertion.Reveal()}, func(s string) bool { return s == "" })
}
