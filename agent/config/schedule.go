package config

import (
	"fmt"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/tokenagent/tokenagent/agent"
)

// A renewText is a renew block as it is written.
type renewText struct {
	At           float64       `hcl:"at,optional"`
	MinRemaining time.Duration `hcl:"min_remaining,optional"`
	Cron         string        `hcl:"cron,optional"`
}

// schedule is what the renew block of a token says, for a lifetime that may be
// unknown (zero).
func (b *Block) schedule(lifetime time.Duration) agent.Schedule {
	s := agent.Schedule{Jitter: agent.Jitter(b.load.env.Machine.Seed, b.name)}
	var first *stanza
	for _, inner := range b.stanza.blocks {
		switch {
		case inner.kind != "renew":
			continue
		case first != nil:
			b.report(severityError, inner.header, "a second renew block", "the first is at "+placeText(first.header))
		default:
			first = inner
		}
		b.load.labelled(inner)
		b.load.block(inner, b.name, b.instance).renew(&s, lifetime)
	}
	return s
}

func (b *Block) renew(s *agent.Schedule, lifetime time.Duration) {
	var text renewText
	b.decode(&text)
	if b.Has("at") && (text.At < agent.MinAt || text.At > agent.MaxAt) {
		b.Fault("at", "at is out of range", fmt.Sprintf("it is the share of its life at which a token is renewed, %v to %v", agent.MinAt, agent.MaxAt))
	}
	longest := lifetime - agent.LeastWait(lifetime)
	switch {
	case b.Has("min_remaining") && text.MinRemaining == 0:
		b.Fault("min_remaining", "min_remaining is zero", "it is how much life a reader always finds; leave it out for the default")
	case lifetime > 0 && text.MinRemaining > longest:
		b.Fault("min_remaining", "min_remaining is too long for the lifetime",
			fmt.Sprintf("of a lifetime of %s at most %s can be left", Spoken(lifetime), Spoken(longest)))
	}
	s.At, s.MinRemaining = text.At, text.MinRemaining
	if text.Cron != "" {
		s.Cron = b.cron(text.Cron)
	}
}

// A cronResult is what came of one cron text, which many tokens may share.
type cronResult struct {
	cron.Schedule
	err error
}

func (b *Block) cron(text string) cron.Schedule {
	result, known := b.load.schedules[text]
	if !known {
		result.Schedule, result.err = agent.ParseCron(text)
		b.load.schedules[text] = result
	}
	if result.err != nil {
		b.Fault("cron", "cron is not a schedule", result.err.Error()+
			`; it has five fields (minute, hour, day of month, month, day of week), as in "30 4 * * *", optionally behind CRON_TZ=ZONE`)
	}
	return result.Schedule
}
