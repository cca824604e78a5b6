package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/history"
	"github.com/tokenagent/tokenagent/sinks"
)

// An ownToken is a token that is kept fresh in a file for one command.
type ownToken struct {
	agent   *agent.Agent
	name    string
	file    string
	end     context.CancelFunc
	running sync.WaitGroup
}

// keepOwn starts to keep the renewer's token fresh in a file in a new folder, and notes each
// one in the journal, if that is not nil.
func keepOwn(r agent.Renewer, j *history.Journal, log logrus.FieldLogger) (*ownToken, error) {
	folders, err := filepath.Abs(ownFolders()) // the command may go to another folder
	if err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp(folders, "tokenagent-exec-") // 0700
	if err != nil {
		return nil, fmt.Errorf("a folder for the token: %w; set TMPDIR to one that this user can write", err)
	}
	ctx, end := context.WithCancel(context.Background())
	o := &ownToken{name: r.Name, file: filepath.Join(folder, "token"), end: end}
	r.Sinks = []agent.Target{sinks.Private(o.file, r.Request)}
	r.Hooks, r.RemoveExpired, r.Required = nil, false, true
	o.agent = agent.New(wall, log, []agent.Renewer{r})
	if j != nil {
		o.agent.Installed(func(name, _ string, t agent.Token, _ string) {
			j.Add(history.Entry{At: wall().UTC(), Token: name, JTI: t.ID, KID: t.KeyID, Issued: t.Issued.UTC(), Expires: t.Expires.UTC(), Why: "exec"})
		})
		o.running.Go(func() { j.Run(ctx, func(error) {}) }) // the command is about the token
	}
	o.running.Go(func() { o.agent.Run(ctx) })
	return o, nil
}

// ownFolders is where the folder for the token is made: in the user's runtime
// directory, which nobody else can enter, else among the temporary files. After sudo
// XDG_RUNTIME_DIR may be another user's.
func ownFolders() string {
	folder := folderFrom("XDG_RUNTIME_DIR")
	info, err := os.Stat(folder)
	if err != nil || !info.IsDir() || int(info.Sys().(*syscall.Stat_t).Uid) != os.Geteuid() {
		return os.TempDir()
	}
	return folder
}

// close stops the agent and removes the folder.
func (o *ownToken) close() {
	o.end()
	o.running.Wait()
	os.RemoveAll(filepath.Dir(o.file)) // if that fails, its token expires
}

// first waits until the token is there, the timeout is over or a signal comes. Its
// error is why the command is not started.
func (o *ownToken) first(ctx context.Context, timeout time.Duration, heard <-chan os.Signal) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	had := make(chan error, 1)
	go func() { had <- o.had(ctx) }()
	for {
		select {
		case err := <-had:
			return err
		case s := <-heard:
			if s != syscall.SIGWINCH {
				return &exitError{exitSignalled + int(s.(syscall.Signal)), fmt.Errorf("%v, before there was a token; the command was not started", s)}
			}
		}
	}
}

const (
	betweenLooks = time.Second // at the state of the first token
	mostWrites   = 3           // failures to write it in a row
)

// had waits until the token is there, or has failed for a reason that does not go away.
func (o *ownToken) had(ctx context.Context) error {
	why := "its source has not answered yet"
	for {
		err := o.agent.Settled(ctx)
		all, statusErr := o.agent.Status(ctx)
		if err := errors.Join(err, statusErr); err != nil {
			break
		}
		if all[0].State == agent.Valid {
			return nil
		}
		if f := all[0].Failing; f != nil {
			why = f.Error
			if f.Kind == agent.Configuration.String() || f.Kind == agent.Writing.String() && f.Failures >= mostWrites {
				break
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(betweenLooks):
		}
	}
	return &exitError{exitNotValid, fmt.Errorf("token %s: %s; the command was not started", o.name, why)}
}
