package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/agent/control"
	"github.com/tokenagent/tokenagent/sinks/condor"
	"github.com/tokenagent/tokenagent/sources"
	"github.com/tokenagent/tokenagent/sources/issuer"
)

func newLogin() *cobra.Command {
	l := login{from: place{runs: true}} // it sends secrets to servers that the configuration names
	c := &cobra.Command{
		Use:   "login SOURCE",
		Short: "Log in to a source once, so that it gets tokens by itself",
		Long: `Log in to a source once. From then on it gets tokens by itself.

A source "refresh_token" asks its issuer: open the address that is printed in any
browser, on any machine, and enter the code (the device flow, RFC 8628). It asks
for the scopes and audiences of all tokens of the source, and for the scope
offline_access, for which most issuers give a refresh token. The refresh token
replaces the earlier one in the state folder.

A source "htcondor_fetch" asks its pool for a long-lived token, with the identity
and all authorisations of its tokens: give the number that is printed to an
administrator of the pool, who approves it with condor_token_request_approve. The
token is stored in token_dir.

A running agent then tries again at once. Run login as the agent's user.

Exit codes: 0 the token is stored, and a running agent has its tokens, 1 one of these
failed, 2 there is no such SOURCE, 78 the configuration has faults.`,
		Example: `  tokenagent login cilogon
  tokenagent login cilogon --scope org.cilogon.userinfo --offline-access=false
  tokenagent login pool --lifetime 180d`,
		Args: arguments(1, 1, "SOURCE"),
		RunE: func(c *cobra.Command, args []string) error {
			ctx, stop := untilSignal(c.Context())
			defer stop()
			l.out = c.OutOrStdout()
			return l.run(ctx, args[0])
		},
	}
	l.from.flags(c)
	c.Flags().StringSliceVar(&l.scope, "scope", nil, "a further `scope` to ask for; may be repeated")
	c.Flags().BoolVar(&l.offline, "offline-access", true, "ask an issuer for the scope offline_access")
	c.Flags().StringVar(&l.lifetime, "lifetime", "", "how long the token of an HTCondor pool is to live, as 180d (default 365d)")
	return c
}

// A login is one call of the command.
type login struct {
	from     place
	scope    []string
	offline  bool
	lifetime string
	out      io.Writer
}

func (l *login) run(ctx context.Context, name string) error {
	cfg, chosen, err := l.from.loadLogin(ctx, name)
	if err != nil {
		return err
	}
	tokens := usersOf(chosen.Source, cfg.Renewers)
	pool := strings.HasPrefix(chosen.Name, "source.htcondor_fetch.")
	req, err := l.request(tokens, pool)
	if err == nil {
		err = apart(ctx, chosen)
	}
	if err != nil {
		return err
	}
	file, err := chosen.Source.(sources.LoginSource).Login(ctx, req, l.show)
	if err != nil {
		return fmt.Errorf("%s: %w%s", chosen.Name, err, l.hint(err))
	}
	what := "refresh token"
	if pool {
		what = "long-lived token"
	}
	fmt.Fprintf(l.out, "the %s is stored: %s%s\n", what, file, lasting(chosen))
	return l.tell(ctx, cfg.Settings, tokens)
}

// apart is an error where the source's long-lived token would lie in a directory in
// which every client of HTCondor looks for tokens. It asks HTCondor, which takes a
// moment; a person waits anyway.
func apart(ctx context.Context, s config.Source) error {
	if s.Profile != "htcondor" {
		return nil
	}
	if knob := condor.TokenKnob(condor.New(ctx).Lookup, filepath.Dir(s.Files[0])); knob != "" {
		return fmt.Errorf("%s: token_dir is %s of HTCondor on this host: every client would send the long-lived token; name a folder of its own, such as /etc/tokenagent/condor/%s", s.Name, knob, s.Label)
	}
	return nil
}

// lasting says when the token ends that the source asks with; "" for none.
func lasting(s config.Source) string {
	if s.Ends == nil {
		return ""
	}
	ends := s.Ends()
	if len(ends) == 0 || ends[0].Err != nil || ends[0].At.IsZero() {
		return ""
	}
	at := ends[0].At
	return fmt.Sprintf("\nit ends %s, on %s", away(at, wall()), at.Local().Format(time.DateTime))
}

