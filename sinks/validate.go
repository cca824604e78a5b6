package sinks

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/agent/hooks"
	"github.com/tokenagent/tokenagent/agent/host"
	"github.com/tokenagent/tokenagent/agent/program"
	"github.com/tokenagent/tokenagent/sinks/safefile"
)

// A validator runs a program with a new token before the token is put anywhere:
//
//	validate {
//	  command = ["/usr/bin/xrdfs", "roots://origin.example.org", "ls", "/canary"]
//	  timeout = "20s"
//	  user    = "xrootd" # default: the owner of the first sink
//	}
//
// The program finds the path of a private file with the token in BEARER_TOKEN_FILE.
type validator struct {
	program program.Program
	name    string   // of the token
	condor  bool     // HTCondor reads the token
	scratch []string // see config.Block.Scratch
}

// DecodeValidate decodes a validate block.
func DecodeValidate(b *config.Block, req agent.Request, first config.Sink) agent.Validation {
	p, key, ok := program.Decode(b, first.Owner)
	if !ok {
		return agent.Validation{}
	}
	v := &validator{program: p, name: b.Name(), condor: req.Profile == "htcondor", scratch: b.Scratch()}
	return agent.Validation{Validate: v.Validate, Key: key + " within " + p.Timeout.String(), Queue: p.Args[0]} // another timeout ends one that hangs
}

// Validate runs the program with the token. A token that cannot be given to it is a fault
// of kind Configuration.
func (v *validator) Validate(ctx context.Context, t agent.Token) error {
	folder, err := v.lay(ctx, t)
	if err != nil {
		return &agent.Fault{Kind: agent.Configuration, Err: fmt.Errorf("%s was not run, since the token cannot be given to it: %w", v.program.Args[0], err)}
	}
	defer os.RemoveAll(folder) // what cannot be removed is swept at the next start
	file := filepath.Join(folder, scratchFile)
	env := []string{"TOKENAGENT_EVENT=validate", "BEARER_TOKEN_FILE=" + file}
	if v.condor {
		env = append(env, "_condor_SEC_TOKEN_DIRECTORY="+folder, "_condor_TOOL.SEC_TOKEN_DIRECTORY="+folder) // the second outdoes TOOL.KNOB in a file
	}
	about := hooks.Notice{Token: v.name, Path: file, Expires: t.Expires}
	return v.program.Run(ctx, program.Input{Env: env, Stdin: program.Lines(about), Hide: t.Secret})
}

const scratchFile = "token"

// lay puts the token into a new folder, where nobody but the program's user can read it.
func (v *validator) lay(ctx context.Context, t agent.Token) (folder string, err error) {
	for _, prefix := range v.scratch {
		folder, failed := os.MkdirTemp(filepath.Dir(prefix), filepath.Base(prefix)+"*") // 0700
		if failed == nil {
			if failed = v.fill(ctx, folder, t); failed == nil {
				return folder, nil
			}
			os.RemoveAll(folder)
		}
		err = errors.Join(err, failed)
	}
	if err == nil {
		err = errors.New("there is no folder for it")
	}
	return "", err
}

// fill writes the token into the folder. The folder stays the agent's: another user may
// read it, as HTCondor does, and can change nothing in it. The file is that user's.
func (v *validator) fill(ctx context.Context, folder string, t agent.Token) error {
	owner, user := host.Self(), v.program.User
	if user != nil {
		owner = user.Identity()
		if err := os.Chmod(folder, 0o755); err != nil {
			return err
		}
	}
	file := safefile.New(safefile.Target{Path: filepath.Join(folder, scratchFile), Owner: owner, Group: owner.GID, Mode: 0o600})
	if _, err := file.Write(ctx, []byte(t.Secret.Reveal()+"\n")); err != nil {
		return err
	}
	if user == nil {
		return nil
	}
	return owner.Do(func() error { // the folders above may keep that user out
		f, err := os.Open(file.Target().Path)
		if err != nil {
			return fmt.Errorf("as %s: %w", user.Name, err)
		}
		return f.Close()
	})
}

// SweepScratch removes the folders that killed agents have left, whose paths begin so.
// Call it when no other agent of the configuration runs.
func SweepScratch(prefixes []string) {
	for _, prefix := range prefixes {
		within := filepath.Dir(prefix)
		entries, _ := os.ReadDir(within) // none: there is nothing to remove
		for _, e := range entries {
			info, err := e.Info()
			if err == nil && info.IsDir() && strings.HasPrefix(e.Name(), filepath.Base(prefix)) && int(info.Sys().(*syscall.Stat_t).Uid) == os.Geteuid() {
				_ = os.RemoveAll(filepath.Join(within, e.Name())) // the next start tries again
			}
		}
	}
}
