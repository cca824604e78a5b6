package issuer

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/profile"
	"github.com/tokenagent/tokenagent/sources/keys"
)

// An Assertion is what a JWT says that is signed here and shown to an issuer: to prove
// who the client is, or to get a token for it (RFC 7523 section 3).
type Assertion struct {
	KeyFile, KeyID            string // KeyID is sent as kid, and chooses the key of a set; "": the key's own
	Issuer, Subject, Audience string // iss, sub, aud
	Claims                    map[string]any
}

// assertionLife is how long an assertion can be used: long enough for a slow request.
const assertionLife = 2 * time.Minute

// Sign makes the JWT, which is good once. now is the time by the clock of the issuer.
// Its errors name the file of the key.
func (a Assertion) Sign(now time.Time) (agent.Secret, error) {
	key, err := keys.Read(a.KeyFile, a.KeyID)
	if err != nil {
		return agent.Secret{}, err
	}
	claims := map[string]any{}
	maps.Copy(claims, a.Claims)
	maps.Copy(claims, map[string]any{
		"iss": a.Issuer, "sub": a.Subject, "aud": a.Audience, "jti": rand.Text(),
		"iat": now.Unix(), "exp": now.Add(assertionLife).Unix(),
	})
	text, err := sign(key, claims)
	if err != nil { // it may quote the key
		return agent.Secret{}, at("key "+a.KeyFile, errors.New("nothing can be signed with its key"))
	}
	return agent.NewSecret(text), nil
}

func sign(key keys.Key, claims map[string]any) (string, error) {
	signer, err := jose.NewSigner(jose.SigningKey{
		Algorithm: jose.SignatureAlgorithm(key.Algorithm()),
		Key:       jose.JSONWebKey{Key: key.Private(), KeyID: key.ID()},
	}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	signed, err := signer.Sign(text)
	if err != nil {
		return "", err
	}
	return signed.CompactSerialize()
}

// Now is the time by the clock of the issuer, as far as its answers have told it.
func (s *Server) Now(ctx context.Context) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return agent.Now(ctx).Add(-s.skew)
}

// The values of client_assertion_type: RFC 7523 section 2.2, and the draft
// draft-ietf-oauth-spiffe-client-auth for a JWT-SVID.
const (
	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	assertionSVID = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe"
)

// typeOfAssertion is the client_assertion_type that fits a JWT which others made.
func typeOfAssertion(assertion agent.Secret) string {
	t, err := profile.Decode(assertion.Reveal())
	if err != nil {
		return assertionType
	}
	if sub, _ := t.Claims["sub"].(string); strings.HasPrefix(sub, "spiffe://") {
		return assertionSVID
	}
	return assertionType
}
