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
//	  actor_token_file     = "/var/run/secrets/tokens/actor"                   # of whoever acts for the subject; default: none
//	  actor_token_type     = "urn:ietf:params:oauth:token-type:jwt"            # default: …:access_token
//	  requested_token_type = "urn:ietf:params:oauth:token-type:access_token"   # default: as the issuer likes
//	}
type tokenExchange struct {
	*asker
	subject, actor         presented // the actor has no path where none is sent
	subjectType, actorType string
	requested              string // the type of what is wanted; "": as the issuer likes
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
		ActorTokenFile     string `hcl:"actor_token_file,optional,path"`
		ActorTokenType     string `hcl:"actor_token_type,optional"`
		RequestedTokenType string `hcl:"requested_token_type,optional"`
	}{fetching: fetchingDefaults(), SubjectTokenType: accessTokenType, ActorTokenType: accessTokenType}
	b.Decode(&set)
	validateTokenType(b, "subject_token_type", set.SubjectTokenType)
	validateTokenType(b, "actor_token_type", set.ActorTokenType)
	validateTokenType(b, "requested_token_type", set.RequestedTokenType)
	inspectFollowed(b, "subject_token_file", set.SubjectTokenFile)
	if set.ActorTokenFile != "" {
		inspectFollowed(b, "actor_token_file", set.ActorTokenFile)
	} else if b.Has("actor_token_type") && !b.Has("actor_token_file") {
		b.Fault("actor_token_type", "actor_token_type is not used", "it is the type of what lies in actor_token_file; write that, or leave both out")
	}
	s := tokenExchange{
		asker:       set.asker(b),
		subject:     presented{what: "subject token", path: set.SubjectTokenFile},
		actor:       presented{what: "actor token", path: set.ActorTokenFile},
		subjectType: set.SubjectTokenType,
		actorType:   set.ActorTokenType,
		requested:   set.RequestedTokenType,
	}
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
func (s tokenExchange) Follows() (path string, copied bool) { return s.subject.path, false }

// Issue exchanges what lies in the file now, once.
func (s tokenExchange) Issue(ctx context.Context, req agent.Request) (agent.Token, error) {
	form, err := s.shown(agent.Now(ctx))
	if err != nil {
		return agent.Token{}, err
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

// shown are the parameters of the exchange.
func (s tokenExchange) shown(now time.Time) (url.Values, error) {
	subject, err := s.subject.Read(now)
	if err != nil {
		return nil, err
	}
	form := url.Values{"subject_token": {subject.Reveal()}, "subject_token_type": {s.subjectType}}
	if s.requested != "" {
		form.Set("requested_token_type", s.requested)
	}
	if s.actor.path == "" {
		return form, nil
	}
	actor, err := s.actor.Read(now)
	if err != nil {
		return nil, err
	}
	form.Set("actor_token", actor.Reveal())
	form.Set("actor_token_type", s.actorType)
	return form, nil
}
