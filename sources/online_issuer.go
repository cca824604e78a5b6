package sources

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/host"
	"github.com/tokenagent/tokenagent/sources/issuer"
)

func (s clientCredentials) inquire(ctx context.Context, q *Inquiry, requests []agent.Request) []Finding {
	return s.asker.inquire(ctx, q, "client_credentials", requests)
}

func (s tokenExchange) inquire(ctx context.Context, q *Inquiry, requests []agent.Request) []Finding {
	found := s.asker.inquire(ctx, q, issuer.GrantTokenExchange, requests)
	found = append(found, s.subject.found(agent.Now(ctx)))
	if s.actor.path != "" {
		found = append(found, s.actor.found(agent.Now(ctx)))
	}
	return found
}

func (s *refreshToken) inquire(ctx context.Context, q *Inquiry, requests []agent.Request) []Finding {
	found := s.asker.inquire(ctx, q, "refresh_token", requests)
	stored, err := s.store.Read()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return append(found, wrong("refresh token", "%v; to get one: %s", err, s.login))
	}
	used, err := s.counts(stored)
	if err != nil {
		return append(found, wrong("refresh token", "%v", err))
	}
	if text := s.endsSoon(used.Token, agent.Now(ctx)); text != "" {
		return append(found, warned("refresh token", "%s", text))
	}
	return append(found, fine("refresh token", "one lies in %s", used.path))
}

// inquire says what the issuer answers and offers to requests of that grant type.
func (a *asker) inquire(ctx context.Context, q *Inquiry, grant string, requests []agent.Request) []Finding {
	r := q.report(ctx, a.server, a.client)
	now := agent.Now(ctx)
	found := slices.Concat(a.metadataFound(r), endpointFound(r))
	if a.verify {
		found = append(found, keysFound(r)...)
	}
	if text := a.certificateEndsSoon(now); text != "" {
		found = append(found, warned("client certificate", "%s", text))
	}
	if p, ok := a.client.Asserted.(presented); ok {
		found = append(found, p.found(now))
	}
	return slices.Concat(found, q.mixedUp(a.issuer, r.Metadata), connectionFound(r, now), a.offersFound(r.Metadata, grant, requests))
}

// metadataFound says whether the metadata could be read. A block that names all that it
// tells needs none.
func (a *asker) metadataFound(r issuer.Report) []Finding {
	switch {
	case a.issuer == "":
		return nil // nobody asks for it
	case r.MetadataErr == nil:
		return []Finding{fine("metadata", "read, and its issuer is %s", a.issuer)}
	case r.Endpoint != "" && (r.KeysURL != "" || !a.verify):
		return []Finding{warned("metadata", "%v; the block names all that it would tell", r.MetadataErr)}
	}
	return []Finding{failed("metadata", r.MetadataErr)}
}

func endpointFound(r issuer.Report) []Finding {
	switch {
	case r.Endpoint == "" && r.MetadataErr != nil:
		return nil // for a reason that has been said
	case r.Endpoint == "":
		return []Finding{wrong("token endpoint", "the metadata names none; write token_endpoint, if the issuer has one")}
	case r.EndpointErr != nil:
		f := failed("token endpoint", r.EndpointErr)
		f.presumed = fmt.Sprintf("%s gives a token, though not every question is answered there (%v)", r.Endpoint, r.EndpointErr)
		return []Finding{f}
	}
	return []Finding{fine("token endpoint", "%s answers", r.Endpoint)}
}

func keysFound(r issuer.Report) []Finding {
	switch {
	case r.KeysURL == "" && r.MetadataErr != nil:
		return nil // for a reason that has been said
	case r.KeysURL == "":
		return []Finding{wrong("keys", "the metadata names no jwks_uri; write jwks_uri, or verify = false")}
	case r.KeysErr != nil:
		return []Finding{failed("keys", r.KeysErr)}
	case len(r.Keys) == 0:
		return []Finding{wrong("keys", "%s has no key that a signature could be verified with%s; have the issuer publish its keys there, or name another jwks_uri", r.KeysURL, passedOver(r.Unusable))}
	}
	return append([]Finding{keysReadFound(r)}, oddFound(r.Keys)...)
}

// keysReadFound names the keys, and those beside them that cannot be used: a warning
// where the issuer should correct one.
func keysReadFound(r issuer.Report) Finding {
	found := fine("keys", "%s at %s: %s%s", host.Plural(len(r.Keys), "key"), r.KeysURL, keyNames(r.Keys), passedOver(r.Unusable))
	if len(r.Broken()) > 0 {
		found.Mark = Warning
		found.Text += "; have the issuer correct what it publishes"
	}
	return found
}

func passedOver(unusable []issuer.Unusable) string {
	if len(unusable) == 0 {
		return ""
	}
	return "; not used: " + issuer.Describe(unusable)
}

// oddFound warns of keys that are used here, and that some verifiers refuse.
func oddFound(keys []issuer.Key) (found []Finding) {
	for _, k := range keys {
		if k.Odd != "" {
			found = append(found, warned("keys", "of the key %s, %s; have the issuer correct that", keyName(k), k.Odd))
		}
	}
	return found
}

