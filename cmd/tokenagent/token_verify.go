package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/profile"
	"github.com/tokenagent/tokenagent/sources/issuer"
	"github.com/tokenagent/tokenagent/sources/keys"
)

const (
	verifyLimit = time.Minute // for the issuer to answer
	mostKeySet  = 1 << 20     // bytes of a file of public keys
)

func newTokenVerify() *cobra.Command {
	var flags verifyFlags
	var asJSON bool
	c := &cobra.Command{
		Use:   "verify [FILE|-]",
		Short: "Verify a token as a site would: its signature, its times, its profile",
		Long: `Verify a token as a site would: its signature against the keys that its issuer
publishes, its times without leeway, and the rules of its profile. --issuer is the
issuer that the site trusts, --audience the name of its service. The token is read
from a file or from standard input, never from an argument, which others could see.
An IDTOKEN of HTCondor's can be verified only with its pool's key.

Exit codes: 0 it is valid, 1 it is not, or that cannot be known.`,
		Example: `  tokenagent token verify /var/lib/robot-tokens/token --audience https://se.example.org
  tokenagent token verify --issuer https://tokens.example.org --jwks jwks.json token
  tokenagent token verify --key-file /etc/condor/passwords.d/POOL /etc/condor/tokens.d/10-collector`,
		Args: arguments(0, 1, "one FILE"),
		RunE: func(c *cobra.Command, args []string) error {
			text, t, _, err := readToken(c, args)
			if err != nil {
				return err
			}
			ctx, stop := untilSignal(c.Context())
			defer stop()
			v := flags.verify(ctx, text, t, wall())
			err = show(c.OutOrStdout(), asJSON, v)
			if err == nil && v.Verdict != verdictValid {
				err = &exitError{code: exitFailed}
			}
			return err
		},
	}
	flags.add(c)
	jsonFlag(c, &asJSON)
	return c
}

// verifyFlags say what a token must have, and where the keys are.
type verifyFlags struct {
	issuer, audience string // "": any
	jwks             string // a file, or an https URL; "": what the issuer publishes
	caFile, keyFile  string // "": those of the system; none
}

func (f *verifyFlags) add(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&f.issuer, "issuer", "", "the only issuer to trust, a `URL` (default: the one that the token names)")
	flags.StringVar(&f.audience, "audience", "", "the name of the `service` that is to accept the token (default: any)")
	flags.StringVar(&f.jwks, "jwks", "", "a `file` or https URL with the issuer's keys (default: where its metadata says)")
	flags.StringVar(&f.caFile, "ca-file", "", "`file` of the authorities to trust for the issuer's certificate, in PEM (default: those of the system)")
	flags.StringVar(&f.keyFile, "key-file", "", "`file` of the pool's signing key, for an IDTOKEN")
}

// verify compares the token with the flags and the time. t is the text decoded.
func (f *verifyFlags) verify(ctx context.Context, text agent.Secret, t profile.Token, now time.Time) verification {
	v := newVerification(t, now)
	if f.issuer != "" && t.Claims["iss"] != f.issuer {
		return v.refused(verdictInvalid, "its issuer is %s, and --issuer trusts only %s", v.claim("iss"), f.issuer)
	}
	ctx, cancel := context.WithTimeout(ctx, verifyLimit)
	defer cancel()
	from, odd, err := f.signature(ctx, text, t)
	v.KeysFrom = from
	switch {
	case errors.As(err, new(unverifiable)):
		return v.refused(verdictOpen, "%v", err)
	case err != nil:
		return v.refused(verdictInvalid, "%v", err)
	}
	v.Signed = true
	if odd != "" {
		v.add([]profile.Problem{{Claim: "kid", Text: "of the key that the issuer publishes, " + odd, Warning: true}})
	}
	if f.audience != "" {
		v.add(profile.Audience(v.Profile, t, f.audience))
	}
	return v.accepted()
}

// An unverifiable error says why it cannot be known whether the signature is good.
type unverifiable struct{ error }

// signature is an error unless the token is signed by its issuer. It also returns where
// the keys came from, and what some verifiers refuse the key for.
func (f *verifyFlags) signature(ctx context.Context, text agent.Secret, t profile.Token) (from, odd string, err error) {
	alg, _ := t.Header["alg"].(string)
	if strings.HasPrefix(alg, "HS") {
		return f.keyFile, "", f.sharedKey(text, t, alg)
	}
	if f.keyFile != "" {
		return "", "", unverifiable{fmt.Errorf("--key-file is for an IDTOKEN, which is signed with HS256, and this token says %s; leave it out", parameter(t.Header, "alg"))}
	}
	published, from, err := f.published(ctx, t)
	if err != nil {
		return from, "", unverifiable{err}
	}
	k, err := published.Verify(text)
	return from, k.Odd, err
}

// published are the public keys of the token's issuer, and where they are.
func (f *verifyFlags) published(ctx context.Context, t profile.Token) (set issuer.KeySet, from string, err error) {
	if f.jwks != "" && !strings.HasPrefix(f.jwks, "https://") {
		text, err := readAtMost(f.jwks, mostKeySet)
		if err != nil {
			return set, f.jwks, err
		}
		if set, err = issuer.ParseKeys(text); err != nil {
			err = fmt.Errorf("%s: %w", f.jwks, err)
		}
		return set, f.jwks, err
	}
	iss, _ := t.Claims["iss"].(string)
	if f.jwks == "" {
		if err := issuer.CheckURL(iss); err != nil {
			return set, "", fmt.Errorf("its issuer is %s, which cannot be asked for the keys (%w); name them with --jwks", parameter(t.Claims, "iss"), err)
		}
	}
	return issuer.NewServer(issuer.Address{Issuer: iss, JWKSURI: f.jwks, CAFile: f.caFile}).Keys(ctx)
}

// sharedKey verifies an IDTOKEN with the key of its pool, as the pool's servers do.
func (f *verifyFlags) sharedKey(text agent.Secret, t profile.Token, alg string) error {
	kid, _ := t.Header["kid"].(string)
	switch {
	case alg != "HS256":
		return unverifiable{fmt.Errorf("it is signed by %s, with a secret that only its issuer and its services have", alg)}
	case f.keyFile == "":
		return unverifiable{fmt.Errorf("it is signed by HS256, as the IDTOKENs of HTCondor are, and only the key that its pool calls %s can verify it; name a copy with --key-file, on the central manager as root that of /etc/condor/passwords.d", plain(kid))}
	}
	key, err := keys.ReadCondor(f.keyFile, kid)
	if err != nil {
		return unverifiable{err}
	}
	if !key.Signed(text.Reveal()) {
		return fmt.Errorf("it is not signed with the key in %s; the pool that made it has another under the name %s", f.keyFile, plain(kid))
	}
	return nil
}
