package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/tokenagent/tokenagent/agent"
)

const debtsName = "hooks.jsonl"

// debts are the hooks that are owed: one line of JSON each, appended when a
// write makes a hook due, and gone when the hook has been run.
type debts struct {
	mu   sync.Mutex
	owed []agent.Owed
}

// Owed is what the last process owed, and what has come since.
func (s *State) Owed() []agent.Owed {
	s.debts.mu.Lock()
	defer s.debts.mu.Unlock()
	return slices.Clone(s.debts.owed)
}

// Owe adds to what is owed. It is kept even if it cannot be written.
func (s *State) Owe(owed ...agent.Owed) error {
	s.debts.mu.Lock()
	defer s.debts.mu.Unlock()
	var lines []byte
	for _, o := range owed {
		if slices.ContainsFunc(s.debts.owed, same(o)) {
			continue
		}
		s.debts.owed = append(s.debts.owed, o)
		lines = append(lines, line(o)...)
	}
	if len(lines) == 0 {
		return nil
	}
	return appendWhole(s.debtsPath(), lines)
}

// appendWhole adds the lines to the file, or none of them: half a line would
// spoil those that come after it.
func appendWhole(path string, lines []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil {
		if _, err = f.Write(lines); err != nil {
			err = errors.Join(err, f.Truncate(info.Size()))
		}
	}
	return errors.Join(err, f.Close())
}

// Settle takes from what is owed.
func (s *State) Settle(paid ...agent.Owed) error {
	s.debts.mu.Lock()
	defer s.debts.mu.Unlock()
	s.debts.owed = slices.DeleteFunc(s.debts.owed, func(o agent.Owed) bool { return slices.ContainsFunc(paid, same(o)) })
	if len(s.debts.owed) == 0 {
		if err := os.Remove(s.debtsPath()); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	var lines []byte
	for _, o := range s.debts.owed {
		lines = append(lines, line(o)...)
	}
	return replaceFile(s.debtsPath(), lines)
}

func (s *State) debtsPath() string { return filepath.Join(s.dir, debtsName) }

func line(o agent.Owed) []byte {
	text, _ := json.Marshal(o) // strings and a time of these centuries
	return append(text, '\n')
}

func same(o agent.Owed) func(agent.Owed) bool {
	return func(p agent.Owed) bool {
		return o.Event == p.Event && o.Notice.Token == p.Notice.Token && o.Notice.Path == p.Notice.Path &&
			o.Notice.Expires.Equal(p.Notice.Expires)
	}
}

func (s *State) readDebts(unreadable func(name string, why error)) {
	content, err := readOwn(s.debtsPath(), mostRecords)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		s.debts.owed, err = parseDebts(content)
	}
	if err == nil && s.lock != nil && !bytes.HasSuffix(content, []byte("\n")) {
		err = s.Settle() // writes it anew, without the line that was cut off
	}
	if err != nil {
		unreadable(debtsName, err)
	}
}

// parseDebts reads whole lines; a last one that a crash cut off is left out:
// its write was never begun.
func parseDebts(content []byte) (owed []agent.Owed, err error) {
	for len(content) > 0 {
		text, rest, whole := bytes.Cut(content, []byte("\n"))
		if !whole {
			break
		}
		var o agent.Owed
		if err := json.Unmarshal(text, &o); err != nil {
			return nil, fmt.Errorf("no list of hooks: %w", err)
		}
		owed, content = append(owed, o), rest
	}
	return owed, nil
}
