package config

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/profile"
)

const leastLifetime = 30 * time.Second

// A tokenText is a token block as it is written.
type tokenText struct {
	Source    cty.Value      `hcl:"source"`
	Profile   string         `hcl:"profile,optional"`
	Subject   string         `hcl:"subject,optional"`
	Audience  []string       `hcl:"audience,optional"`
	Scope     []string       `hcl:"scope,optional"`
	Unlimited bool           `hcl:"unlimited,optional"`
	Claims    map[string]any `hcl:"claims,optional"`
	Lifetime  time.Duration  `hcl:"lifetime,optional"`
	ForEach   cty.Value      `hcl:"for_each,optional"`
	Required  bool           `hcl:"required,optional"`
	OnExpired string         `hcl:"on_expired,optional"`
	OnRemove  string         `hcl:"on_remove,optional"`
}

// tokenAttributes are the attributes of a token block.
var tokenAttributes = fieldNames(fieldsOf(reflect.TypeFor[tokenText]()))

// A token is a token block, or one instance of it, on its way to a Renewer.
type token struct {
	*Block
	text    tokenText
	from    *source // nil after a fault
	request agent.Request
	digest  *digest
	sinks   []Sink
}

// blocksInToken are the kinds of blocks that a token block may hold.
func (l *loading) blocksInToken() []string {
	known := []string{"renew", "sink"}
	if l.kinds.Hook != nil {
		known = append(known, "hook")
	}
	if l.kinds.Validate != nil {
		known = append(known, "validate")
	}
	return known
}

// decodeTokens makes the Renewers of all token blocks.
func (l *loading) decodeTokens() (renewers []agent.Renewer) {
	for _, s := range l.eval.tokenOrder {
		for _, in := range l.eval.instances(s) {
			r := l.decodeToken(s, in)
			if in == nil || !in.checkOnly {
				renewers = append(renewers, r)
			}
		}
	}
	return renewers
}

// decodeToken makes the Renewer of a token block, or of one instance of it. After an
// error it is of no use.
func (l *loading) decodeToken(s *stanza, in *instance) agent.Renewer {
	name := s.labels[0]
	if in != nil {
		name = in.name
	}
	t := &token{Block: l.block(s, name, in), text: tokenText{Required: true}}
	t.Decode(&t.text, l.blocksInToken()...)
	t.OneOf("on_expired", t.text.OnExpired, "keep", "remove")
	t.OneOf("on_remove", t.text.OnRemove, "keep", "delete")
	t.from = t.findSource()
	t.request = t.makeRequest()
	t.digest = t.tokenDigest(t.from)
	r := agent.Renewer{
		Name:          name,
		Request:       t.request,
		Schedule:      t.schedule(),
		Required:      t.text.Required || l.settings.RequireAll,
		RemoveExpired: t.text.OnExpired == "remove",
		DeleteRemoved: t.text.OnRemove == "delete",
		Decode:        inPlace,
	}
	t.decodeSinks()
	for _, sink := range t.sinks {
		r.Sinks = append(r.Sinks, sink.Target)
	}
	r.Hooks, r.Validation = t.hooks(r.Schedule), t.validation()
	if t.from != nil {
		t.check()
		t.addCandidates()
		t.checkCircle()
		r.Source, r.Issuer = t.from.Source.Source, t.from.Issuer
		r.Accept, r.Digest = accept(t.request, t.from.Source), t.digest.hex()
		r.Form = t.from.Form
		if t.from.Opaque {
			r.Decode = func(s agent.Secret) (agent.Token, error) { return agent.Token{Secret: s}, nil }
		}
	}
	return r
}

// findSource is the source that the block names, or surely means; nil where there is none.
func (t *token) findSource() *source {
	v := t.text.Source
	if v == cty.NilVal || !v.IsKnown() {
		return t.meantSource()
	}
	if v.Type() == sourceType {
		return v.EncapsulatedValue().(*source)
	}
	t.Fault("source", "wrong type for source", wrongSourceHint(v))
	return nil
}

// meantSource is the source that a misspelt name surely means, or the first instance of the
// one that is named with a wrong key; nil where there is none. With it the other faults of
// the token are found.
func (t *token) meantSource() *source {
	a := t.stanza.attribute("source")
	if a == nil || len(a.references) == 0 {
		return nil
	}
	kind, _ := memberName(a.references[0], 1)
	name, _ := memberName(a.references[0], 2)
	if a.references[0].RootName() == issuerKind {
		kind, name = issuerKind, kind
	}
	var names []string
	for known := range t.load.sources {
		if known.kind == kind {
			names = append(names, known.name)
		}
	}
	slices.Sort(names)
	return t.load.sources[sourceName{kind, profile.Meant(name, names)}]
}

