package config

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
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

// decodeTokens makes the Renewers of all token blocks.
func (l *loading) decodeTokens() []agent.Renewer {
	var renewers []agent.Renewer
	for _, s := range l.tokenOrder {
		for _, in := range l.instances(s) {
			r := l.decodeToken(s, in)
			if in == nil || !in.look {
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
	b := l.block(s, name, in)
	text := tokenText{Required: true}
	b.decode(&text, l.inToken()...)
	r := agent.Renewer{Name: name, Required: text.Required || l.settings.RequireAll, Decode: inPlace}
	b.fates(text, &r)
	from := b.namedSource(text.Source)
	r.Request = b.request(text, from)
	r.Schedule = b.schedule(r.Request.Lifetime)
	digest := b.tokenDigest(from)
	sinks := b.sinks(r.Request, digest)
	for _, s := range sinks {
		r.Sinks = append(r.Sinks, s.Target)
	}
	r.Hooks = b.hooks()
	if from == nil {
		return r
	}
	b.check(from, r.Request)
	b.contend(from, r.Request, sinks)
	b.circles(from)
	r.Issuer, r.Limits = from.Issuer, from.Limits
	r.Source, r.Accept, r.Digest = from.Source.Source, accept(r.Request, from.Source), digest.hex()
	if from.Opaque {
		r.Decode = func(s agent.Secret) (agent.Token, error) { return agent.Token{Secret: s}, nil }
	}
	return r
}

// inToken are the blocks that a token block may hold.
func (l *loading) inToken() []string {
	if l.kinds.Hook == nil {
		return []string{"renew", "sink"}
	}
	return []string{"renew", "sink", "hook"}
}

// fates sets what becomes of files whose token, or whose definition, is no more.
func (b *Block) fates(text tokenText, r *agent.Renewer) {
	b.OneOf("on_expired", text.OnExpired, "keep", "remove")
	b.OneOf("on_remove", text.OnRemove, "keep", "delete")
	r.RemoveExpired = text.OnExpired == "remove"
	r.DeleteRemoved = text.OnRemove == "delete"
}

// namedSource is the source that the block names, or means; nil after a fault.
func (b *Block) namedSource(v cty.Value) *source {
	if v == cty.NilVal || !v.IsKnown() {
		return b.meantSource()
	}
	return b.sourceOf(v)
}

// meantSource is the source that an unknown name is surely meant for; nil where there is
// none. By it what else is wrong with the token is found.
func (b *Block) meantSource() *source {
	a := b.stanza.attribute("source")
	if a == nil || len(a.bad) == 0 {
		return nil
	}
	kind, _ := memberName(a.expr.Variables()[0], 1)
	name, _ := memberName(a.expr.Variables()[0], 2)
	var names []string
	for known := range b.load.sources {
		if known.kind == kind {
			names = append(names, known.name)
		}
	}
	slices.Sort(names)
	s := b.load.sources[sourceName{kind, profile.Meant(name, names)}]
	if s == nil || s.Source.Source == nil {
		return nil
	}
	return s
}

// request is what the block asks for, the source's own profile and lifetime
// included.
func (b *Block) request(text tokenText, from *source) agent.Request {
	text.Profile = b.profile(text.Profile, from)
	known := text.Profile != "" || from != nil && !b.Wrong("profile")
	if text.Unlimited && known && text.Profile != "htcondor" {
		b.Fault("unlimited", "unlimited is for IDTOKENs alone", "leave it out; only HTCondor takes a token without scope for one without limit")
	}
	switch {
	case !b.Has("lifetime"):
		if from != nil {
			text.Lifetime = from.Lifetime
		}
	case b.Wrong("lifetime"):
	case text.Lifetime < leastLifetime:
		b.Fault("lifetime", "the lifetime is too short", `it is at least "30s"`)
		text.Lifetime = 0 // nothing is compared with it
	case text.Lifetime > agent.MaxLife:
		b.Fault("lifetime", "the lifetime is too long", "it is at most ten years")
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

// profile is the one that the block names, or means, or else the only one of its source.
func (b *Block) profile(named string, from *source) string {
	b.OneOf("profile", named, profile.Names()...)
	if b.Wrong("profile") {
		named = profile.Meant(named, profile.Names())
	}
	if from == nil || from.Profile == "" {
		return named
	}
	if named != from.Profile && named != "" {
		b.Fault("profile", fmt.Sprintf("wrong profile %q for the source", named),
			fmt.Sprintf("%s issues for the profile %s alone; leave the attribute out", from.Name, from.Profile))
	}
	return from.Profile
}

// OneOf reports a value of the attribute that is set, but none of those allowed.
func (b *Block) OneOf(attr, value string, allowed ...string) {
	if value == "" || slices.Contains(allowed, value) {
		return
	}
	detail := fmt.Sprintf(`it is "%s"`, strings.Join(allowed, `", "`))
	if near := profile.Nearest(value, allowed); near != "" {
		detail = fmt.Sprintf("did you mean %q?", near)
	}
	b.Fault(attr, fmt.Sprintf("unknown %s %q", attr, value), detail)
}

// sinks are those of the sink blocks; their definitions go into the digest.
func (b *Block) sinks(req agent.Request, digest *digest) []Sink {
	var sinks []Sink
	blocks := 0
	for _, s := range b.stanza.blocks {
		if s.kind != "sink" {
			continue
		}
		blocks++
		if sink := b.sink(s, req, digest); sink.Sink != nil {
			sinks = append(sinks, sink)
		}
	}
	if blocks == 0 {
		b.Warn("", "no sink block", "run keeps no token for it; it can only be used by exec and token create")
	}
	return sinks
}

func (b *Block) sink(s *stanza, req agent.Request, digest *digest) Sink {
	decode := b.load.kinds.Sinks[b.sinkKind(s)]
	if decode == nil {
		return Sink{}
	}
	inner := b.load.block(s, b.name, b.instance)
	digest.block(inner)
	sink := decode(inner, req)
	if sink.Path != "" && (b.instance == nil || !b.instance.look) {
		inner.writes(sink.Path)
	}
	return sink
}

// sinkKind is the kind of sink that the block names, or means.
func (b *Block) sinkKind(s *stanza) string {
	known := slices.Sorted(maps.Keys(b.load.kinds.Sinks))
	proper := b.load.labelled(s, "KIND")
	kind := s.labels[0]
	switch {
	case b.load.kinds.Sinks[kind] != nil:
	case proper:
		b.load.fault(s.labelAt[0], fmt.Sprintf("unknown kind of sink %q", kind), kindHint(kind, known))
		s.labels[0] = cmp.Or(profile.Meant(kind, known), kind) // so that what else is wrong with it is found
	case len(known) == 1:
		s.labels[0] = known[0]
	}
	return s.labels[0]
}

// check reports what the source finds wrong with the request, as far as that
// could be read.
func (b *Block) check(from *source, req agent.Request) {
	if from.Check == nil {
		return
	}
	for _, p := range from.Check(req) {
		attr := attributeFor(p.Claim, req)
		if b.hides(attr, p.Claim, req) || from.explains(p.Claim) {
			continue // it may be right when what is wrong there is corrected
		}
		severity := severityError
		if p.Warning {
			severity = severityWarning
		}
		summary, detail, _ := strings.Cut(p.String(), "; ")
		b.report(severity, b.placeOfClaim(attr, p.Claim), summary, detail)
	}
}

// hides reports whether an error at the attribute may be why the claim is wrong. A source
// or profile that is misspelt is known nevertheless.
func (b *Block) hides(attr, claim string, req agent.Request) bool {
	_, further := req.Claims[claim]
	known := attr == "source" || attr == "profile" && req.Profile != ""
	return b.Wrong(attr) && !further && !known
}

// attributes are those of a token block that claims and header parameters come from.
var attributes = map[string]string{
	"aud": "audience", "scope": "scope", "sub": "subject", "exp": "lifetime",
	"iss": "source", "alg": "source", "kid": "source", "typ": "source", "": "profile",
}

// attributeFor is the attribute that the claim comes from.
func attributeFor(claim string, req agent.Request) string {
	attr, known := attributes[claim]
	if _, further := req.Claims[claim]; further || !known {
		return "claims"
	}
	return attr
}

// placeOfClaim is where a problem with a claim from that attribute is shown.
func (b *Block) placeOfClaim(attr, claim string) hcl.Range {
	if a := b.stanza.attribute(attr); a != nil && attr == "claims" {
		if item := itemOf(a.expr, claim); item != nil {
			return item.Range()
		}
	}
	return b.place(attr)
}

// inPlace reads the times of a token that lies in a sink, whoever put it there.
// An opaque one says nothing of them.
func inPlace(s agent.Secret) (agent.Token, error) {
	t := agent.Token{Secret: s}
	decoded, err := profile.Decode(s.Reveal())
	if errors.Is(err, profile.ErrNoJWT) {
		return t, nil
	}
	t.Issued, _ = profile.Instant(decoded.Claims["iat"])
	t.Expires, _ = profile.Instant(decoded.Claims["exp"])
	return t, err
}

// accept is what a finished token must fulfil to be installed: it is what was
// asked for, as far as it can be read, and what its profile demands. Audience and
// scope have been compared already by a source that does so itself.
func accept(req agent.Request, from Source) func(agent.Token) error {
	let := func(p profile.Problem) bool {
		return from.ComparesScope && (p.Claim == "aud" || p.Claim == "scope")
	}
	return func(t agent.Token) error {
		if from.Opaque {
			return nil
		}
		decoded, err := profile.Decode(t.Secret.Reveal())
		if err != nil && req.Profile == "" {
			return nil // opaque: nobody but its issuer can read it
		}
		if err != nil {
			return &agent.Fault{Kind: agent.Configuration, Err: err}
		}
		var texts []string
		differences := slices.DeleteFunc(profile.Matches(decoded, req), let)
		for _, p := range slices.Concat(differences, profile.Check(req.Profile, decoded)) {
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
