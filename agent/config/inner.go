package config

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/hooks"
)

// decodeSinks decodes the sink blocks; their definitions go into the digest.
func (t *token) decodeSinks() {
	blocks := t.stanza.inner("sink")
	if len(blocks) == 0 {
		t.Warn("", "no sink block", "run keeps no token for it; it can only be used by exec and token create")
	}
	for _, s := range blocks {
		decode := t.sinkDecoder(s)
		if decode == nil {
			continue
		}
		b := t.load.block(s, t.name, t.instance)
		t.digest.block(b)
		sink := decode(b, t.request)
		if sink.Path != "" && (t.instance == nil || !t.instance.checkOnly) {
			b.writes(sink.Path)
		}
		if sink.Sink != nil {
			t.sinks = append(t.sinks, sink)
		}
	}
}

// sinkDecoder is the decoder of the kind that the sink block names, or surely means; nil
// where there is none.
func (t *token) sinkDecoder(s *stanza) SinkDecoder {
	sinks, found := t.load.kinds.Sinks, t.load.found
	proper := s.labelled(found, "KIND")
	if decode := sinks[s.labels[0]]; decode != nil {
		return decode
	}
	known := slices.Sorted(maps.Keys(sinks))
	switch {
	case proper:
		s.correctKind(found, known)
	case len(known) == 1:
		s.labels[0] = known[0]
	}
	return sinks[s.labels[0]]
}

// writes notes that the token is written to the path. It reports a path that something else
// writes or reads, or that is in a folder that a source has reserved.
func (b *Block) writes(path string) {
	p, folder := b.load.places, filepath.Dir(path)
	if keeper, kept := p.folders[p.locateFolder(folder)]; kept {
		b.Fault("path", "a token in the folder of a source", fmt.Sprintf("%s keeps its files in %s, at %s, and could take the token for one of them; write it elsewhere", keeper.what, folder, placeText(keeper.at)))
		return
	}
	where := p.locate(path)
	first, taken := p.files[where]
	switch {
	case !taken:
		p.files[where] = writer{"token " + b.name, false, b.place("path")}
	case first.read:
		b.Fault("path", "a token would replace a file that is read", fmt.Sprintf("%s reads %s, at %s", first.what, path, placeText(first.at)))
	case first.at == b.place("path"):
		b.Fault("path", "the same path for several instances", fmt.Sprintf("%s writes %s too; use each.key in it", first.what, path))
	default:
		b.Fault("path", "duplicate path", fmt.Sprintf("%s writes %s too, at %s", first.what, path, placeText(first.at)))
	}
}

// writer is what uses the file of that path first, and whether this token writes it.
func (t *token) writer(where location) (w writer, own bool) {
	w = t.load.places.files[where]
	return w, !w.read && w.what == "token "+t.name
}

// checkCircle reports a token that would replace the file that its own source copies or
// exchanges. Another token may write that file: that is what such a source is for.
func (t *token) checkCircle() {
	follower, ok := t.from.Source.Source.(agent.Follower)
	if !ok {
		return
	}
	path, _ := follower.Follows()
	if path == "" {
		return
	}
	if w, own := t.writer(t.load.places.locate(path)); own {
		t.report(severityError, w.at, "the token would replace what it is made from", fmt.Sprintf("%s reads %s; write the token elsewhere", t.from.Name, path))
	}
}

// hooks are those of the hook blocks, for tokens with that schedule.
func (t *token) hooks(schedule agent.Schedule) (all []hooks.Hook) {
	if t.load.kinds.Hook == nil {
		return nil
	}
	life := t.request.Lifetime
	left := schedule.Left(life)
	for _, s := range t.stanza.inner("hook") {
		h := t.hook(s)
		if life > 0 && h.Before >= left { // it would hear of each token that is renewed normally
			t.load.block(s, t.name, t.instance).Fault("before", "before is too long for the lifetime",
				fmt.Sprintf("a token that lives %s is renewed when %s is left of it, and the hook is for one that is not; write less than that", Spoken(life), Spoken(left)))
		}
		if h.Command != nil {
			all = append(all, h)
		}
	}
	return all
}

// hook decodes a hook block: once for all instances that have it alike.
func (t *token) hook(s *stanza) hooks.Hook {
	if slices.ContainsFunc(s.attributes, func(a *attribute) bool { return a.each }) {
		return t.decodeHook(s, t.instance)
	}
	return once(t.load, s, func() hooks.Hook { return t.decodeHook(s, nil) })
}

