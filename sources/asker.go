package sources

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/agent/profile"
	"github.com/tokenagent/tokenagent/sources/issuer"
)

// An asker asks an OAuth 2.0 issuer and checks its answers, for the kinds that differ only in
// their grant. Each call is one attempt. The Agent decides when to make another.
type asker struct {
	server     *issuer.Server
	client     issuer.Client
	issuer     string // of Address; "" where only a token endpoint is known
	audience   string // the parameter that names it
	parameters url.Values
	verify     bool
	lenient    bool // on_narrowed
	taking
	files    []string
	asserted string // the file of client_assertion_file; "": none
}

// Follows is the file with the client assertion, whose change repeats what failed.
func (a *asker) Follows() (path string, copied bool) { return a.asserted, false }

// facts are those of the source s, which asks as a does.
func (a *asker) facts(s agent.Source) config.Source {
	return config.Source{Source: s, Ends: a.ends, Issuer: a.server.Issuer(), Files: a.files, Check: a.check, ComparesScope: true, Opaque: a.opaque()}
}

// check returns what is asked for in req and no token of an issuer can have.
func (a *asker) check(req agent.Request) []profile.Problem {
	if req.Profile == "htcondor" {
		return []profile.Problem{{Text: `no issuer gives IDTOKENs, for only a pool's own key signs them; use a source "htcondor" or "htcondor_fetch"`}}
	}
	return slices.Concat(a.unaskable(req), a.taking.check(a.issuer, req))
}

// unaskable are the problems with what cannot be said in a request.
func (a *asker) unaskable(req agent.Request) []profile.Problem {
	if a.audience != "resource" {
		return nil
	}
	var problems []profile.Problem
	for _, entry := range req.Audience {
		if u, err := url.Parse(entry); err != nil || !u.IsAbs() || u.Fragment != "" {
			problems = append(problems, profile.Problem{Claim: "aud", Text: fmt.Sprintf("%q is not a URI without a fragment, as audience_parameter \"resource\" wants them (RFC 8707)", entry)})
		}
	}
	return problems
}

// unattainable are the problems, by its profile, of any token with the subject, audience, scope
// and further claims of req. All other claims are up to the issuer, which is "" where it is not
// known.
func unattainable(issuer string, req agent.Request) []profile.Problem {
	var problems []profile.Problem
	for _, word := range req.Scope {
		if strings.ContainsFunc(word, unicode.IsSpace) {
			problems = append(problems, profile.Problem{Claim: "scope", Text: fmt.Sprintf("%q has a blank, which would make it two; write one word an entry", word)})
		}
	}
	problems = append(problems, unusual(&req)...)
	asked := map[string]bool{"aud": len(req.Audience) > 0, "scope": len(req.Scope) > 0, "sub": req.Subject != ""}
	for name := range req.Claims {
		asked[name] = true
	}
	claims := requested(issuer, req, time.Now())
	maps.Copy(claims, profile.Claims(req.Profile))
	problems = append(problems, addFurther(claims, req.Claims)...)
	for _, p := range profile.Check(req.Profile, profile.Token{Header: header{}.parameters(req.Profile), Claims: claims}) {
		if asked[p.Claim] {
			problems = append(problems, p)
		}
	}
	return problems
}

// unusual warns of paths that the profiles write in another way, and puts them into req as the
// profiles do. What they mean is clear, and an issuer may know such a word.
func unusual(req *agent.Request) []profile.Problem {
	if req.Profile == "" {
		return nil
	}
	var problems []profile.Problem
	for _, word := range req.Scope {
		if usual := profile.Normal(word); usual != word {
			problems = append(problems, profile.Problem{Claim: "scope", Warning: true,
				Text: fmt.Sprintf("%q is asked for as it stands, and means %s; write that if the issuer knows it", word, usual)})
		}
	}
	req.Scope = profile.NormalWords(req.Scope)
	return problems
}

// grant makes one request for what req asks for: of that grant type, with its
// own parameters.
func (a *asker) grant(ctx context.Context, req agent.Request, kind string, own url.Values) (issuer.Answer, error) {
	return a.server.Token(ctx, a.client, issuer.Grant{Type: kind, Parameters: a.form(req, kind, own)})
}

// form are the parameters of the request. Several audiences are repeated parameters as resource
// (RFC 8707), and as audience in a token exchange (RFC 8693). Else blanks join them in one.
func (a *asker) form(req agent.Request, kind string, own url.Values) url.Values {
	form := url.Values{}
	maps.Copy(form, a.parameters)
	maps.Copy(form, own)
	if len(req.Scope) > 0 {
		form.Set("scope", strings.Join(req.Scope, " "))
	}
	switch {
	case len(req.Audience) == 0:
	case a.audience == "resource" || a.audience == "audience" && kind == issuer.GrantTokenExchange:
		form[a.audience] = req.Audience
	default:
		form.Set(a.audience, strings.Join(req.Audience, " "))
	}
	return form
}

// token makes the Token of an answer to req. It has all that was asked for and allows no more,
// is by the issuer that was asked, and has the time at which it expires.
func (a *asker) token(ctx context.Context, req agent.Request, answer issuer.Answer) (agent.Token, error) {
	decoded, err := a.read(ctx, answer.Access)
	if err != nil {
		return agent.Token{}, err
	}
	t := agent.Token{Secret: answer.Access, Issued: answer.Sent}
	if t.Expires, err = a.expiry(answer, decoded.Claims); err != nil {
		return agent.Token{}, a.fault(err)
	}
	if err := checkBegun(decoded.Claims, agent.Now(ctx).Add(-answer.Skew)); err != nil {
		return agent.Token{}, about(a.server.String(), err)
	}
	t.Note = joined(answer.Odd, a.certificateEndsSoon(answer.Sent))
	var refused []string
	less := narrowed(req, answer, decoded)
	switch {
	case less == "":
	case a.lenient:
		t.Note = joined(t.Note, less)
	default:
		refused = append(refused, less+`; have the issuer grant it to this client, or write on_narrowed = "warn" to take what it gives`)
	}
	if err := a.apply(&t, decoded, answer.Scope, req, "have the issuer give this client less"); err != nil {
		refused = append(refused, err.Error())
	}
	if len(refused) > 0 {
		return agent.Token{}, a.fault(errors.New(strings.Join(refused, "; ")))
	}
	return t, nil
}

