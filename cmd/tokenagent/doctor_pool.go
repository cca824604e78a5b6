package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/tokenagent/tokenagent/sinks/condor"
	"github.com/tokenagent/tokenagent/sinks/tokendir"
)

// A poolReply is what doctor --pool shows.
type poolReply struct{ condor.Reply }

// askPool asks the pool what it allows.
func (d doctor) askPool(ctx context.Context, f *doctorFlags, dirs []string) (r poolReply, err error) {
	p := condor.Ping{Environ: os.Environ(), Pool: f.pool, Type: f.kind, Name: f.name, Method: f.method}
	switch {
	case len(dirs) > 1:
		return r, usage("--pool takes one DIR at most: the one that HTCondor's client is to read")
	case len(dirs) == 1 && dirs[0] == "":
		return r, usage("a DIR is empty; leave it out for the directory that HTCondor would use")
	case len(dirs) == 1:
		p.Directory = dirs[0]
	}
	users, err := readers(f.as)
	if err != nil {
		return r, err
	}
	reader := users[len(users)-1]
	if reader.UID != os.Getuid() {
		u, err := account(reader, f.as)
		if err != nil {
			return r, err
		}
		p.As = &condor.Client{Name: u.Name, Home: u.Home, Credential: syscall.Credential{Uid: u.UID, Gid: u.GID, Groups: u.Groups}}
	}
	if r.Reply, err = p.Ask(ctx); err != nil {
		return r, err
	}
	r.As = reader.String()
	r.Explain(d.readingOf(r.Reply, reader))
	if key, has := condor.HostKeys(d.knob, &r.Pool); has && reader.UID == 0 {
		r.Findings = append(r.Findings, key)
	}
	return r, nil
}

// readingOf reads the token directory that the client has read; nil where none counts.
func (d doctor) readingOf(r condor.Reply, reader tokendir.User) *tokendir.Reading {
	if r.Method != "IDTOKENS" || r.Directory == "" {
		return nil
	}
	reading := d.one(tokendir.At(r.Directory, reader, d.knob)).reading
	return &reading
}

func (r poolReply) print(w io.Writer) {
	fmt.Fprintf(w, "%s of %s, asked as %s by condor_ping: with %s alone and no signing key\n", plain(r.Type), plain(r.Address), plain(r.As), r.Method)
	fmt.Fprintf(w, "  trust domain %s, keys %s, HTCondor %s\n", orDash(r.TrustDomain), orDash(strings.Join(r.Keys, ", ")), cmp.Or(r.Server, "of unknown version"))
	t := newTable(w, "  LEVEL", "ANSWER", "METHOD", "IDENTITY")
	for _, l := range r.Levels {
		answer := "not authorised"
		if l.Authorised {
			answer = "authorised"
		}
		t.row("  "+plain(l.Level), answer, orDash(l.Method), orDash(l.Identity))
	}
	t.Flush()
	if r.Directory != "" {
		fmt.Fprintf(w, "\n  the client sent %s of %s%s\n", cmp.Or(plain(r.Sent), "nothing"), plain(r.Directory), replayInWords(r.Replay))
	}
	printFindings(w, r.Findings, "the pool")
}

func replayInWords(r *condor.Replay) string {
	switch {
	case r == nil:
		return ""
	case r.Agrees:
		return ", as the replay says"
	}
	return "; the replay says " + cmp.Or(plain(r.Sent), "nothing")
}

// ill reports whether the pool does not allow what it should.
func (r poolReply) ill() bool { return slices.ContainsFunc(r.Findings, isGrave) }

func isGrave(f tokendir.Finding) bool { return f.Grave }
