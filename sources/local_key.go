package sources

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/agent/profile"
	"github.com/tokenagent/tokenagent/sources/keys"
)

// A localKey signs tokens itself, as the simple issuer of a collaboration, an
// OSDF origin or ClusterCockpit does:
//
//	source "local_key" "ospool" {
//	  issuer    = "https://ospool.example.org"      # as its metadata says; needed by the profiles wlcg and scitokens
//	  key_file  = "/etc/tokenagent/keys/ospool.pem" # PEM, JWK or ClusterCockpit's base64; read at load, never for a token
//	  key_id    = "2026-11"                         # default: the kid of a JWK, else the RFC 7638 thumbprint
//	  algorithm = "ES256"                           # default: by the kind of the key
//	}
type localKey struct {
	issuer string      // "" for tokens without iss
	file   string      // "" when the key came from elsewhere
	key    keys.Key    // zero when it was not read
	header header      // of every token
	signer jose.Signer // made once; nil without a key
}

// A header is the JOSE header of a token (RFC 7515 section 4).
type header struct{ algorithm, keyID string }

// decodeLocalKey decodes a source "local_key". Without a key that can be used it
// still returns the source, so that the tokens of it are checked in the same run.
func decodeLocalKey(b *config.Block) agent.Source {
	var set struct {
		Issuer    string `hcl:"issuer,optional"`
		KeyFile   string `hcl:"key_file,path"`
		KeyID     string `hcl:"key_id,optional"`
		Algorithm string `hcl:"algorithm,optional"`
	}
	if !b.Decode(&set) {
		return nil
	}
	if set.Algorithm != "" && !slices.Contains(keys.Algorithms(), set.Algorithm) {
		b.Fault("algorithm", fmt.Sprintf("unknown algorithm %q", set.Algorithm), "allowed are "+strings.Join(keys.Algorithms(), ", "))
		return nil
	}
	unread := &localKey{issuer: set.Issuer, file: set.KeyFile, header: header{set.Algorithm, set.KeyID}}
	if b.DefinitionsOnly() {
		return unread
	}
	key, err := keys.Read(set.KeyFile)
	if err != nil {
		b.Fault("key_file", "no usable key", err.Error())
		return unread
	}
	if key, err = key.WithAlgorithm(set.Algorithm); err != nil {
		b.Fault("algorithm", "wrong algorithm for the key", err.Error())
		return unread
	}
	s, err := newLocalKey(key.WithID(set.KeyID), set.Issuer)
	if err != nil {
		b.Fault("key_file", "no usable key", err.Error())
		return unread
	}
	s.file = set.KeyFile
	return s
}

// NewLocalKey returns a Source that signs tokens of issuer with key, which must
// not be zero; issuer is "" for tokens without the claim iss. The Source is a
// config.Checker.
func NewLocalKey(key keys.Key, issuer string) (agent.Source, error) {
	return newLocalKey(key, issuer)
}

func newLocalKey(key keys.Key, issuer string) (*localKey, error) {
	signer, err := jose.NewSigner(jose.SigningKey{
		Algorithm: jose.SignatureAlgorithm(key.Algorithm()),
		Key:       jose.JSONWebKey{Key: key.Private(), KeyID: key.ID()},
	}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return nil, err
	}
	return &localKey{issuer: issuer, key: key, header: header{key.Algorithm(), key.ID()}, signer: signer}, nil
}

// DefaultLifetime is that of a token block that names none.
func (s *localKey) DefaultLifetime() time.Duration { return time.Hour }

// Issue signs a token for req. Its exp is the whole second that Expires says.
func (s *localKey) Issue(ctx context.Context, req agent.Request) (agent.Token, error) {
	if err := ctx.Err(); err != nil {
		return agent.Token{}, err
	}
	now := time.Now()
	claims, problems := s.claims(req, now)
	if len(problems) > 0 {
		return agent.Token{}, configurationFault(errors.New(problems[0].String()))
	}
	text, err := s.sign(claims)
	if err != nil {
		return agent.Token{}, configurationFault(err)
	}
	return agent.Token{Secret: agent.NewSecret(text), Issued: now, Expires: expiry(now, req.Lifetime)}, nil
}

func configurationFault(err error) error {
	return &agent.Fault{Kind: agent.Configuration, Err: err}
}

func (s *localKey) sign(claims map[string]any) (string, error) {
	if s.signer == nil {
		return "", errors.New("the key was not read; only definitions were looked at")
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("claims: %w", err)
	}
	jws, err := s.signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("signing: %w", err)
	}
	return jws.CompactSerialize()
}