// keyNames lists the keys by kid and algorithm, but not dozens.
func keyNames(keys []issuer.Key) string {
	var names []string
	for _, k := range keys {
		names = append(names, keyName(k))
	}
	return host.Few(names, 5)
}

func keyName(k issuer.Key) string {
	return strings.TrimSpace(shortened(cmp.Or(k.ID, "without kid")) + " " + shortened(k.Algorithm))
}

const (
	certificateNotice = 14 * 24 * time.Hour // in which somebody can renew one
	mostSkew          = 300 * time.Second   // that is told and made up for, see issuer.Answer
)

// connectionFound says of the way to the issuer how long its certificates are good,
// and whether both clocks agree.
func connectionFound(r issuer.Report, now time.Time) (found []Finding) {
	for _, c := range r.Certificates {
		found = append(found, certificateFound(c, now))
	}
	if r.Dated {
		found = append(found, clockFound(r.Skew))
	}
	return found
}

func certificateFound(c issuer.Certificate, now time.Time) Finding {
	left := c.Ends.Sub(now)
	days := host.Plural(int(left/(24*time.Hour)), "day")
	if left < 24*time.Hour {
		days = "less than a day"
	}
	when := fmt.Sprintf("%s, in %s", c.Ends.UTC().Format(time.DateOnly), days)
	if left < certificateNotice {
		return warned("certificate", "that of %s ends %s (%s); have it renewed before that", c.Host, when, c.Subject)
	}
	return fine("certificate", "that of %s is good until %s", c.Host, when)
}

func clockFound(skew time.Duration) Finding {
	direction := "ahead of"
	if skew < 0 {
		direction = "behind"
	}
	const mend = "set it (timedatectl set-ntp true), or have the issuer set its own"
	switch amount := skew.Abs().Round(time.Second); {
	case amount == 0:
		return fine("clock", "this host's and the issuer's agree")
	case amount < mostSkew:
		return warned("clock", "this host's is %s %s the issuer's, which matters to verifiers; %s", amount, direction, mend)
	default:
		return wrong("clock", "this host's is %.0f minutes or more %s the issuer's, more than can be made up for; %s", mostSkew.Minutes(), direction, mend)
	}
}

// offersFound compares what is asked of the issuer with what its metadata says it
// offers. RFC 8414 leaves it free to say nothing.
func (a *asker) offersFound(m issuer.Metadata, grant string, requests []agent.Request) []Finding {
	if m.Issuer == "" {
		return nil // there is no metadata
	}
	auth, lax := a.client.Auth, a.client.Auth == "none" // few issuers list that as a way
	if auth == issuer.AuthAsserted {
		auth, lax = "private_key_jwt", true // the nearest that metadata has a word for
	}
	found := []Finding{
		offered("grant type", grant, m.GrantTypes, "have the issuer allow it, or use another kind of source"),
		offered("client authentication", auth, m.AuthMethods, "write one of those as client_auth"),
	}
	if lax && found[1].Mark == Wrong {
		found[1].Mark = Warning
	}
	if asked := scopesOf(requests); len(asked) > 0 {
		found = append(found, scopesOffered(asked, m.Scopes))
	}
	return found
}

func offered(about, wanted string, said []string, mend string) Finding {
	switch {
	case len(said) == 0:
		return fine(about, "%s; the issuer does not say what it offers", wanted)
	case slices.Contains(said, wanted):
		return fine(about, "%s is offered", wanted)
	}
	f := wrong(about, "%s is not offered, but %s; %s", wanted, shortened(strings.Join(said, ", ")), mend)
	f.presumed = fmt.Sprintf("%s is not among what the metadata lists (%s), and gives a token all the same", wanted, shortened(strings.Join(said, ", ")))
	return f
}

// scopesOf are the words that the requests ask for.
func scopesOf(requests []agent.Request) (words []string) {
	for _, r := range requests {
		words = append(words, r.Scope...)
	}
	slices.Sort(words)
	return slices.Compact(words)
}

// scopesOffered warns of words that the issuer does not list: it need not list all
// that it gives (RFC 8414 section 2).
func scopesOffered(asked, said []string) Finding {
	if len(said) == 0 {
		return fine("scope", "%s; the issuer does not say what it offers", strings.Join(asked, " "))
	}
	unsaid := slices.DeleteFunc(slices.Clone(asked), func(word string) bool { return isOffered(word, said) })
	if len(unsaid) > 0 {
		return warned("scope", "%s is not among what the issuer says it offers, which need not be all; --issue tells", strings.Join(unsaid, " "))
	}
	return fine("scope", "%s is offered", strings.Join(asked, " "))
}

// isOffered reports whether the word is one of those said, or narrows one of
// them by a path, as storage.read:/data does storage.read:/ and storage.read.
func isOffered(word string, said []string) bool {
	name, path, _ := strings.Cut(word, ":")
	return slices.ContainsFunc(said, func(s string) bool {
		general, above, _ := strings.Cut(s, ":")
		below := strings.HasPrefix(path+"/", strings.TrimSuffix(above, "/")+"/")
		return word == s || general == name && path != "" && (above == "" || below)
	})
}
