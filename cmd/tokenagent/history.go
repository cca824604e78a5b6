package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/agent/history"
	"github.com/tokenagent/tokenagent/agent/host"
)

func newHistory() *cobra.Command {
	h := historyFlags{from: place{tells: true}}
	c := &cobra.Command{
		Use:   "history [NAME…]",
		Short: "Show which tokens were put where, signed with which key, and why",
		Long: `Show which tokens were put where, signed with which key, until when they live, and
why they were asked for; the newest comes last. It reads the journal in the state
folder: all tokens that live, and of those that have expired the last 90 days. No
token is in it. Tokens that token create and exec have issued from the configuration
are in it where the user may write the folder. Not in it are tokens from before an
upgrade to this version, until they are renewed, and those signed by flags alone.

After a token has leaked: --jti or --path finds what else it may be known by, and
tokenagent issuer revoke takes the key of an issuer out of use. For an HTCondor
pool, --living --key POOL --revoke-expression prints an expression that refuses
the tokens found: put it into SEC_TOKEN_REVOCATION_EXPR of the pool's daemons.`,
		Example: `  tokenagent history pilot --since 24h
  tokenagent history --living --kid 2026-11-30-k3f9w2ab
  tokenagent history --living --key POOL --revoke-expression`,
		RunE: func(c *cobra.Command, names []string) error {
			ctx, stop := untilSignal(c.Context())
			defer stop()
			return h.show(ctx, c, names)
		},
	}
	h.from.configFlag(c)
	f := c.Flags()
	f.StringVar(&h.since, "since", "", "only those put there since then: a `time` such as 24h, 2026-11-30 or 2026-11-30T12:00:00Z")
	f.BoolVar(&h.living, "living", false, "only those that have not expired")
	f.StringVar(&h.jti, "jti", "", "only the token with that `claim` jti")
	f.StringVar(&h.kid, "kid", "", "only those signed with the key of that `name`; --key is the same")
	f.StringVar(&h.path, "path", "", "only those put into that `file`")
	f.BoolVar(&h.revoke, "revoke-expression", false, "print what refuses them for HTCondor's SEC_TOKEN_REVOCATION_EXPR")
	f.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "key" {
			name = "kid"
		}
		return pflag.NormalizedName(name)
	})
	jsonFlag(c, &h.json)
	return c
}

// historyFlags are those of history.
type historyFlags struct {
	from                  place
	since, jti, kid, path string
	living, revoke, json  bool
	after                 time.Time
	names                 []string
}

func (h *historyFlags) show(ctx context.Context, c *cobra.Command, names []string) (err error) {
	if h.revoke && h.json {
		return usage("--revoke-expression prints an expression, and no JSON")
	}
	if h.after, err = sinceTime(h.since, wall()); err != nil {
		return err
	}
	if h.path != "" {
		if h.path, err = filepath.Abs(h.path); err != nil { // the journal has them so
			return err
		}
	}
	h.names = names
	cfg, err := h.from.load(ctx, true)
	if err != nil {
		return err
	}
	found := pastTokens{Tokens: []history.Entry{}}
	dir := h.from.home(cfg.Settings).Dir()
	if err := history.Read(dir, func(e history.Entry) bool {
		if h.wanted(e, wall()) {
			found.Tokens = append(found.Tokens, e)
		}
		return ctx.Err() == nil
	}); errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w; run this as the agent's user", err)
	} else if err != nil {
		return err
	}
	if h.revoke {
		return printRevocation(c, found.Tokens)
	}
	if len(found.Tokens) == 0 && !h.json {
		fmt.Fprintf(c.ErrOrStderr(), "tokenagent: no such token in %s\n", dir)
	}
	return show(c.OutOrStdout(), h.json, found)
}

