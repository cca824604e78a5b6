package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/agent/profile"
	"github.com/tokenagent/tokenagent/sources"
	"github.com/tokenagent/tokenagent/sources/keys"
)

func newTokenCreate() *cobra.Command {
	from := place{runs: true, sinkless: true}
	flags := tokenFlags{lifetime: lifetime(20 * time.Minute)}
	c := &cobra.Command{
		Use:   "create [NAME | URL | CLAIM=VALUE…]",
		Short: "Issue one token now, to standard output",
		Long: `Issue one token now, to standard output.

Without a NAME it signs a token with a private key, and takes the flags of
"pelican origin token create". Without --private-key it signs with the key of the
Pelican origin on this machine, and prints the path of that key.

With a Pelican URL it takes the flags of "pelican token create" too: --read, --write,
--modify, --stage. Pelican asks its director for the issuer and the namespace; here
--issuer and --scope-path say them.

With a NAME it issues the configuration's token of that name, as configured, but
writes no sinks.`,
		Example: `  tokenagent token create --issuer https://origin.example.org --audience https://wlcg.cern.ch/jwt/v1/any \
    --subject robot --scope storage.read:/data --lifetime 3600 --private-key key.pem

  # pelican origin token create --config /etc/pelican/osdf-origin.yaml --audience … becomes
  tokenagent token create --issuer https://origin.example.org:8443 --audience https://wlcg.cern.ch/jwt/v1/any \
    --subject test --scope storage.read:/

  tokenagent token create --profile scitokens2 --issuer https://ospool.example.org --audience ce1.example.org:9619 \
    --subject pilot --scope "condor:/READ condor:/WRITE" --private-key key.pem > pilot.scitoken
  tokenagent token create --read --write pelican://osg-htc.org/some/namespace/data \
    --issuer https://origin.example.org:8443 --scope-path /data --private-key key.pem
  tokenagent token create --config /etc/tokenagent pilot/ce1.example.org`,
		RunE: func(c *cobra.Command, args []string) error {
			text, err := createToken(c, &from, &flags, args)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.OutOrStdout(), text.Reveal())
			return err
		},
	}
	flags.add(c)
	from.configFlag(c)
	return c
}

// createToken issues the configured token that args name, else one by the flags.
func createToken(c *cobra.Command, from *place, flags *tokenFlags, args []string) (agent.Secret, error) {
	names, claims := namesAndClaims(args)
	if len(names) == 1 && len(from.configs) == 0 && isObjectURL(names[0]) {
		if err := flags.asObject(names[0]); err != nil {
			return agent.Secret{}, err
		}
		names = nil
	}
	if len(names) > 0 || len(from.configs) > 0 {
		return flags.createConfigured(c, from, names, claims)
	}
	if len(args) == len(claims) {
		if err := flags.withoutObject(); err != nil {
			return agent.Secret{}, err
		}
	}
	flags.claims = slices.Concat(claims, flags.claims, flags.object.rawClaims)
	flags.scope = append(flags.scope, flags.object.rawScopes...)
	now := wall().Truncate(time.Second) // it stands still, so that the token ends in the very second of --expiration
	if err := flags.untilExpiration(now); err != nil {
		return agent.Secret{}, err
	}
	return flags.create(agent.WithClock(c.Context(), func() time.Time { return now }), c.ErrOrStderr())
}

// namesAndClaims separates names of configured tokens from Pelican's arguments
// CLAIM=VALUE.
func namesAndClaims(args []string) (names, claims []string) {
	for _, a := range args {
		if before, _, found := strings.Cut(a, "="); found && !strings.ContainsAny(before, `[/`) {
			claims = append(claims, a)
		} else {
			names = append(names, a)
		}
	}
	return names, claims
}

// createConfigured issues the one token of the configuration that is named.
func (f *tokenFlags) createConfigured(c *cobra.Command, from *place, names, claims []string) (agent.Secret, error) {
	flag := f.firstSet()
	if slices.ContainsFunc(from.configs, isYAML) || len(names) == 0 && (flag != "" || len(claims) > 0) {
		return agent.Secret{}, usage("--config is tokenagent's own configuration; for Pelican's leave it out and give --issuer (and --private-key)")
	}
	if len(names) != 1 || len(claims) > 0 {
		return agent.Secret{}, usage("with a configuration one token is named, and nothing else; without one every argument is CLAIM=VALUE")
	}
	if flag != "" {
		return agent.Secret{}, usage("--%s is for a token without configuration; %s has what the configuration says", flag, names[0])
	}
	ctx, stop := untilSignal(c.Context())
	defer stop()
	cfg, err := from.load(ctx, false)
	if err != nil {
		return agent.Secret{}, err
	}
	chosen, err := choose(cfg.Renewers, names)
	if err != nil {
		return agent.Secret{}, err
	}
	if len(chosen) > 1 {
		return agent.Secret{}, usage("%s stands for several tokens; name one of them: %s", names[0], namesOf(chosen))
	}
	secret, err := issue(ctx, chosen[0])
	if err == nil {
		noteIssued(from.home(cfg.Settings).Dir(), chosen[0], secret, "token create")
	}
	return secret, err
}

// isYAML reports whether the file may be Pelican's configuration.
func isYAML(path string) bool {
	return slices.Contains([]string{".yaml", ".yml"}, filepath.Ext(path))
}

