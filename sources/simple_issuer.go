package sources

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/agent/host"
	"github.com/tokenagent/tokenagent/agent/profile"
	"github.com/tokenagent/tokenagent/agent/program"
	"github.com/tokenagent/tokenagent/sources/issuer"
	"github.com/tokenagent/tokenagent/sources/keys"
	"github.com/tokenagent/tokenagent/sources/rotation"
)

// A simpleIssuer signs tokens as a local_key does, with keys that it makes, publishes and
// replaces by itself:
//
//	issuer "ospool" {
//	  url           = "https://ospool.example.org"        # iss, byte for byte
//	  keys_dir      = "/var/lib/tokenagent/issuers/ospool" # private keys; made if it is missing
//	  algorithm     = "ES256"                              # of new keys
//	  web_root      = "/var/www/ospool"                    # what the web server shows at url; default: below state_dir
//	  rotate_after  = "180d"                               # default: only by hand
//	  publish_ahead = "4d"                                 # how long verifiers may keep an old document
//	  also_publish  = ["/etc/tokenagent/other-signer.jwks"]
//	  hook "on_publish" { command = ["/usr/local/bin/push-to-pages"] }
//	}
type simpleIssuer struct {
	*rotation.Issuer
	template localKey // for what can be checked without a key

	mu   sync.Mutex
	last *localKey // with the key that signed last
}

// An issuerBlock is an issuer block as it is written.
type issuerBlock struct {
	URL          string        `hcl:"url"`
	KeysDir      string        `hcl:"keys_dir,path"`
	Algorithm    string        `hcl:"algorithm,optional"`
	WebRoot      string        `hcl:"web_root,path,optional"`
	RotateAfter  time.Duration `hcl:"rotate_after,optional"`
	PublishAhead time.Duration `hcl:"publish_ahead,optional"`
	AlsoPublish  []string      `hcl:"also_publish,optional"`
	CAFile       string        `hcl:"ca_file,path,optional"`
	Owner        string        `hcl:"owner,optional"`
	Group        string        `hcl:"group,optional"`
	Mode         fs.FileMode   `hcl:"mode,optional"`
}

// cacheLife is how long scitokens-cpp and others keep the keys of an issuer at most, and
// what the WLCG profile recommends to publish a key ahead.
const cacheLife = 4 * 24 * time.Hour

// DecodeIssuer decodes an issuer block.
func DecodeIssuer(b *config.Block) config.Source {
	set := issuerBlock{Algorithm: "ES256", PublishAhead: cacheLife, Mode: 0o644}
	b.Decode(&set, "hook")
	set.validate(b)
	inState := set.WebRoot == "" && !b.Has("web_root")
	if inState && b.State().Dir != "" {
		set.WebRoot = filepath.Join(b.State().Dir, "issuers", b.Name())
	}
	site := &rotation.Site{URL: set.URL, Root: set.WebRoot, Deep: inState, Mode: set.Mode, Also: set.AlsoPublish, Owner: host.Self()}
	site.Group = site.Owner.GID
	if !b.DefinitionsOnly() {
		set.give(b, site)
		if _, err := site.Prepare(nil); err != nil {
			b.Warn("also_publish", "keys of others cannot be published", err.Error())
		}
	}
	hooks, user := publishHooks(b, inState)
	address := issuer.Address{Issuer: set.URL, CAFile: set.CAFile}
	s := &simpleIssuer{
		Issuer: rotation.New(rotation.Settings{
			Name: b.Name(), URL: set.URL, KeysDir: set.KeysDir, Algorithm: set.Algorithm, Site: site,
			Policy:  rotation.Policy{RotateAfter: set.RotateAfter, PublishAhead: set.PublishAhead},
			Command: b.Command,
			Fetch: func(ctx context.Context) issuer.Report {
				return issuer.NewServer(address).Probe(ctx, issuer.Client{})
			},
			OnPublish: onPublish(b.Name(), hooks),
		}),
		template: localKey{issuer: set.URL, header: header{algorithm: set.Algorithm}},
	}
	if set.KeysDir == "" {
		return config.Source{Source: s, Lifetime: time.Hour, Check: s.check}
	}
	b.Reserve("keys_dir", filepath.Join(set.KeysDir, "keys.json"))
	if b.Has("web_root") {
		b.Reserve("web_root", filepath.Join(set.WebRoot, rotation.KeysFile))
	}
	return config.Source{
		Source:   s,
		Lifetime: time.Hour,
		Files:    present(append(slices.Clone(set.AlsoPublish), set.CAFile)...),
		Key:      config.SigningKey{Issuer: set.URL},
		Program:  len(hooks) > 0,
		RunsAs:   user,
		Check:    s.check,
		Apart:    []string{"algorithm", "web_root", "rotate_after", "publish_ahead", "also_publish", "ca_file", "owner", "group", "mode"},
	}
}