// fault names the issuer whose answer is wrong.
func (a *asker) fault(err error) error {
	return configurationFault(fmt.Errorf("%s: %w", a.server, err))
}

// read decodes the token, and verifies it unless that is turned off or it is opaque.
func (a *asker) read(ctx context.Context, text agent.Secret) (profile.Token, error) {
	decoded, err := a.decode(text)
	switch {
	case err != nil:
		return decoded, a.fault(fmt.Errorf("the token that came back: %w", err))
	case decoded.Claims == nil:
		return decoded, nil
	case a.verify:
		return a.server.Verify(ctx, text)
	}
	if iss, there := decoded.Claims["iss"]; there && a.issuer != "" && iss != a.issuer {
		return decoded, a.fault(fmt.Errorf("the token is of the issuer %s, and %q was asked; the attribute issuer is byte for byte what its tokens say", quoted(fmt.Sprint(iss)), a.issuer))
	}
	return decoded, nil
}

// expiry is the earlier of the times that the answer and the token name, by our clock. Where
// neither names one, assume_lifetime counts.
func (a *asker) expiry(answer issuer.Answer, claims map[string]any) (time.Time, error) {
	exp, err := expiryClaim(claims)
	if err != nil {
		return time.Time{}, err
	}
	var known []time.Time
	if answer.ExpiresIn > 0 {
		known = append(known, answer.Sent.Add(answer.ExpiresIn))
	}
	if !exp.IsZero() {
		known = append(known, exp.Add(answer.Skew))
	}
	if len(known) == 0 && a.AssumeLifetime > 0 {
		known = append(known, answer.Sent.Add(a.AssumeLifetime))
	}
	if len(known) > 0 {
		expires := slices.MinFunc(known, time.Time.Compare)
		if expires.Sub(answer.Sent) > agent.MaxLife {
			return time.Time{}, fmt.Errorf("the token expires in the year %d, more than ten years ahead, which is taken for an error (milliseconds?); have the issuer correct it", expires.Year())
		}
		return expires, nil
	}
	return time.Time{}, errors.New("nothing says when the token expires, neither expires_in of the answer nor a claim exp; write assume_lifetime in the source, such as the lifetime that the issuer's documentation tells")
}

// mostEarly is how long before its beginning a token is taken: its readers will take it in a
// moment.
const mostEarly = 10 * time.Second

// checkBegun is a fault where readers refuse the token for its nbf or iat until long after now,
// by the clock of its issuer. The one in place serves them better.
func checkBegun(claims map[string]any, now time.Time) error {
	for _, name := range []string{"nbf", "iat"} {
		if profile.Distant(claims[name]) {
			return configurationFault(fmt.Errorf("the token's %s is more than two centuries ahead; it is in seconds (RFC 7519), and this looks like milliseconds; have the issuer correct it", name))
		}
		if begins, ok := profile.Instant(claims[name]); ok && begins.Sub(now) > mostEarly {
			return transientFault(fmt.Errorf("the token is not valid before %s, as its %s says; see to the issuer's clock, and to this host's", begins.UTC().Format(time.RFC3339), name))
		}
	}
	return nil
}

// expiryClaim is the claim exp; the zero time where there is none.
func expiryClaim(claims map[string]any) (time.Time, error) {
	exp, there := claims["exp"]
	if !there {
		return time.Time{}, nil
	}
	at, ok := profile.Instant(exp)
	switch {
	case ok:
		return at, nil
	case profile.Distant(exp):
		return time.Time{}, errors.New("the token's exp is more than two centuries ahead; it is in seconds (RFC 7519), and this looks like milliseconds; have the issuer correct it")
	}
	return time.Time{}, errors.New("the token's exp is not a number of seconds (RFC 7519), so its readers refuse it; have the issuer correct it")
}

// narrowed says what is missing of the scope and audience that req asked for; "" when nothing
// is. An issuer that gives another scope must say so in its answer (RFC 6749 section 5.1), and
// many say it only in the token. A token of no profile may leave its scope to the answer.
func narrowed(req agent.Request, answer issuer.Answer, decoded profile.Token) string {
	var texts []string
	missing := profile.CompareScope(req.Scope, answer.Scope).Missing
	if decoded.Claims != nil { // the token itself says what a set stands for
		missing = slices.DeleteFunc(missing, profile.IsCapabilitySet)
	}
	said := answer.ScopeSaid && len(missing) > 0
	if said {
		texts = append(texts, fmt.Sprintf("the issuer gave the scope %s, and %q was asked for too", quoted(strings.Join(answer.Scope, " ")), strings.Join(missing, " ")))
	}
	if decoded.Claims == nil {
		return strings.Join(texts, "; ")
	}
	asked := agent.Request{Profile: req.Profile, Audience: req.Audience, Scope: req.Scope}
	if answer.ScopeSaid && req.Profile == "" && len(profile.Scope("", decoded)) == 0 {
		asked.Scope = nil
	}
	for _, p := range profile.Matches(decoded, asked) {
		if p.Claim != "scope" || !said {
			texts = append(texts, "the token's "+p.String())
		}
	}
	return strings.Join(texts, "; ")
}
