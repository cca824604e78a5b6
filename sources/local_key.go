package sources

import (
	"context"
	"fmt"
	"maps"
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
//	  key_file  = "/etc/tokenagent/keys/ospool.pem" # PEM, JWK, JWKS or ClusterCockpit's base64; read at load, never for a token
//	  key_id    = "2026-11"                         # default: the kid of a JWK, else the RFC 7638 thumbprint; of a JWKS it chooses the key
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

func decodeLocalKey(b *config.Block) config.Source {
	var set struct {
		Issuer    string `hcl:"issuer,optional"`
		KeyFile   string `hcl:"key_file,path"`
		KeyID     string `hcl:"key_id,optional"`
		Algorithm string `hcl:"algorithm,optional"`
	}
	b.Decode(&set)
	if set.Algorithm != "" && !slices.Contains(keys.Algorithms(), set.Algorithm) {
		b.Fault("algorithm", fmt.Sprintf("unknown algorithm %q", set.Algorithm), "allowed are "+strings.Join(keys.Algorithms(), ", "))
		set.Algorithm = ""
	}
	if err := keys.CheckID(set.KeyID); err != nil {
		b.Fault("key_id", "no usable key_id", err.Error())
		set.KeyID = ""
	}
	s := &localKey{issuer: set.Issuer, file: set.KeyFile, header: header{set.Algorithm, set.KeyID}}
	if s.file != "" && !b.DefinitionsOnly() {
		s.read(b)
	}
	return s.facts()
}

// read makes the source sign with the key in its file. After a fault it has none, and
// the tokens of the source are checked without it.
func (s *localKey) read(b *config.Block) {
	key, err := keys.Read(s.file, s.header.keyID)
	if err != nil {
		b.Fault(keyAttr(b, err, "key_id", "key_file"), "no usable key", err.Error())
		return
	}
	if key, err = key.WithAlgorithm(s.header.algorithm); err != nil {
		b.Fault("algorithm", "wrong algorithm for the key", err.Error())
		return
	}
	signing, err := newLocalKey(key, s.issuer)
	if err != nil {
		b.Fault("key_file", "no usable key", err.Error())
		return
	}
	s.key, s.header, s.signer = signing.key, signing.header, signing.signer
	warnOfKeyFile(b, "key_file", s.file)
}

// facts are those of the source, as far as they are known.
func (s *localKey) facts() config.Source {
	return config.Source{
		Source:   s,
		Lifetime: time.Hour,
		Files:    present(s.file),
		Check:    s.check,
		Key:      config.SigningKey{Issuer: s.issuer, ID: s.header.keyID, Mark: s.mark()},
	}
}

// mark tells the key from another.
func (s *localKey) mark() agent.Secret {
	if s.key.IsZero() {
		return agent.Secret{}
	}
	jwk, _ := s.key.MarshalJWK() // fails for no key that Parse returns
	return agent.NewSecret(string(jwk))
}

// NewLocalKey returns a source that signs tokens of issuer with key, which must
// not be zero; issuer is "" for tokens without the claim iss.
func NewLocalKey(key keys.Key, issuer string) (config.Source, error) {
	s, err := newLocalKey(key, issuer)
	if err != nil {
		return config.Source{}, err
	}
	return s.facts(), nil
}

func newLocalKey(key keys.Key, issuer string) (*localKey, error) {
	if err := keys.CheckID(key.ID()); err != nil {
		return nil, err
	}
	signer, err := jose.NewSigner(jose.SigningKey{
		Algorithm: jose.SignatureAlgorithm(key.Algorithm()),
		Key:       jose.JSONWebKey{Key: key.Private(), KeyID: key.ID()},
	}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return nil, err
	}
	return &localKey{issuer: issuer, key: key, header: header{key.Algorithm(), key.ID()}, signer: signer}, nil
}

// Issue signs a token for req.
func (s *localKey) Issue(ctx context.Context, req agent.Request) (agent.Token, error) {
	return issueSigned(ctx, s.signer, req, s.claims)
}

// check returns what is wrong with the tokens that Issue would make for req, by
// the rules of its profile. It signs nothing.
func (s *localKey) check(req agent.Request) []profile.Problem {
	claims, problems := s.claims(req, time.Now())
	t := profile.Token{Header: s.header.parameters(req.Profile), Claims: claims}
	problems = append(problems, profile.Check(req.Profile, t)...)
	return append(problems, unwritable(t, s.key.SignatureSize())...)
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

// claims returns what a token for req is to say when it is signed at the time
// now, and where the further claims of req contradict what it must say.
func (s *localKey) claims(req agent.Request, now time.Time) (map[string]any, []profile.Problem) {
	claims := requested(s.issuer, req, now)
	maps.Copy(claims, profile.Claims(req.Profile))
	return claims, addFurther(claims, req.Claims)
}
