package sources

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/sources/issuer"
	"github.com/tokenagent/tokenagent/sources/keys"
)

// A jwtBearer source shows the issuer a JWT of somebody whom it trusts, and has a token
// for it (RFC 7523 section 2.1). The JWT lies in a file, or is signed here:
//
//	source "jwt_bearer" "robot" {
//	  issuer             = "https://iam.example.org/"
//	  key_file           = "/etc/tokenagent/keys/robot.pem" # or assertion_file: a JWT that others keep fresh, read again for each request
//	  key_id             = "2026-11"                        # the kid of what is signed; default: that of a JWK, else the thumbprint
//	  assertion_issuer   = "robot"                          # iss; default: client_id
//	  assertion_subject  = "robot"                          # sub; default: as iss
//	  assertion_audience = "https://iam.example.org/token"  # aud; default: issuer
//	  assertion_claims   = { scope = "storage.read:/" }     # further claims
//	}
//
// client_auth is "none" unless it is set: few issuers want the client to prove itself too.
type jwtBearer struct {
	*asker
	file   presented        // without a path where the assertion is signed here
	signed issuer.Assertion // with a key file where it is
}

// A bearerBlock is what a block jwt_bearer has.
type bearerBlock struct {
	fetching
	AssertionFile    string         `hcl:"assertion_file,optional,path"`
	KeyFile          string         `hcl:"key_file,optional,path"`
	KeyID            string         `hcl:"key_id,optional"`
	AssertionIssuer  string         `hcl:"assertion_issuer,optional"`
	AssertionSubject string         `hcl:"assertion_subject,optional"`
	AssertionClaims  map[string]any `hcl:"assertion_claims,optional"`
}

func decodeJWTBearer(b *config.Block) config.Source {
	set := bearerBlock{fetching: fetchingDefaults()}
	set.ClientAuth = "none"
	b.Decode(&set)
	set.signsGrant = b.Has("key_file")
	set.validate(b)
	iss := cmp.Or(set.AssertionIssuer, set.ClientID)
	s := jwtBearer{asker: set.asker(b), file: presented{"assertion", set.AssertionFile, true}}
	s.signed = issuer.Assertion{
		KeyFile: set.KeyFile, KeyID: set.KeyID,
		Issuer: iss, Subject: cmp.Or(set.AssertionSubject, iss), Audience: cmp.Or(set.AssertionAudience, s.server.Name()),
		Claims: set.AssertionClaims,
	}
	facts := s.facts(s)
	facts.Files = append(slices.Clone(s.files), present(set.KeyFile)...)
	return facts
}

// validate reports what is wrong with where the assertion comes from.
func (set *bearerBlock) validate(b *config.Block) {
	switch file, key := b.Has("assertion_file"), b.Has("key_file"); {
	case file && key:
		b.Fault("key_file", "key_file is not used", "assertion_file holds the assertion; leave one of both out")
	case !file && !key && (b.Wrong("assertion_file") || b.Wrong("key_file")): // an unknown attribute is meant for it
	case !file && !key:
		b.Fault("", "missing attribute assertion_file", "write assertion_file, whose JWT something else keeps fresh, or key_file, with which one is signed here")
	case key:
		set.validateSigned(b)
		return
	}
	for _, attr := range []string{"key_id", "assertion_issuer", "assertion_subject", "assertion_claims"} {
		if b.Has(attr) {
			b.Fault(attr, attr+" is not used", "it is for an assertion that is signed here; write key_file in the place of assertion_file, or leave it out")
		}
	}
	if set.AssertionFile != "" {
		inspectFollowed(b, "assertion_file", set.AssertionFile)
	}
}

// validateSigned reports what is wrong with an assertion that is signed here.
func (set *bearerBlock) validateSigned(b *config.Block) {
	if !b.Has("assertion_issuer") && !b.Has("client_id") {
		b.Fault("", "missing attribute assertion_issuer", `write assertion_issuer = "…", the iss that the issuer knows the key by, or client_id, which stands for it`)
	}
	for _, name := range []string{"iss", "sub", "aud", "exp", "iat", "jti"} {
		if _, there := set.AssertionClaims[name]; there {
			b.Fault("assertion_claims", fmt.Sprintf("the claim %s is set elsewhere", name), "iss, sub and aud are assertion_issuer, assertion_subject and assertion_audience; exp, iat and jti are made for each request")
		}
	}
	if set.KeyFile == "" || b.DefinitionsOnly() {
		return
	}
	if _, err := keys.Read(set.KeyFile, set.KeyID); err != nil {
		b.Fault(keyAttr(b, err, "key_id", "key_file"), "no usable key", err.Error())
		return
	}
	warnOfKeyFile(b, "key_file", set.KeyFile)
}

// Follows is the file with the assertion. Its change makes no new token due, since those
// that were given for it live on.
func (s jwtBearer) Follows() (path string, copied bool) {
	return cmp.Or(s.file.path, s.asserted), false
}

// Issue asks for a token, once.
func (s jwtBearer) Issue(ctx context.Context, req agent.Request) (agent.Token, error) {
	assertion, err := s.assertion(ctx)
	if err != nil {
		return agent.Token{}, err
	}
	answer, err := s.grant(ctx, req, issuer.GrantJWTBearer, url.Values{"assertion": {assertion.Reveal()}})
	if err != nil {
		return agent.Token{}, err
	}
	return s.token(ctx, req, answer)
}

// assertion is what is shown now. Its errors are faults.
func (s jwtBearer) assertion(ctx context.Context) (agent.Secret, error) {
	if s.file.path != "" {
		return s.file.Read(s.server.Now(ctx))
	}
	text, err := s.signed.Sign(s.server.Now(ctx))
	if err != nil {
		return agent.Secret{}, configurationFault(err)
	}
	return text, nil
}

func (s jwtBearer) inquire(ctx context.Context, q *Inquiry, requests []agent.Request) []Finding {
	found := s.asker.inquire(ctx, q, issuer.GrantJWTBearer, requests)
	if _, err := s.assertion(ctx); err != nil {
		return append(found, failed("assertion", err))
	}
	return append(found, fine("assertion", "there is one from %s", cmp.Or(s.file.path, s.signed.KeyFile)))
}