// Check returns what is wrong with the tokens that Issue would make for req, by
// the rules of its profile. It signs nothing.
func (s *localKey) Check(req agent.Request) []profile.Problem {
	claims, problems := s.claims(req, time.Now())
	t := profile.Token{Header: s.header.parameters(req.Profile), Claims: claims}
	problems = append(problems, profile.Check(req.Profile, t)...)
	if payload, err := json.Marshal(claims); err != nil {
		problems = append(problems, profile.Problem{Text: "the claims cannot be written as JSON; " + err.Error()})
	} else if size := len(payload) * 4 / 3; size > profile.MaxSize {
		text := fmt.Sprintf("the token would have more than %d bytes; readers take at most %d", size, profile.MaxSize)
		problems = append(problems, profile.Problem{Text: text})
	}
	return problems
}

// parameters are the header as profile takes it. Where no key was read, it is
// taken to be one that the profile allows.
func (h header) parameters(name string) map[string]any {
	if h.algorithm == "" {
		h.algorithm = append(profile.Algorithms(name), "ES256")[0]
	}
	if h.keyID == "" {
		h.keyID = "(not read)"
	}
	return map[string]any{"alg": h.algorithm, "kid": h.keyID, "typ": "JWT"}
}

// early is how long before iat a token is valid, for verifiers whose clocks are slow.
const early = time.Minute

// claims returns what a token for req is to say when it is signed at the time
// now, and where the further claims of req contradict what it must say.
func (s *localKey) claims(req agent.Request, now time.Time) (map[string]any, []profile.Problem) {
	claims := map[string]any{
		"iat": now.Unix(),
		"nbf": now.Add(-early).Unix(),
		"exp": expiry(now, req.Lifetime).Unix(),
		"jti": newID(),
	}
	setText(claims, "iss", s.issuer)
	setText(claims, "sub", req.Subject)
	setText(claims, "scope", strings.Join(req.Scope, " "))
	if aud := audience(req.Audience); aud != nil {
		claims["aud"] = aud
	}
	maps.Copy(claims, profile.Claims(req.Profile))
	return claims, addFurther(claims, req.Claims)
}

// addFurther adds further claims to those set. One that is set already must be
// equal; the times and jti are new in each token, and never are.
func addFurther(set, further map[string]any) []profile.Problem {
	var problems []profile.Problem
	for _, name := range slices.Sorted(maps.Keys(further)) {
		own, taken := set[name]
		switch {
		case !taken:
			set[name] = further[name]
		case name == "iat" || name == "nbf" || name == "exp" || name == "jti":
			problems = append(problems, profile.Problem{Claim: name, Text: "it is set anew in each token; leave it out of the further claims"})
		case !reflect.DeepEqual(own, further[name]):
			text := fmt.Sprintf("a further claim says %v, but it is set to %v; leave it out of the further claims", further[name], own)
			problems = append(problems, profile.Problem{Claim: name, Text: text})
		}
	}
	return problems
}

// expiry is the whole second at which a token signed at the time now ends: exp
// and the agent's own idea of it must agree, for verifiers give no leeway.
func expiry(now time.Time, lifetime time.Duration) time.Time {
	return time.Unix(now.Unix()+int64(lifetime/time.Second), 0)
}

// newID is a fresh jti in the form that HTCondor uses: 32 lower-case
// hexadecimal digits.
func newID() string {
	var id [16]byte
	rand.Read(id[:]) // never fails, as crypto/rand says
	return hex.EncodeToString(id[:])
}

func setText(claims map[string]any, name, text string) {
	if text != "" {
		claims[name] = text
	}
}

// audience is one entry as a string, several as an array (RFC 7519 section
// 4.1.3), and nil for none.
func audience(entries []string) any {
	switch len(entries) {
	case 0:
		return nil
	case 1:
		return entries[0]
	}
	list := make([]any, len(entries))
	for i, entry := range entries {
		list[i] = entry
	}
	return list
}

// WriteKey writes what tells this key from another into a keyed digest.
func (s *localKey) WriteKey(w io.Writer) {
	if s.key.IsZero() {
		return
	}
	if jwk, err := s.key.MarshalJWK(); err == nil { // fails for no key that Parse returns
		w.Write(jwk)
	}
}

// Files returns the key's file.
func (s *localKey) Files() []string {
	if s.file == "" {
		return nil
	}
	return []string{s.file}
}