// makeRequest is what the block asks for, with the profile and lifetime of the source.
func (t *token) makeRequest() agent.Request {
	text, from := t.text, t.from
	text.Profile = t.profile()
	known := text.Profile != "" || from != nil && !t.Wrong("profile")
	if text.Unlimited && known && text.Profile != "htcondor" {
		t.Fault("unlimited", "unlimited is for IDTOKENs alone", "leave it out; only HTCondor takes a token without scope for one without limit")
	}
	switch {
	case !t.Has("lifetime"):
		if from != nil {
			text.Lifetime = from.Lifetime
		}
	case t.Wrong("lifetime"):
	case text.Lifetime < leastLifetime:
		t.Fault("lifetime", "the lifetime is too short", `it is at least "30s"`)
		text.Lifetime = 0 // nothing is compared with it
	case text.Lifetime > agent.MaxLife:
		t.Fault("lifetime", "the lifetime is too long", "it is at most ten years")
	}
	return agent.Request{
		Profile:   text.Profile,
		Subject:   text.Subject,
		Audience:  text.Audience,
		Scope:     text.Scope,
		Unlimited: text.Unlimited,
		Claims:    text.Claims,
		Lifetime:  text.Lifetime,
	}
}

// profile is the one that the block names or surely means, otherwise the only one of its
// source.
func (t *token) profile() string {
	named := t.text.Profile
	t.OneOf("profile", named, profile.Names()...)
	if t.Wrong("profile") {
		named = profile.Meant(named, profile.Names())
	}
	if t.from == nil || t.from.Profile == "" {
		return named
	}
	if named != t.from.Profile && named != "" {
		t.Fault("profile", fmt.Sprintf("wrong profile %q for the source", named),
			fmt.Sprintf("%s issues for the profile %s alone; leave the attribute out", t.from.Name, t.from.Profile))
	}
	return t.from.Profile
}

// check reports what the source finds wrong with the request, as far as that could be
// read.
func (t *token) check() {
	if t.from.Check == nil {
		return
	}
	for _, p := range t.from.Check(t.request) {
		attr := t.origin(p.Claim)
		if t.hides(attr, p.Claim) || t.from.explains(p.Claim) {
			continue // it may be right when that error is corrected
		}
		severity := severityError
		if p.Warning {
			severity = severityWarning
		}
		summary, detail, _ := strings.Cut(p.String(), "; ")
		t.report(severity, t.placeOfClaim(attr, p.Claim), summary, detail)
	}
}

// hides reports whether an error at the attribute may be why the claim is wrong. A misspelt
// source or profile is not: the check was made with the one that is meant.
func (t *token) hides(attr, claim string) bool {
	_, further := t.request.Claims[claim]
	known := attr == "source" || attr == "profile" && t.request.Profile != ""
	return t.Wrong(attr) && !further && !known
}

// tokenOrigins are the attributes of a token block that claims and header parameters
// come from.
var tokenOrigins = map[string]string{
	"aud": "audience", "scope": "scope", "sub": "subject", "exp": "lifetime",
	"iss": "source", "alg": "source", "kid": "source", "typ": "source", "": "profile",
}

// origin is the attribute that the claim comes from.
func (t *token) origin(claim string) string {
	attr, known := tokenOrigins[claim]
	if _, further := t.request.Claims[claim]; further || !known {
		return "claims"
	}
	return attr
}

// placeOfClaim is where a problem with a claim from that attribute is shown.
func (t *token) placeOfClaim(attr, claim string) hcl.Range {
	if a := t.stanza.attribute(attr); a != nil && attr == "claims" {
		if at := itemRange(a.expr, claim); !at.Empty() {
			return at
		}
	}
	return t.place(attr)
}

// inPlace reads the times and IDs of a token that is already in a sink. An opaque one has
// none.
func inPlace(s agent.Secret) (agent.Token, error) {
	t := agent.Token{Secret: s}
	decoded, err := profile.Decode(s.Reveal())
	if errors.Is(err, profile.ErrNoJWT) {
		return t, nil
	}
	t.Issued, _ = profile.Instant(decoded.Claims["iat"])
	t.Expires, _ = profile.Instant(decoded.Claims["exp"])
	t.ID, t.KeyID = loggable(decoded.Claims["jti"]), loggable(decoded.Header["kid"])
	return t, err
}

// loggable is a text of a token's as a log can show it: short, and without what could
// pass for something else there.
func loggable(v any) string {
	const most = 100
	text, _ := v.(string)
	text = strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '?'
		}
		return r
	}, text)
	if len(text) > most {
		text = text[:most] + "..."
	}
	return text
}

// accept checks a finished token before it is installed: it must be what was asked for, as
// far as it can be read, and what its profile demands. Audience and scope are left out
// where the source has compared them itself.
func accept(req agent.Request, from Source) func(agent.Token) error {
	skip := func(p profile.Problem) bool {
		_, further := req.Claims[p.Claim]
		return from.ComparesScope && (p.Claim == "aud" || p.Claim == "scope" || p.Claim == "wlcg.groups" && !further)
	}
	return func(t agent.Token) error {
		if from.Opaque {
			return nil
		}
		decoded, err := profile.Decode(t.Secret.Reveal())
		if err != nil && req.Profile == "" {
			return nil // opaque: only its issuer can read it
		}
		if err != nil {
			return &agent.Fault{Kind: agent.Configuration, Err: err}
		}
		var texts []string
		differences := slices.DeleteFunc(profile.Matches(decoded, req), skip)
		for _, p := range slices.Concat(differences, profile.Check(req.Profile, profile.Normalised(decoded))) {
			if !p.Warning && !slices.Contains(texts, p.String()) {
				texts = append(texts, p.String())
			}
		}
		if len(texts) == 0 {
			return nil
		}
		return &agent.Fault{Kind: agent.Configuration, Err: errors.New("the token is not as asked: " + strings.Join(texts, "; "))}
	}
}
