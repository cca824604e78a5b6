package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/agent/control"
	"github.com/tokenagent/tokenagent/agent/history"
	"github.com/tokenagent/tokenagent/agent/host"
	"github.com/tokenagent/tokenagent/sources"
	"github.com/tokenagent/tokenagent/sources/rotation"
)

func newIssuerStatus() *cobra.Command {
	f := issuerFlags{from: place{tells: true, sinkless: true}}
	c := &cobra.Command{
		Use:   "status",
		Short: "Show each key: its stage, since when, what comes next, and which tokens it has signed",
		Long: `Show the keys of the issuers: the stage of each key and since when, what comes next
and when, and how many tokens live that it has signed.

The stages: created (not seen in the published document yet), published (stands
ready to sign), signing, retired (still published for the tokens that it has
signed), revoked.`,
		Example: `  tokenagent issuer status
  tokenagent issuer status --issuer ospool --json`,
		Args: arguments(0, 0, ""),
		RunE: f.with(func(_ context.Context, c *cobra.Command, chosen []*rotation.Issuer, _ []string) error {
			var all issuersShown
			for _, i := range chosen {
				one, err := f.look(i)
				if err != nil {
					return err
				}
				all.Issuers = append(all.Issuers, one)
			}
			return show(c.OutOrStdout(), f.json, all)
		}),
	}
	f.add(c)
	jsonFlag(c, &f.json)
	return c
}

func newIssuerPublish() *cobra.Command {
	f := issuerFlags{from: place{runs: true, sinkless: true}}
	c := &cobra.Command{
		Use:   "publish",
		Short: "Put the documents of the issuers in order once: what the running agent does every minute",
		Long: `Look after the keys of the issuers once: make a first key, write the documents that
verifiers fetch, let keys take turns that are due. A running agent does so every
minute; then this has it do so now.`,
		Example: `  tokenagent issuer publish`,
		Args:    arguments(0, 0, ""),
		RunE: f.with(func(ctx context.Context, c *cobra.Command, chosen []*rotation.Issuer, _ []string) error {
			if err := f.keep(ctx, c.ErrOrStderr(), chosen); err != nil {
				return err
			}
			for _, i := range chosen {
				fmt.Fprintf(c.OutOrStdout(), "%s: the documents are in %s\n", i.Settings().Name, i.Settings().Site.Root)
			}
			return nil
		}),
	}
	f.add(c)
	return c
}

func newIssuerRotate() *cobra.Command {
	f := issuerFlags{from: place{runs: true, sinkless: true}, one: true}
	var now bool
	c := &cobra.Command{
		Use:   "rotate",
		Short: "Have the successor of the signing key sign, as soon as verifiers must know it",
		Long: `Have the successor of the signing key sign. It does so when it has been published
for publish_ahead; until then the present key goes on. Tokens get the new key when
they are renewed anyway.

With --now the successor signs at once, if the published document holds it.
Verifiers that keep an older document refuse its tokens until they fetch it again:
after 10 minutes with scitokens-cpp, after up to 4 days elsewhere.`,
		Example: `  tokenagent issuer rotate
  tokenagent issuer rotate --issuer ospool --now`,
		Args: arguments(0, 0, ""),
		RunE: f.with(func(ctx context.Context, c *cobra.Command, chosen []*rotation.Issuer, _ []string) error {
			i := chosen[0]
			if err := i.Rotate(ctx, now); err != nil {
				return err
			}
			if err := f.keep(ctx, c.ErrOrStderr(), chosen); err != nil {
				return err
			}
			return f.print(c.OutOrStdout(), i)
		}),
	}
	f.add(c)
	c.Flags().BoolVar(&now, "now", false, "do not wait until every verifier must know the successor")
	return c
}

func newIssuerRevoke() *cobra.Command {
	f := issuerFlags{from: place{runs: true, sinkless: true}, one: true}
	c := &cobra.Command{
		Use:   "revoke KID",
		Short: "Take a key out of use at once, and sign its tokens again with the successor",
		Long: `Take the key with that ID out of use at once, as when it has leaked: it signs no
more, the published document no longer holds it, and a running agent signs all
its tokens again with the successor. The command lists what the key has signed.

Verifiers may accept tokens signed with the key as long as they keep the document
that they have: 10 minutes with scitokens-cpp, up to 4 days where they cannot fetch
it again or keep it longer.`,
		Example: `  tokenagent issuer revoke 2026-11-30-k3f9w2ab`,
		Args:    arguments(1, 1, "KID"),
		RunE: f.with(func(ctx context.Context, c *cobra.Command, chosen []*rotation.Issuer, args []string) error {
			return f.revoke(ctx, c, chosen[0], args[0])
		}),
	}
	f.add(c)
	return c
}

