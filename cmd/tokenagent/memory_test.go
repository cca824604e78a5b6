package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/agent/host"
	"github.com/tokenagent/tokenagent/agent/state"
	"github.com/tokenagent/tokenagent/sinks/safefile"
	"github.com/tokenagent/tokenagent/sources/refresh"
)

// newSwept is a memory with the record of a sink that is in no configuration, and
// the temporary file that a killed agent has left beside it.
func newSwept(t *testing.T) (m *memory, left string) {
	t.Helper()
	dir, folder := t.TempDir(), t.TempDir()
	s, err := openState(state.Home{Base: dir})
	check(t, err)
	self := host.Self()
	mark, err := json.Marshal(safefile.Record{UID: self.UID, GID: self.GID, Mode: 0o600})
	check(t, err)
	check(t, s.Keep([]agent.Record{{Token: "gone", Name: folder + "/token", Mark: mark}}))
	s.Close()
	left = folder + "/.tokenagent.token.0123456789abcdef.tmp"
	check(t, os.WriteFile(left, nil, 0o600))
	m = &memory{}
	m.state, err = openState(state.Home{Base: dir})
	check(t, err)
	t.Cleanup(m.close)
	return m, left
}

func TestTemporaryFileOfASinkThatLeftTheConfigurationIsRemoved(t *testing.T) {
	m, left := newSwept(t)
	log := logrus.New()
	log.SetOutput(io.Discard)
	m.sweepOnce(t.Context(), log, m.recorded(), nil)
	if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
}

// Once may end before its sweep, and then its caller has the log.
func TestNothingIsLoggedOfASweepAfterItsEnd(t *testing.T) {
	m, _ := newSwept(t)
	synctest.Test(t, func(t *testing.T) {
		log := logrus.New()
		log.SetLevel(logrus.DebugLevel)
		slow := &slowLog{}
		log.SetOutput(slow)
		m.sweepBeside(t.Context(), log, nil)()
		if !slow.written {
			t.Error("it still logs")
		}
	})
}

// slowLog takes a minute for a line.
type slowLog struct{ written bool }

func (s *slowLog) Write(line []byte) (int, error) {
	time.Sleep(time.Minute)
	s.written = true
	return len(line), nil
}

func TestWithoutAStateFolderNothingIsRecorded(t *testing.T) {
	if all := (&memory{}).recorded(); len(all) != 0 {
		t.Errorf("%d sinks", len(all))
	}
}

// Each refresh token that is in use keeps the claim for two seconds: as many as here
// keep it longer than a start waits, as a file system that hangs does.
func TestAStartWaitsForAHangingStateFolderOnlySoLong(t *testing.T) {
	for name, c := range map[string]struct {
		stop time.Duration // when the agent is told to stop; 0: never
		took time.Duration
		want string
	}{
		"until the limit":            {0, claimLimit, "its file system does not answer"},
		"until the agent is stopped": {time.Second, time.Second, "context canceled"},
	} {
		t.Run(name, func(t *testing.T) {
			home := state.Home{Base: t.TempDir()}
			for n := range 20 {
				lock, err := refresh.NewStore(home.Base, fmt.Sprint("of nobody ", n)).Lock(t.Context())
				check(t, err)
				defer lock.Release()
				check(t, lock.Keep(refresh.Token{Text: agent.NewSecret("from an older version")}))
			}
			synctest.Test(t, func(t *testing.T) {
				opened, err := openState(home)
				check(t, err)
				defer opened.Close()
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				if c.stop > 0 {
					time.AfterFunc(c.stop, stop)
				}
				m := &memory{from: &place{began: &home}, state: opened}
				var said strings.Builder
				log := logrus.New()
				log.SetOutput(&said)

				began := time.Now()
				m.claim(ctx, &config.Config{}, log)
				if took := time.Since(began); took != c.took {
					t.Errorf("it took %v", took)
				}
				m.give(agent.New(agent.ClockOf(t.Context()), log, nil), log)
				if text := said.String(); !strings.Contains(text, "nothing is remembered across restarts") || !strings.Contains(text, c.want) {
					t.Errorf("said was %s", text)
				}
				time.Sleep(time.Minute) // the claim ends
			})
		})
	}
}
