package sources

import (
	"cmp"
	"context"
	"crypto"
	"errors"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/host"
	"github.com/tokenagent/tokenagent/sources/issuer"
	"github.com/tokenagent/tokenagent/sources/rotation"
)

// inquire says whether verifiers find the key where they look for it: in what
// the issuer publishes.
func (s *localKey) inquire(ctx context.Context, q *Inquiry, requests []agent.Request) []Finding {
	if !strings.HasPrefix(s.issuer, "https://") || s.key.IsZero() || !anybodyVerifies(requests) {
		return nil
	}
	r := q.report(ctx, q.server(issuer.Address{Issuer: s.issuer}), issuer.Client{})
	found := append([]Finding{s.published(r)}, connectionFound(r, agent.Now(ctx))...)
	if !publicly(requests) && found[0].Mark == Wrong {
		found[0].Mark, found[0].Transient = Warning, false // those who verify it may have the key from elsewhere
	}
	return found
}

// anybodyVerifies reports whether somebody may look for the key that the tokens
// are signed with: ClusterCockpit has it in its own configuration.
func anybodyVerifies(requests []agent.Request) bool {
	return slices.ContainsFunc(requests, func(r agent.Request) bool { return r.Profile != "clustercockpit" })
}

// publicly reports whether there are tokens of a profile whose verifiers look for
// the key nowhere else.
func publicly(requests []agent.Request) bool {
	return slices.ContainsFunc(requests, func(r agent.Request) bool { return r.Profile == "wlcg" || r.Profile == "scitokens" })
}

// published compares the key with what the issuer publishes.
func (s *localKey) published(r issuer.Report) Finding {
	const about, mend = "published key", "publish what tokenagent key public prints of it, and wait as long as verifiers keep the old keys"
	switch {
	case r.MetadataErr != nil:
		return failed(about, r.MetadataErr)
	case r.KeysErr != nil:
		return failed(about, r.KeysErr)
	case r.KeysURL == "":
		return wrong(about, "the issuer's metadata names no jwks_uri, so nobody can find the keys; name one there")
	}
	k, there := s.among(r.Keys)
	broken := slices.IndexFunc(r.Unusable, func(u issuer.Unusable) bool { return u.ID == s.header.keyID })
	switch {
	case !there && broken >= 0:
		return wrong(about, "%s is in %s, and cannot be used there: %s; so verifiers refuse its tokens; %s", s.header.keyID, r.KeysURL, r.Unusable[broken].Why, mend)
	case !there && s.otherName(r.Keys) != "":
		return wrong(about, "the key is in %s as %s, and its tokens say %s, so verifiers refuse them; write key_id = %q", r.KeysURL, s.otherName(r.Keys), s.header.keyID, s.otherName(r.Keys))
	case !there:
		return wrong(about, "%s is not in %s, so verifiers refuse its tokens; there is %s%s; %s", s.header.keyID, r.KeysURL, cmp.Or(keyNames(r.Keys), "none"), passedOver(r.Unusable), mend)
	case !s.isPublic(k):
		if name := s.otherName(r.Keys); name != "" {
			return wrong(about, "%s has another key under the name %s, and this one as %s, so verifiers refuse its tokens; write key_id = %q", r.KeysURL, k.ID, name, name)
		}
		return wrong(about, "%s has another key under the name %s, so verifiers refuse its tokens; give this one another key_id, and %s", r.KeysURL, k.ID, mend)
	case k.Algorithm != "" && k.Algorithm != s.header.algorithm && !(k.Algorithm == "Ed25519" && s.header.algorithm == "EdDSA"): // RFC 9864 renames it
		return wrong(about, "%s says that %s signs with %s, and here it signs with %s; make both the same", r.KeysURL, k.ID, k.Algorithm, s.header.algorithm)
	case k.Odd != "":
		return warned(about, "%s is in %s, but %s; publish what tokenagent key public prints of it", s.header.keyID, r.KeysURL, k.Odd)
	}
	return fine(about, "%s is in %s", s.header.keyID, r.KeysURL)
}

// among is the key of that list under the name of this one: of several, this one.
func (s *localKey) among(keys []issuer.Key) (found issuer.Key, there bool) {
	for _, k := range keys {
		if k.ID == s.header.keyID && (!there || s.isPublic(k)) {
			found, there = k, true
		}
	}
	return found, there
}