// issuerFlags are those of the commands for issuers.
type issuerFlags struct {
	from place
	name string
	one  bool // the command is for one issuer
	json bool

	cfg *config.Config
}

func (f *issuerFlags) add(c *cobra.Command) {
	f.from.flags(c)
	c.Flags().StringVar(&f.name, "issuer", "", "the `name` of the issuer block (default: the only one, or all)")
}

// with makes the function of a command that is called with the chosen issuers.
func (f *issuerFlags) with(do func(ctx context.Context, c *cobra.Command, chosen []*rotation.Issuer, args []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) (err error) {
		ctx, stop := untilSignal(c.Context())
		defer stop()
		if f.cfg, err = f.from.load(ctx, false); err != nil {
			return err
		}
		chosen, err := f.choose(sources.Issuers(f.cfg))
		if err != nil {
			return err
		}
		return do(ctx, c, chosen, args)
	}
}

func (f *issuerFlags) choose(all []*rotation.Issuer) (chosen []*rotation.Issuer, err error) {
	var names []string
	for _, i := range all {
		name := i.Settings().Name
		names = append(names, name)
		if f.name == "" || f.name == name {
			chosen = append(chosen, i)
		}
	}
	switch {
	case len(all) == 0:
		return nil, usage(`the configuration has no issuer block; write one: issuer "NAME" { … }`)
	case len(chosen) == 0:
		return nil, usage("there is no issuer %q; there are: %s", f.name, strings.Join(names, ", "))
	case f.one && len(chosen) > 1:
		return nil, usage("name one of the issuers with --issuer: %s", strings.Join(names, ", "))
	}
	return chosen, nil
}

// keep looks after the keys now: the running agent does it, or else this process, which
// writes to w what a person should know.
func (f *issuerFlags) keep(ctx context.Context, w io.Writer, chosen []*rotation.Issuer) error {
	client, err := f.from.agent(ctx, f.cfg.Settings)
	if err == nil {
		err = client.Keep(ctx)
	}
	if !errors.Is(err, control.ErrNoAgent) {
		return err
	}
	for _, i := range chosen {
		if err := i.Hold(); err != nil {
			return err
		}
		defer i.Release()
		var r rotation.Report
		for range 2 { // the second one sees what the first has published
			r, err = i.Step(ctx)
			if err = errors.Join(err, r.Untold); err != nil {
				return fmt.Errorf("issuer %s: %w", i.Settings().Name, err)
			}
		}
		warnStep(w, i, r)
	}
	return nil
}

// warnStep writes what keeps the keys from moving on.
func warnStep(w io.Writer, i *rotation.Issuer, r rotation.Report) {
	warnings := r.Warnings
	if r.Unseen != nil {
		warnings = append(warnings, "what "+i.Settings().URL+" publishes cannot be fetched, and no key takes turns until it can: "+r.Unseen.Error())
	}
	for _, warning := range warnings {
		fmt.Fprintf(w, "warning: issuer %s: %s\n", i.Settings().Name, plain(warning))
	}
}

func (f *issuerFlags) revoke(ctx context.Context, c *cobra.Command, i *rotation.Issuer, kid string) error {
	w := c.OutOrStdout()
	if err := i.Revoke(ctx, kid); err != nil {
		return revokedInPart(i, kid, err)
	}
	kept := f.keep(ctx, c.ErrOrStderr(), []*rotation.Issuer{i})
	l, err := i.Life()
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%s is revoked: it signs no more, and %s no longer holds it\n", plain(kid), i.Settings().Site.Root)
	living := pastTokens{f.living()[kid]}
	if len(living.Tokens) > 0 {
		fmt.Fprintf(w, "verifiers may accept what it has signed for 10 min more (scitokens-cpp), some for up to %s:\n", config.Spoken(i.Settings().Policy.PublishAhead))
		living.print(w)
	}
	if l.Signing() == "" {
		fmt.Fprintf(w, "no other key was published: no token is signed before %s holds one\n", i.Settings().URL)
	} else {
		fmt.Fprintf(w, "%s signs now; verifiers that do not know it yet refuse its tokens until they fetch the document again\n", l.Signing())
	}
	return kept
}

// revokedInPart is why a key is not revoked. Where it signs no more all the same, it says so.
func revokedInPart(i *rotation.Issuer, kid string, err error) error {
	if l, unknown := i.Life(); unknown == nil && slices.Contains(l.Revoked(), kid) {
		return fmt.Errorf("%s signs no more, but %s may still hold it: %w; put that right, and do this again", plain(kid), i.Settings().Site.Root, err)
	}
	return err
}

