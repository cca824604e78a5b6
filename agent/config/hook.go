package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tokenagent/tokenagent/agent/hooks"
	"github.com/tokenagent/tokenagent/agent/profile"
)

// events are the labels of hook blocks.
var events = eventNames()

func eventNames() (names []string) {
	for _, e := range hooks.Events {
		names = append(names, string(e))
	}
	return names
}

// hooks are those of the hook blocks.
func (b *Block) hooks() []hooks.Hook {
	var all []hooks.Hook
	for _, s := range b.stanza.blocks {
		if s.kind != "hook" || b.load.kinds.Hook == nil {
			continue
		}
		if h, ok := b.hook(s); ok {
			all = append(all, h)
		}
	}
	return all
}

// A decodedHook is what came of a hook block.
type decodedHook struct {
	hook hooks.Hook
	ok   bool
}

// hook decodes a hook block: once for all instances that have it alike.
func (b *Block) hook(s *stanza) (hooks.Hook, bool) {
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

func (b *Block) decodeHook(s *stanza, in *instance) (hooks.Hook, bool) {
	proper := b.load.labelled(s, "EVENT")
	event := s.labels[0]
	if proper && !slices.Contains(events, event) {
		b.load.fault(s.labelAt[0], fmt.Sprintf("unknown event %q", event), eventHint(event))
	}
	isSink := func(s *stanza) bool { return s.kind == "sink" }
	if !slices.ContainsFunc(b.stanza.blocks, isSink) {
		b.load.fault(s.header, "a hook without a sink", "it is run when a file of the token was, or could not be, written; write a sink block, or leave the hook out")
	}
	return b.load.kinds.Hook(b.load.block(s, b.name, in), hooks.Event(event))
}

func eventHint(event string) string {
	if near := profile.Nearest(event, events); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return "the events are " + strings.Join(events, ", ")
}