// otherName is the kid under which the list has the key, where that is another than its
// tokens say; "" for none.
func (s *localKey) otherName(keys []issuer.Key) string {
	for _, k := range keys {
		if k.ID != "" && k.ID != s.header.keyID && s.isPublic(k) {
			return k.ID
		}
	}
	return ""
}

// isPublic reports whether k is the public half of the key.
func (s *localKey) isPublic(k issuer.Key) bool {
	return s.key.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(k.Public) // as every public key is, see crypto.PublicKey
}

// inquire says whether verifiers find the keys where they look for them, and no key that was
// revoked.
func (s *simpleIssuer) inquire(ctx context.Context, _ *Inquiry, _ []agent.Request) []Finding {
	const about = "published keys"
	l, err := s.Life()
	if err != nil {
		return []Finding{wrong(about, "%v", err)}
	}
	set := s.Settings()
	r := set.Fetch(ctx)
	switch {
	case r.MetadataErr != nil:
		return []Finding{failed(about, r.MetadataErr)}
	case r.KeysErr != nil:
		return []Finding{failed(about, r.KeysErr)}
	}
	found := connectionFound(r, agent.Now(ctx))
	for _, k := range l.Keys {
		switch held := rotation.InDocument(k, r.Keys); {
		case k.Stage() == rotation.Revoked && held:
			found = append(found, wrong(about, "%s still holds the key %s, which is revoked; see that what is in %s gets there", r.KeysURL, k.ID, set.Site.Root))
		case k.Stage() == rotation.Revoked:
		case held:
			found = append(found, fine(about, "%s (%s) is in %s", k.ID, k.Stage(), r.KeysURL))
		case k.Stage() == rotation.Created:
			found = append(found, warned(about, "%s is not in %s yet; it signs only when it is. See that what is in %s gets there", k.ID, r.KeysURL, set.Site.Root))
		default:
			found = append(found, wrong(about, "%s (%s) is not in %s, so verifiers refuse its tokens; see that what is in %s gets there", k.ID, k.Stage(), r.KeysURL, set.Site.Root))
		}
	}
	if len(l.Keys) == 0 {
		found = append(found, warned(about, "there is no key yet; run or issuer publish makes one"))
	}
	return found
}

// inquire says what lies in the file now.
func (s fileCopy) inquire(ctx context.Context, _ *Inquiry, _ []agent.Request) []Finding {
	t, err := s.Issue(ctx, agent.Request{})
	switch {
	case err != nil:
		return []Finding{failed("file", err)}
	case t.Expires.IsZero():
		return []Finding{fine("file", "a token lies in %s that does not say when it expires", s.Path)}
	}
	return []Finding{fine("file", "a token lies in %s that expires at %s", s.Path, t.Expires.UTC().Format(time.RFC3339))}
}

// inquire says how long the token to ask with lives. Nobody is asked: --issue does.
func (s *htcondorFetch) inquire(ctx context.Context, _ *Inquiry, _ []agent.Request) []Finding {
	const about = "long-lived token"
	held, err := s.held()
	if err != nil {
		return []Finding{wrong(about, "%v", err)}
	}
	switch left := held.Until(agent.Now(ctx)); {
	case held.IsZero():
		return []Finding{fine(about, "it never ends; --issue asks with it")}
	case left <= 0:
		return []Finding{wrong(about, "%s", s.ended(held))}
	case left < lastMonth:
		return []Finding{warned(about, "%s", s.ends(held))}
	}
	return []Finding{fine(about, "it ends %s; --issue asks with it", held.UTC().Format(time.RFC3339))}
}

// inquire says whether the program is there.
func (s *command) inquire(context.Context, *Inquiry, []agent.Request) []Finding {
	path := s.program.Args[0]
	if _, err := exec.LookPath(path); err != nil {
		if e, ok := errors.AsType[*exec.Error](err); ok {
			err = e.Err
		}
		return []Finding{wrong("program", "%s: %v; install it, or correct the path", path, host.WithoutPath(err))}
	}
	return []Finding{fine("program", "%s is there; --issue runs it", path)}
}
