package sources

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/agent/profile"
	"github.com/tokenagent/tokenagent/sources/keys"
)

// An htcondor signs IDTOKENs with a key of an HTCondor pool, as
// condor_token_create does. Beside the claims of that program they have nbf, which
// HTCondor ignores: GlideinWMS 3.11 cannot read a token without it.
//
//	source "htcondor" "pool" {
//	  key_file     = "/etc/tokenagent/keys/POOL" # default: SEC_TOKEN_POOL_SIGNING_KEY_FILE of this machine's HTCondor
//	  key_id       = "POOL"                      # default: POOL for the pool's key, else the file's name
//	  trust_domain = "cm.example.org"            # default: TRUST_DOMAIN of this machine's HTCondor
//	}
type htcondor struct {
	trustDomain string         // the claim iss
	file        string         // of the key; "" when nobody names it
	keyID       string         // the header kid
	key         keys.CondorKey // zero when it was not read
	signer      jose.Signer    // made once; nil without a key
	age         ageLimit
}

// An ageLimit is SEC_TOKEN_MAX_AGE of this machine's HTCondor: servers refuse a
// token so long after its iat, whatever its exp.
type ageLimit struct {
	most      time.Duration // zero: none is known
	elsewhere bool          // the tokens are for another trust domain, whose servers may think otherwise
}

const (
	condorProfile  = "htcondor"     // of every IDTOKEN
	condorLifetime = 24 * time.Hour // of a token block that names none
)

// The names by which HTCondor's configuration says what a block leaves out.
const (
	trustDomainKnob = "TRUST_DOMAIN"
	poolKeyKnob     = "SEC_TOKEN_POOL_SIGNING_KEY_FILE"
	maxAgeKnob      = "SEC_TOKEN_MAX_AGE"
)

// decodeHTCondor decodes a source "htcondor". Without a key that can be used it
// still returns the source, so that the tokens of it are checked in the same run.
func decodeHTCondor(b *config.Block) config.Source {
	var set struct {
		KeyFile     string `hcl:"key_file,optional,path"`
		KeyID       string `hcl:"key_id,optional"`
		TrustDomain string `hcl:"trust_domain,optional"`
	}
	b.Decode(&set)
	complete := set.KeyFile != "" && set.KeyID != "" && set.TrustDomain != ""
	s := &htcondor{
		trustDomain: orKnob(b, "trust_domain", set.TrustDomain, trustDomainKnob),
		file:        keyFile(b, set.KeyFile),
	}
	if set.KeyID == "" {
		set.KeyID = keyIDOf(b, s.file)
	}
	s.keyID = set.KeyID
	s.validateNames(b)
	if !b.DefinitionsOnly() {
		if set.TrustDomain == "" {
			warnOfOwnDomain(b, s.trustDomain)
		}
		s.read(b, complete)
	}
	return s.facts()
}

// facts are those of the source, as far as they are known.
func (s *htcondor) facts() config.Source {
	return config.Source{
		Source:   s,
		Profile:  condorProfile,
		Lifetime: condorLifetime,
		Files:    present(s.file),
		Check:    s.check,
		Key: config.SigningKey{
			Issuer: cmp.Or(s.trustDomain, "$("+trustDomainKnob+")"), // the same for all blocks that leave it to the machine's HTCondor
			ID:     s.keyID,
			Mark:   agent.NewSecret(fmt.Sprintf("%q %q %x", s.trustDomain, s.key.ID(), s.key.Signing())), // with what the block leaves out
		},
	}
}

// read makes the source sign with the key in its file. Complete is a block that
// names all that HTCondor could be asked for, which takes longer than signing.
func (s *htcondor) read(b *config.Block, complete bool) {
	if s.file == "" {
		return
	}
	if b.Checking() {
		s.warnOfCondorsKey(b)
	}
	if !complete || b.Checking() {
		s.age = ageLimitOf(b, s.trustDomain)
	}
	key, err := keys.ReadCondor(s.file, s.keyID)
	if err == nil {
		err = s.use(key)
	}
	if err != nil {
		b.Fault("key_file", "no usable key", err.Error())
		return
	}
	warnOfKeyFile(b, "key_file", s.file)
}

// orKnob is what the block sets, or else what HTCondor's configuration says; ""
// after a fault, and where only definitions are looked at.
func orKnob(b *config.Block, attr, set, knob string) string {
	if set != "" || b.DefinitionsOnly() {
		return set
	}
	value, err := b.Knob(knob)
	if err != nil {
		b.Fault(attr, "missing attribute "+attr, fmt.Sprintf("write it in this block, for HTCondor's configuration does not say it (%v)", err))
	}
	return value
}

