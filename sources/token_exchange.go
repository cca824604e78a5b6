package sources

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/sources/issuer"
)

// A tokenExchange source has an issuer exchange a token that something else keeps
// fresh in a file for one of its own (RFC 8693), such as what Kubernetes projects
// into a pod, or what another definition's sink writes:
//
//	source "token_exchange" "storage" {
//	  issuer               = "https://keycloak.example.org/realms/site"
//	  client_id            = "transfer"
//	  client_secret_file   = "/etc/tokenagent/secrets/transfer"
//	  subject_token_file   = "/var/run/secrets/tokens/subject"                 # read again for each request
//	  subject_token_type   = "urn:ietf:params:oauth:token-type:jwt"            # default: …:access_token
//	  requested_token_type = "urn:ietf:params:oauth:token-type:access_token"   # default: as the issuer likes
//	}
type tokenExchange struct {
	*asker
	file      string // with the subject token
	subject   string // its type
	requested string // the type of what is wanted; "": as the issuer likes
}

// accessTokenType is that of any access token (RFC 8693 section 3).
const accessTokenType = tokenTypes + "access_token"

// tokenTypes is how the names of token types begin that RFC 8693 has registered.
const tokenTypes = "urn:ietf:params:oauth:token-type:"

func decodeTokenExchange(b *config.Block) config.Source {
	set := struct {
		fetching
		SubjectTokenFile   string `hcl:"subject_token_file,path"`
		SubjectTokenType   string `hcl:"subject_token_type,optional"`
		RequestedTokenType string `hcl:"requested_token_type,optional"`
	}{fetching: fetchingDefaults(), SubjectTokenType: accessTokenType}
	b.Decode(&set)
	validateTokenType(b, "subject_token_type", set.SubjectTokenType)
	validateTokenType(b, "requested_token_type", set.RequestedTokenType)
	inspectFollowed(b, "subject_token_file", set.SubjectTokenFile)
	s := tokenExchange{set.asker(b), set.SubjectTokenFile, set.SubjectTokenType, set.RequestedTokenType}
	return s.facts(s)
}

// validateTokenType reports what is not a URI, as a type is.
func validateTokenType(b *config.Block, attr, text string) {
	if u, err := url.Parse(text); text == "" || err == nil && u.IsAbs() {
		return
	}
	b.Fault(attr, attr+" is not a URI", fmt.Sprintf("it is one of RFC 8693 section 3 such as %q, or the issuer's own", tokenTypes+"jwt"))
}

// Follows is the file with the subject token. Its change makes no new token due,
// since those that were exchanged live on.
func (s tokenExchange) Follows() (path string, copied bool) { return s.file, false }

// Issue exchanges what lies in the file now, once.
func (s tokenExchange) Issue(ctx context.Context, req agent.Request) (agent.Token, error) {
	subject, err := s.subjectToken(agent.Now(ctx))
	if err != nil {
		return agent.Token{}, err
	}
	form := url.Values{"subject_token": {subject.Reveal()}, "subject_token_type": {s.subject}}
	if s.requested != "" {
		form.Set("requested_token_type", s.requested)
	}
	answer, err := s.grant(ctx, req, issuer.GrantTokenExchange, form)
	if err != nil {
		return agent.Token{}, err
	}
	if s.requested != "" && answer.IssuedTokenType != s.requested {
		return agent.Token{}, s.fault(fmt.Errorf("the issuer gave a token of the type %s, and requested_token_type is %q; have the issuer give that, or leave the attribute out", quoted(answer.IssuedTokenType), s.requested))
	}
	return s.token(ctx, req, answer)
}

// subjectToken is what lies in the file now. One that is no token any more is not
// sent: an issuer would take it for the fault of the client.
func (s tokenExchange) subjectToken(now time.Time) (agent.Secret, error) {
	data, info, err := readFollowed(s.file)
	if err != nil {
		return agent.Secret{}, fmt.Errorf("subject token %w", err)
	}
	text, err := taking{}.tokenIn(data)
	if err != nil {
		return agent.Secret{}, transientFault(fmt.Errorf("subject token %s: %w; see to what keeps the file", s.file, err))
	}
	expires, err := taking{}.expiryIn(text, now)
	if end, _ := toldIn(data).end(info.ModTime()); err != nil || expires.IsZero() {
		expires = end
	}
	if !expires.IsZero() && !expires.After(now) {
		return agent.Secret{}, transientFault(fmt.Errorf("subject token %s: it expired at %s; see to what keeps the file", s.file, expires.UTC().Format(time.RFC3339)))
	}
	return text, nil
}
