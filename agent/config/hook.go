package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tokenagent/tokenagent/agent"
)

// events are the labels of hook blocks.
var events = []string{string(agent.OnFirst), string(agent.OnChange), string(agent.OnFailure), string(agent.OnRecover)}

// hooks are those of the hook blocks.
func (b *Block) hooks() []agent.Hook {
	var hooks []agent.Hook
	for _, s := range b.stanza.blocks {
		if s.kind != "hook" || b.load.kinds.Hook == nil {
			continue
		}
		if h, ok := b.hook(s); ok {
			hooks = append(hooks, h)
		}
	}
	return hooks
}

// A decodedHook is what came of a hook block.
type decodedHook struct {
	hook agent.Hook
	ok   bool
}

// hook decodes a hook block: once for all instances that have it alike.
func (b *Block) hook(s *stanza) (agent.Hook, bool) {
	if slices.ContainsFunc(s.attributes, func(a *attribute) bool { return a.each }) {
		return b.decodeHook(s, b.instance)
	}
	h, known := b.load.hooks[s]
	if !known {
		h.hook, h.ok = b.decodeHook(s, nil)
		b.load.hooks[s] = h
	}
	return h.hook, h.ok
}

func (b *Block) decodeHook(s *stanza, in *instance) (agent.Hook, bool) {
	if !b.load.labelled(s, "EVENT") {
		return agent.Hook{}, false
	}
	event := s.labels[0]
	if !slices.Contains(events, event) {
		b.load.fault(s.labelAt[0], fmt.Sprintf("unknown event %q", event), eventHint(event))
	}
	isSink := func(s *stanza) bool { return s.kind == "sink" }
	if !slices.ContainsFunc(b.stanza.blocks, isSink) {
		b.load.fault(s.header, "a hook without a sink", "it is run when a file of the token was, or could not be, written; write a sink block, or leave the hook out")
	}
	return b.load.kinds.Hook(b.load.block(s, b.name, in), agent.Event(event))
}

func eventHint(event string) string {
	if near := nearest(event, events); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return "the events are " + strings.Join(events, ", ")
}