// keyFile is the path of the key: what the block sets, or else the pool's.
func keyFile(b *config.Block, set string) string {
	file := orKnob(b, "key_file", set, poolKeyKnob)
	if file != "" && !filepath.IsAbs(file) {
		b.Fault("key_file", "no usable key", fmt.Sprintf("%s is the relative path %q; write key_file in this block", poolKeyKnob, file))
		return ""
	}
	return file
}

// keyIDOf is the kid of the key in the file, where the block names none.
func keyIDOf(b *config.Block, file string) string {
	if file == "" {
		return keys.PoolKey // for which HTCondor's configuration was asked, or would be
	}
	if !b.DefinitionsOnly() {
		if pool, err := b.Knob(poolKeyKnob); err == nil && filepath.Clean(pool) == filepath.Clean(file) {
			return keys.PoolKey
		}
	}
	return filepath.Base(file)
}

// validateNames reports a kid and a trust domain that HTCondor does not take, once
// for all tokens of the source.
func (s *htcondor) validateNames(b *config.Block) {
	for _, p := range s.problems(map[string]any{"iss": s.trustDomain}, s.keyID) {
		attr := map[string]string{"iss": "trust_domain", "kid": "key_id"}[p.Claim]
		if attr == "" || p.Claim == "iss" && s.trustDomain == "" {
			continue
		}
		summary, detail, _ := strings.Cut(attr+": "+p.Text, "; ")
		if p.Warning {
			b.Warn(attr, summary, detail)
		} else {
			b.Fault(attr, summary, detail)
		}
	}
}

// ageLimitOf asks HTCondor's configuration, in which most pools set no limit.
func ageLimitOf(b *config.Block, trustDomain string) ageLimit {
	text, err := b.Knob(maxAgeKnob)
	if err != nil {
		return ageLimit{}
	}
	seconds, err := strconv.ParseInt(text, 10, 32) // an int of HTCondor's
	if err != nil || seconds <= 0 {
		return ageLimit{}
	}
	here, err := b.Knob(trustDomainKnob)
	return ageLimit{time.Duration(seconds) * time.Second, err == nil && here != trustDomain}
}

// use makes the source sign with key.
func (s *htcondor) use(key keys.CondorKey) error {
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.HS256, Key: key.Signing()},
		(&jose.SignerOptions{}).WithHeader("kid", key.ID()),
	)
	s.key, s.signer = key, signer
	return err
}

// Issue signs a token for req. It refuses whatever check calls a fault of the
// claims: to HTCondor a slip in the scope is no limit at all.
func (s *htcondor) Issue(ctx context.Context, req agent.Request) (agent.Token, error) {
	return issueSigned(ctx, s.signer, req, s.claims)
}

// check returns what is wrong with the tokens that Issue would make for req. It
// signs nothing.
func (s *htcondor) check(req agent.Request) []profile.Problem {
	claims, problems := s.claims(req, time.Now())
	t := profile.Token{Header: condorHeader(s.key.ID()), Claims: claims}
	return slices.Concat(problems, s.age.problems(req.Lifetime), unwritable(t, sha256.Size))
}

// claims returns what a token for req is to say when it is signed at the time
// now, and what is wrong with that.
func (s *htcondor) claims(req agent.Request, now time.Time) (map[string]any, []profile.Problem) {
	claims := requested(s.trustDomain, req, now)
	problems := addFurther(claims, req.Claims)
	for _, p := range s.problems(claims, s.key.ID()) {
		switch {
		case p.Claim == "kid" || p.Claim == "iss": // has been said of the source
		case p.Claim == "scope" && p.Warning: // none, which Matches compares with what was asked for
		default:
			problems = append(problems, p)
		}
	}
	asked := agent.Request{Profile: condorProfile, Scope: req.Scope, Unlimited: req.Unlimited}
	return claims, append(problems, profile.Matches(profile.Token{Claims: claims}, asked)...)
}

// problems are what HTCondor says of a token with those claims and that kid.
func (s *htcondor) problems(claims map[string]any, keyID string) []profile.Problem {
	return profile.Check(condorProfile, profile.Token{Header: condorHeader(keyID), Claims: claims})
}

// condorHeader is that of an IDTOKEN, as profile takes it.
func condorHeader(keyID string) map[string]any {
	return map[string]any{"alg": string(jose.HS256), "kid": keyID}
}

// problems is what the limit says of tokens that live so long.
func (l ageLimit) problems(lifetime time.Duration) []profile.Problem {
	if l.most == 0 || lifetime <= l.most {
		return nil
	}
	text := fmt.Sprintf("the token lives %d s, but HTCondor refuses it after %d (%s); ask for a lifetime of at most \"%[2]ds\"",
		lifetime/time.Second, l.most/time.Second, maxAgeKnob)
	return []profile.Problem{{Claim: "exp", Text: text, Warning: l.elsewhere}}
}