// sinceTime is the time that a person has typed: how long ago, or a date.
func sinceTime(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, err := config.ParseDuration(text); err == nil {
		return now.Add(-ago), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateTime, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usage("--since %s: write how long ago, such as 24h or 7d, or a date such as 2026-11-30", text)
}

func (h *historyFlags) wanted(e history.Entry, now time.Time) bool {
	named := len(h.names) == 0
	for _, name := range h.names {
		named = named || agent.Renewer{Name: e.Token}.Selects(name)
	}
	return named && (!h.living || e.Lives(now)) && (h.jti == "" || e.JTI == h.jti) && (h.kid == "" || e.KID == h.kid) &&
		(h.path == "" || e.Path == h.path) && !e.At.Before(h.after)
}

// pastTokens are entries of the history.
type pastTokens struct {
	Tokens []history.Entry `json:"tokens"`
}

// print writes a few lines for each token, which fit into a terminal.
func (p pastTokens) print(w io.Writer) {
	for _, e := range p.Tokens {
		fmt.Fprintf(w, "%s  %s  %s\n", e.At.Local().Format(time.DateTime), plain(e.Token), livesUntil(e, wall()))
		for _, line := range [][2]string{{"in", e.Path}, {"why", e.Why}, {"kid", e.KID}, {"jti", e.JTI}} {
			if line[1] != "" {
				fmt.Fprintf(w, "  %-3s  %s\n", line[0], plain(line[1]))
			}
		}
	}
}

func livesUntil(e history.Entry, now time.Time) string {
	switch {
	case e.Expires.IsZero():
		return "its end is not known"
	case e.Lives(now):
		return "expires " + away(e.Expires, now)
	}
	return "expired " + away(e.Expires, now)
}

// sureJTI matches what HTCondor's configuration takes as it is written. It expands $(…), and old
// and new ClassAds read a backslash differently.
var sureJTI = regexp.MustCompile(`^[ !#%-\[\]-~]+$`)

// printRevocation prints an expression that is true for these tokens alone.
func printRevocation(c *cobra.Command, tokens []history.Entry) error {
	var terms []string
	unnamed := 0
	for _, e := range tokens {
		if !sureJTI.MatchString(e.JTI) {
			unnamed++
			continue
		}
		terms = append(terms, `jti =?= "`+e.JTI+`"`)
	}
	if unnamed > 0 {
		fmt.Fprintf(c.ErrOrStderr(), "tokenagent: warning: %s cannot be named, without a jti or with one that HTCondor's configuration would change; a new pool key ends what stays good\n", host.Plural(unnamed, "token"))
	}
	if len(terms) == 0 {
		return fmt.Errorf("no living token is found that an expression could name")
	}
	_, err := fmt.Fprintln(c.OutOrStdout(), strings.Join(terms, " || "))
	return err
}

// record has the journal note each token that the agent puts somewhere.
func record(a *agent.Agent, j *history.Journal) {
	a.Installed(func(name, path string, t agent.Token, why string) {
		j.Add(history.Entry{At: wall().UTC(), Token: name, Path: path, JTI: t.ID, KID: t.KeyID, Issued: t.Issued.UTC(), Expires: t.Expires.UTC(), Why: why})
	})
}

// noteIssued notes a token that a command has printed, or given to a program, in the journal in the
// state folder of an agent, where there is one that this user can write. It may leak as any other.
func noteIssued(dir string, r agent.Renewer, secret agent.Secret, why string) {
	if !isOwn(dir) || r.Decode == nil {
		return
	}
	t, _ := r.Decode(secret)
	j := history.New(dir, wall)
	j.Add(history.Entry{At: wall().UTC(), Token: r.Name, JTI: t.ID, KID: t.KeyID, Issued: t.Issued.UTC(), Expires: t.Expires.UTC(), Why: why})
	_ = j.Write() // the command is about the token
}

// isOwn reports whether there is a folder at the path that belongs to this user. A file that root
// makes in the folder of another shuts that one's agent out.
func isOwn(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir() && int(info.Sys().(*syscall.Stat_t).Uid) == os.Geteuid()
}

// keepHistory writes the journal until ctx is done.
func keepHistory(ctx context.Context, j *history.Journal, log logrus.FieldLogger) {
	j.Run(ctx, func(err error) {
		if err != nil {
			log.WithError(err).Warn("the history of tokens cannot be written; it is tried again every second, and tokens do not wait for it")
		} else {
			log.Info("the history of tokens is written again")
		}
	})
}