func (t *token) decodeHook(s *stanza, in *instance) hooks.Hook {
	var events []string
	for _, e := range hooks.Events {
		events = append(events, string(e))
	}
	proper := s.labelled(t.load.found, "EVENT")
	event := s.labels[0]
	if proper && !slices.Contains(events, event) {
		t.load.found.fault(s.labelAt[0], fmt.Sprintf("unknown event %q", event),
			suggestion(event, events, "%q", "the events are "+strings.Join(events, ", ")))
	}
	if len(t.stanza.inner("sink")) == 0 {
		t.load.found.fault(s.header, "a hook without a sink", "it is run when a file of the token was, or could not be, written; write a sink block, or leave the hook out")
	}
	return t.load.kinds.Hook(t.load.block(s, t.name, in), hooks.Event(event))
}

// A renewText is a renew block as it is written.
type renewText struct {
	At           float64       `hcl:"at,optional"`
	MinRemaining time.Duration `hcl:"min_remaining,optional"`
	Cron         string        `hcl:"cron,optional"`
}

// schedule is what the renew block says.
func (t *token) schedule() agent.Schedule {
	s := agent.Schedule{Jitter: agent.Jitter(t.load.env.Machine.Seed, t.name)}
	for _, inner := range t.single("renew") {
		t.load.block(inner, t.name, t.instance).renew(&s, t.request.Lifetime)
	}
	return s
}

// single are the inner blocks of a kind of which there may be one. It reports a second.
func (t *token) single(kind string) []*stanza {
	blocks := t.stanza.inner(kind)
	for i, inner := range blocks {
		if i > 0 {
			t.load.found.again(inner.header, "a second "+kind+" block", blocks[0].header)
		}
		inner.labelled(t.load.found)
	}
	return blocks
}

// validation is that of the validate block.
func (t *token) validation() (v agent.Validation) {
	if t.load.kinds.Validate == nil {
		return v
	}
	for _, s := range t.single("validate") {
		if len(t.stanza.inner("sink")) == 0 {
			t.load.found.fault(s.header, "a validate block without a sink", "it tries a token before the token is written; write a sink block, or leave this one out")
		}
		var first Sink
		if len(t.sinks) > 0 {
			first = t.sinks[0]
		}
		v = t.load.kinds.Validate(t.load.block(s, t.name, t.instance), t.request, first)
	}
	return v
}

// renew decodes a renew block, for a lifetime that may be unknown (zero).
func (b *Block) renew(s *agent.Schedule, lifetime time.Duration) {
	var text renewText
	b.Decode(&text)
	if b.Has("at") && (text.At < agent.MinAt || text.At > agent.MaxAt) {
		b.Fault("at", "at is out of range", fmt.Sprintf("it is the share of its life at which a token is renewed, %v to %v", agent.MinAt, agent.MaxAt))
		text.At = 0 // nothing is compared with it
	}
	longest := lifetime - agent.LeastWait(lifetime)
	switch {
	case b.Has("min_remaining") && text.MinRemaining == 0:
		b.Fault("min_remaining", "min_remaining is zero", "every reader finds a token that is valid for at least this long; leave it out for the default")
	case lifetime > 0 && text.MinRemaining > longest:
		b.Fault("min_remaining", "min_remaining is too long for the lifetime",
			fmt.Sprintf("with a lifetime of %s it is at most %s", Spoken(lifetime), Spoken(longest)))
		text.MinRemaining = 0
	}
	s.At, s.MinRemaining = text.At, text.MinRemaining
	if text.Cron != "" {
		s.Cron = b.cron(text.Cron)
	}
}

// A cronText is a key of once: many tokens may share a schedule.
type cronText string

func (b *Block) cron(text string) cron.Schedule {
	type result struct {
		cron.Schedule
		err error
	}
	parsed := once(b.load, cronText(text), func() (r result) {
		r.Schedule, r.err = agent.ParseCron(text)
		return r
	})
	if parsed.err != nil {
		b.Fault("cron", "cron is not a schedule", parsed.err.Error()+
			`; it has five fields (minute, hour, day of month, month, day of week), as in "30 4 * * *", optionally behind CRON_TZ=ZONE`)
	}
	if zone := b.Getenv("TZ"); parsed.err == nil && !strings.Contains(text, "TZ=") && !knownZone(zone) {
		b.Warn("cron", "the local time is not known", fmt.Sprintf("TZ is %q, which is not a file or name of the time zone database, so cron counts in UTC; write the zone before it, as in CRON_TZ=Europe/Zurich", zone))
	}
	return parsed.Schedule
}

// knownZone reports whether Go's time.Local follows that value of TZ. It takes UTC for one
// that it does not know, also for a rule as POSIX has it, which the C library follows.
func knownZone(tz string) bool {
	name := strings.TrimPrefix(tz, ":")
	if filepath.IsAbs(name) {
		_, err := os.Stat(name)
		return err == nil
	}
	_, err := time.LoadLocation(name)
	return err == nil
}