// validate reports what is wrong with the block on any machine, and resets that.
func (set *issuerBlock) validate(b *config.Block) {
	err := issuer.CheckURL(set.URL)
	if err == nil && strings.ContainsAny(set.URL, "?#") {
		err = errors.New("verifiers could not find the documents of an issuer with a query or fragment")
	}
	if err != nil {
		b.Fault("url", "not the address of an issuer", err.Error())
		set.URL = "https://issuer.invalid"
	}
	b.OneOf("algorithm", set.Algorithm, keys.Algorithms()...)
	if b.Wrong("algorithm") {
		set.Algorithm = "ES256"
	}
	switch {
	case b.Wrong("rotate_after") || b.Wrong("publish_ahead"):
	case b.Has("publish_ahead") && set.PublishAhead < time.Minute:
		b.Fault("publish_ahead", "publish_ahead is too short", `verifiers keep the keys of an issuer for a while: "4d" suits all, and "1m" is the least`)
	case b.Has("rotate_after") && set.RotateAfter <= set.PublishAhead:
		b.Fault("rotate_after", "rotate_after is too short", fmt.Sprintf("a key signs only when it has been published for publish_ahead, %s; write more than that, such as \"180d\"", config.Spoken(set.PublishAhead)))
	case set.PublishAhead < cacheLife:
		b.Warn("publish_ahead", "some verifiers keep keys for longer", `scitokens-cpp, which HTCondor and XRootD use, keeps them for up to 4 days where the issuer does not answer; "4d" is the default`)
	}
	if set.Mode&0o004 == 0 && !b.Has("owner") && !b.Has("group") {
		b.Warn("mode", "a web server may not read the files", `usual is "0644": nothing in them is secret`)
	}
	for i, path := range set.AlsoPublish {
		if !filepath.IsAbs(path) {
			b.Fault("also_publish", "a path that is not absolute", fmt.Sprintf("%q: write where the file lies, from the root on", path))
			set.AlsoPublish = nil
			return
		}
		set.AlsoPublish[i] = filepath.Clean(path)
	}
	if b.Has("web_root") && b.Has("keys_dir") && (host.Inside(set.KeysDir, set.WebRoot) || set.KeysDir == set.WebRoot) {
		b.Fault("keys_dir", "the private keys would be published", fmt.Sprintf("%s lies in web_root, which a web server shows to everybody; keep the keys elsewhere", set.KeysDir))
	}
}

const publishEvent = "on_publish"

// publishHooks are the programs of the hooks of the block, and the user whom one of them
// names. inState: they find the files in the state folder, where the agent's user alone may
// look.
func publishHooks(b *config.Block, inState bool) (all []program.Program, user string) {
	for _, inner := range b.Inner("hook", "EVENT", publishEvent) {
		p, key, ok := program.Decode(inner, "")
		if ok && inState && p.User != nil {
			inner.Fault("user", "the hook could not read the files", "without web_root they lie in the state folder, where only the agent's own user may look; set web_root in the issuer block")
			continue
		}
		if ok {
			all = append(all, p)
			user = cmp.Or(user, program.UserIn(key))
		}
	}
	return all, user
}

// onPublish runs the hooks, one after the other; nil where there are none.
func onPublish(issuer string, hooks []program.Program) func(ctx context.Context, folder string) error {
	if hooks == nil {
		return nil
	}
	return func(ctx context.Context, folder string) error {
		for _, p := range hooks {
			env := []string{"TOKENAGENT_EVENT=" + publishEvent, "TOKENAGENT_ISSUER=" + issuer, "TOKENAGENT_WEB_ROOT=" + folder}
			if err := p.Run(ctx, program.Input{Env: env}); err != nil {
				return fmt.Errorf("%s: %w", p.Args[0], err)
			}
		}
		return nil
	}
}

// give sets whose the published files are.
func (set *issuerBlock) give(b *config.Block, site *rotation.Site) {
	var known host.Database
	if set.Owner != "" {
		owner, err := known.User(set.Owner)
		switch {
		case err != nil:
			b.Fault("owner", "unknown user", err.Error())
			return
		case owner.UID != site.Owner.UID && site.Owner.UID != 0:
			b.Fault("owner", "only root can give a file to another user", "leave owner out, or run the agent as root")
			return
		case owner.UID != site.Owner.UID && site.Deep:
			b.Fault("owner", "the owner could not read the files", "without web_root they lie in the state folder, where only the agent's own user may look; set web_root")
			return
		case owner.UID != site.Owner.UID:
			groups, err := known.GroupsOf(owner)
			if err != nil || owner.GID == host.NoGroup {
				b.Fault("owner", "the groups of the user are not known", fmt.Sprintf("%s: %v", set.Owner, err))
				return
			}
			site.Owner = host.Identity{UID: owner.UID, GID: owner.GID, Groups: groups}
			site.Group = owner.GID
		}
	}
	if set.Group != "" {
		gid, err := known.Group(set.Group)
		if err != nil {
			b.Fault("group", "unknown group", err.Error())
			return
		}
		site.Group = gid
	}
}

// check returns what is wrong with the tokens that Issue would make for req.
func (s *simpleIssuer) check(req agent.Request) []profile.Problem {
	s.Expect(req.Lifetime)
	return s.template.check(req)
}

// Issue signs a token for req, with the key that signs now.
func (s *simpleIssuer) Issue(ctx context.Context, req agent.Request) (agent.Token, error) {
	key, err := s.Signer(ctx, expiry(agent.Now(ctx), req.Lifetime))
	if err != nil {
		return agent.Token{}, err
	}
	signing, err := s.with(key)
	if err != nil {
		return agent.Token{}, configurationFault(err)
	}
	return signing.Issue(ctx, req)
}

// with is what signs with the key.
func (s *simpleIssuer) with(key keys.Key) (*localKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last != nil && s.last.header.keyID == key.ID() {
		return s.last, nil
	}
	signing, err := newLocalKey(key, s.template.issuer)
	if err == nil {
		s.last = signing
	}
	return signing, err
}