// living are the tokens that live, by the key that they were signed with.
func (f *issuerFlags) living() map[string][]history.Entry {
	found := map[string][]history.Entry{}
	_ = history.Read(f.from.home(f.cfg.Settings).Dir(), func(e history.Entry) bool { // without it nothing is known
		if e.KID != "" && e.Lives(wall()) {
			found[e.KID] = append(found[e.KID], e)
		}
		return true
	})
	return found
}

// print shows one issuer.
func (f *issuerFlags) print(w io.Writer, i *rotation.Issuer) error {
	one, err := f.look(i)
	if err == nil {
		one.print(w)
	}
	return err
}

// issuersShown are what issuer status shows.
type issuersShown struct {
	Issuers []issuerShown `json:"issuers"`
}

func (all issuersShown) print(w io.Writer) {
	for _, one := range all.Issuers {
		one.print(w)
	}
}

// An issuerShown is how the keys of one issuer stand.
type issuerShown struct {
	Name    string     `json:"name"`
	URL     string     `json:"url"`
	KeysDir string     `json:"keys_dir"`
	WebRoot string     `json:"web_root"`
	Asked   time.Time  `json:"rotation_asked_for,omitzero"`
	Keys    []keyShown `json:"keys"`
}

// A keyShown is how one key stands.
type keyShown struct {
	ID     string         `json:"kid"`
	Stage  rotation.Stage `json:"stage"`
	Since  time.Time      `json:"since"`
	Next   rotation.Stage `json:"next"`
	At     time.Time      `json:"next_at,omitzero"` // zero: when something else than time says so
	Gone   time.Time      `json:"unpublished_since,omitzero"`
	Living int            `json:"living_tokens"`
	Until  time.Time      `json:"living_until,omitzero"` // when the last of them expires
}

func (f *issuerFlags) look(i *rotation.Issuer) (issuerShown, error) {
	set := i.Settings()
	l, err := i.Life()
	if err != nil {
		return issuerShown{}, err
	}
	living := f.living()
	one := issuerShown{Name: set.Name, URL: set.URL, KeysDir: set.KeysDir, WebRoot: set.Site.Root, Asked: l.Asked, Keys: []keyShown{}}
	for _, k := range l.Keys {
		shown := keyShown{ID: k.ID, Stage: k.Stage(), Since: k.Since(), Gone: k.Gone}
		shown.Next, shown.At = set.Policy.After(l, k)
		for _, e := range living[k.ID] {
			shown.Living++
			if e.Expires.After(shown.Until) {
				shown.Until = e.Expires
			}
		}
		one.Keys = append(one.Keys, shown)
	}
	return one, nil
}

func (one issuerShown) print(w io.Writer) {
	fmt.Fprintf(w, "issuer %s, %s\n", plain(one.Name), plain(one.URL))
	if len(one.Keys) == 0 {
		fmt.Fprintln(w, "  it has no key yet; run or issuer publish makes one")
		return
	}
	now := wall()
	for _, k := range one.Keys {
		fmt.Fprintf(w, "  %s  %s since %s\n", plain(k.ID), k.Stage, k.Since.Local().Format(time.DateTime))
		if !k.Gone.IsZero() {
			fmt.Fprintf(w, "    not in what is published since %s, so nothing is signed\n", k.Gone.Local().Format(time.DateTime))
		}
		fmt.Fprintf(w, "    %s\n", k.next(now))
		if k.Living > 0 {
			fmt.Fprintf(w, "    %s signed with it, the last expires %s\n", livingTokens(k.Living), away(k.Until, now))
		}
	}
}

func livingTokens(n int) string {
	if n == 1 {
		return "1 living token is"
	}
	return host.Plural(n, "living token") + " are"
}

// next says what comes next for the key.
func (k keyShown) next(now time.Time) string {
	when := ""
	switch {
	case k.At.IsZero():
	case k.At.After(now):
		when = fmt.Sprintf(" %s, on %s", away(k.At, now), k.At.Local().Format(time.DateTime))
	default:
		when = " at the next look"
	}
	switch {
	case k.Next == rotation.Published:
		return "next: it is published, when the issuer's URL shows it"
	case k.Next == rotation.Signing && when == "":
		return "next: it signs, when a person asks for a rotation or the signing key is revoked"
	case k.Next == rotation.Signing:
		return "next: it signs" + when
	case k.Next == rotation.Retired && when == "":
		return "next: its successor signs, when a person asks for a rotation"
	case k.Next == rotation.Retired:
		return "next: its successor signs" + when
	case k.Stage == rotation.Revoked:
		return "next: it is forgotten" + when
	}
	return "next: it is removed" + when
}
