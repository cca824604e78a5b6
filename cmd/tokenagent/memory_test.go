package main

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"testing"

	"github.com/sirupsen/logrus"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/state"
	"github.com/tokenagent/tokenagent/sinks/safefile"
)

func TestTemporaryFileOfASinkThatLeftTheConfigurationIsRemoved(t *testing.T) {
	dir, folder := t.TempDir(), t.TempDir()
	s, err := openState(state.Home{Base: dir})
	if err != nil {
		t.Fatal(err)
	}
	self := safefile.Self()
	mark, err := json.Marshal(safefile.Record{UID: self.UID, GID: self.GID, Mode: 0o600})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Keep([]agent.Record{{Token: "gone", Path: folder + "/token", Mark: mark}}); err != nil {
		t.Fatal(err)
	}
	s.Close()
	left := folder + "/.tokenagent.token.0123456789abcdef.tmp"
	if err := os.WriteFile(left, nil, 0o600); err != nil {
		t.Fatal(err)
	}

	m := &memory{}
	if m.state, err = openState(state.Home{Base: dir}); err != nil {
		t.Fatal(err)
	}
	defer m.close()
	log := logrus.New()
	log.SetOutput(io.Discard)
	m.sweepOnce(t.Context(), log, m.recorded(), nil)
	if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
}

func TestWithoutAStateFolderNothingIsRecorded(t *testing.T) {
	if all := (&memory{}).recorded(); len(all) != 0 {
		t.Errorf("%d sinks", len(all))
	}
}