// loadLogin is the configuration, and its source of that name, which takes a login.
func (p *place) loadLogin(ctx context.Context, name string) (cfg *config.Config, s config.Source, err error) {
	if cfg, err = p.load(ctx, true); err != nil { // files that other blocks name do not matter here
		return nil, s, err
	}
	if s, err = chooseLogin(cfg.Sources, name); err == nil {
		p.claimBase(ctx, cfg)
	}
	return cfg, s, err
}

// chooseLogin is the source of that name, which may be the whole reference to it.
func chooseLogin(all []config.Source, name string) (config.Source, error) {
	var there []string
	var other string // a source of that name that takes no login
	for _, s := range all {
		_, can := s.Source.(sources.LoginSource)
		block, key, _ := strings.Cut(strings.TrimSuffix(s.Label, `"]`), `["`)
		meant := slices.Contains([]string{s.Name, s.Label, block + "/" + key}, name)
		switch {
		case can && meant:
			return s, nil
		case can:
			there = append(there, s.Label)
		case meant:
			other = s.Name
		}
	}
	switch {
	case other != "":
		return config.Source{}, usage("%s needs no login", other)
	case len(there) == 0:
		return config.Source{}, usage(`no source %q to log in to; the configuration has no source "refresh_token" or "htcondor_fetch"`, name)
	}
	return config.Source{}, usage("no source %q to log in to; there are: %s", name, strings.Join(there, ", "))
}

// request is what all these tokens ask for, and what the flags add.
func (l *login) request(tokens []agent.Renewer, pool bool) (all agent.Request, err error) {
	for _, r := range tokens {
		all.Scope = append(all.Scope, r.Request.Scope...)
		all.Audience = append(all.Audience, r.Request.Audience...)
		if all.Subject != "" && r.Request.Subject != "" && all.Subject != r.Request.Subject {
			return all, usage("the tokens of the source have the subjects %s and %s, and one login gives one identity; define a source for each", all.Subject, r.Request.Subject)
		}
		all.Subject = cmp.Or(all.Subject, r.Request.Subject)
	}
	all.Scope = append(all.Scope, strings.Fields(strings.Join(l.scope, " "))...)
	if l.offline && !pool {
		all.Scope = append(all.Scope, "offline_access")
	}
	if l.lifetime != "" {
		if all.Lifetime, err = config.ParseDuration(l.lifetime); err != nil || all.Lifetime < time.Second || !pool {
			return all, usage("--lifetime %s: it is a duration such as 180d, for a source \"htcondor_fetch\"", l.lifetime)
		}
	}
	slices.Sort(all.Scope)
	slices.Sort(all.Audience)
	all.Scope, all.Audience = slices.Compact(all.Scope), slices.Compact(all.Audience)
	return all, nil
}

// hint is what to try where the issuer refuses the scope.
func (l *login) hint(err error) string {
	if denied, ok := errors.AsType[*issuer.Denied](err); ok && denied.Code == "invalid_scope" && l.offline {
		return ", or leave offline_access out with --offline-access=false"
	}
	return ""
}

// show prints what the person has to do.
func (l *login) show(p sources.Prompt) {
	if p.Request != "" {
		fmt.Fprintf(l.out, "request %s waits for an administrator of the pool, who types\n  %s\n", p.Request, plain(p.Approve))
		return
	}
	fmt.Fprintf(l.out, "open       %s\nand enter  %s\n", plain(p.URI), plain(p.UserCode))
	if p.URIComplete != "" {
		fmt.Fprintf(l.out, "or open    %s\n", plain(p.URIComplete))
	}
	if !p.Expires.IsZero() {
		fmt.Fprintf(l.out, "within     %s\n", config.Spoken(p.Expires.Sub(wall())))
	}
}

// tell makes a running agent try again, and prints the outcome.
func (l *login) tell(ctx context.Context, s config.Settings, tokens []agent.Renewer) error {
	if len(tokens) == 0 {
		return nil
	}
	var names []string
	for _, r := range tokens {
		names = append(names, r.Name)
	}
	var found []agent.Status
	client, err := l.from.agent(ctx, s)
	if err == nil {
		found, err = client.Refresh(ctx, names...)
	}
	if errors.Is(err, control.ErrNoAgent) {
		fmt.Fprintln(l.out, "no agent runs; the next one uses it")
		return nil
	}
	if err != nil {
		return fmt.Errorf("the running agent could not be told, and tries again by itself; %s makes it try now: %w", l.from.command(s, "refresh"), err)
	}
	return errors.Join(show(l.out, false, survey{Agent: true, Tokens: found}), failed(found))
}