// issue asks the source once, and accepts what the agent would accept.
func issue(ctx context.Context, r agent.Renewer) (agent.Secret, error) {
	t, err := r.Issue(ctx)
	if err != nil {
		return agent.Secret{}, fmt.Errorf("token %s: %w", r.Name, err)
	}
	return t.Secret, nil
}

// tokenFlags are the flags for a token without a configuration: those of Pelican, and
// some more.
type tokenFlags struct {
	profile    string
	issuer     string
	subject    string
	audience   []string
	scope      []string
	claims     []string // CLAIM=VALUE
	claimsJSON []string // CLAIM=JSON
	lifetime   lifetime
	privateKey string
	keyID      string
	object     objectFlags

	anyAudience string // of a Pelican URL, where nothing says another; "": none

	all pflag.FlagSet // these
}

func (f *tokenFlags) add(c *cobra.Command) {
	flags := &f.all
	flags.StringVarP(&f.profile, "profile", "p", "wlcg", "whose rules the token follows, by `name`: "+strings.Join(profile.Names(), ", ")+", scitokens2 (for scitokens) or none")
	flags.StringVarP(&f.issuer, "issuer", "i", "", "claim iss: the issuer's `URL`, as its metadata says it")
	flags.StringVar(&f.subject, "subject", "", "claim sub: `whom` the token stands for")
	flags.StringSliceVarP(&f.audience, "audience", "a", nil, "claim aud: the `service` that the token is for; may be repeated")
	flags.StringSliceVar(&f.scope, "scope", nil, "claim scope: `what` the token allows; may be repeated")
	flags.StringSliceVar(&f.claims, "claim", nil, "a further claim, `CLAIM=VALUE`: a string, or a list of its words where the profile wants one (roles, wlcg.groups); may be repeated")
	flags.StringArrayVar(&f.claimsJSON, "claim-json", nil, "a further claim with a type, `CLAIM=JSON`; may be repeated")
	flags.VarP(&f.lifetime, "lifetime", "l", "how long the token lives: `seconds`, or with units (1h30m, 2d)")
	flags.StringVarP(&f.privateKey, "private-key", "k", "", "`file` of the signing key: PEM, JWK, JWKS or ClusterCockpit's (default: the Pelican origin's)")
	flags.StringVar(&f.keyID, "key-id", "", "header kid: the `name` of the key in the issuer's JWKS (default: that of a JWK, else the RFC 7638 thumbprint); of a set of keys it chooses one")
	f.object.add(flags)
	c.Flags().AddFlagSet(flags)
}

// firstSet is the first of the flags that the person has given; "" for none.
func (f *tokenFlags) firstSet() (name string) {
	f.all.VisitAll(func(flag *pflag.Flag) {
		if flag.Changed && name == "" {
			name = flag.Name
		}
	})
	return name
}

// create signs a token as the flags say.
func (f *tokenFlags) create(ctx context.Context, stderr io.Writer) (agent.Secret, error) {
	req, err := f.request()
	if err != nil {
		return agent.Secret{}, err
	}
	key, err := f.key(stderr)
	if err != nil {
		return agent.Secret{}, err
	}
	source, err := sources.NewLocalKey(key.WithID(f.keyID), f.issuer)
	if err != nil {
		return agent.Secret{}, err
	}
	if err := validate(source, req, stderr); err != nil {
		return agent.Secret{}, err
	}
	t, err := source.Source.Issue(ctx, req)
	return t.Secret, err
}

// validate is the errors of the profile; it prints the warnings.
func validate(source config.Source, req agent.Request, stderr io.Writer) error {
	var errs []error
	for _, p := range source.Check(req) {
		if p.Warning {
			fmt.Fprintf(stderr, "tokenagent: warning: %s\n", p)
			continue
		}
		text := p.String()
		if flag := flagOf[p.Claim]; flag != "" {
			text += " (" + flag + ")"
		}
		errs = append(errs, errors.New(text))
	}
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("profile %s refuses this token:\n%w", req.Profile, errors.Join(errs...))
}

// flagOf is the flag that sets a claim, as a person types it.
var flagOf = map[string]string{
	"iss": "--issuer", "sub": "--subject", "aud": "--audience", "scope": "--scope", "kid": "--key-id", "alg": "--private-key", "exp": "--lifetime",
	"wlcg.groups": "--claim wlcg.groups=/cms", "roles": "--claim roles=api",
}

// request is what the flags ask for.
func (f *tokenFlags) request() (agent.Request, error) {
	name, err := profileNamed(f.profile)
	if err != nil {
		return agent.Request{}, err
	}
	claims, err := f.furtherClaims(name)
	if err != nil {
		return agent.Request{}, err
	}
	if len(f.audience) == 0 && f.anyAudience != "" {
		f.audience = []string{f.anyAudience}
	}
	return agent.Request{
		Profile:  name,
		Subject:  f.subject,
		Audience: f.audience,
		Scope:    strings.Fields(strings.Join(f.scope, " ")),
		Claims:   claims,
		Lifetime: time.Duration(f.lifetime),
	}, nil
}

// key is the named one, else that of the Pelican origin.
func (f *tokenFlags) key(stderr io.Writer) (keys.Key, error) {
	if f.privateKey != "" {
		return keys.Read(f.privateKey, f.keyID)
	}
	folder, err := pelicanFolder()
	if err != nil {
		return keys.Key{}, err
	}
	key, path, err := pelicanKey(folder)
	if err != nil {
		return keys.Key{}, err
	}
	fmt.Fprintf(stderr, "tokenagent: signing with the key of Pelican, %s\n", path)
	return key, nil
}
