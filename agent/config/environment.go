package config

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/tokenagent/tokenagent/agent/host"
)

// An Environment is all that a configuration may know of the place where it is loaded.
type Environment struct {
	Machine     Machine
	Credentials string      // path.credentials, systemd's $CREDENTIALS_DIRECTORY; "" when there is none
	Discovery   string      // path.discovery: the WLCG path of the agent's own user
	Trust       *host.Trust // who may change the files of the configuration; nil: nobody looks
	Strict      bool        // a configuration that others can change is an error, not only a warning
	Checking    bool        // find all that the command check tells, however long it takes
	Definitions bool        // check the text alone: look at no key, secret, user or folder

	// Command is what a person types to run this program with the arguments, on the
	// configuration with that agent block. nil: the program's name and the arguments.
	Command func(Settings, ...string) string
	// State is where the configuration with that agent block keeps what must outlast a
	// restart. nil: nowhere.
	State func(Settings) State
	// Scratch are the beginnings of paths for private folders of programs, the best first,
	// for the configuration with that agent block. nil: there are none.
	Scratch func(Settings) []string
	// DigestKey is the key of every Renewer's Digest. nil: none.
	DigestKey func(Settings) []byte
}

// A Machine answers questions about the machine. A nil function means that the answer is
// not known.
type Machine struct {
	Seed     string                            // machine id and host name, for agent.Jitter
	Getenv   func(name string) string          // "" when not set
	Hostname func() (string, error)            // for hostname()
	FQDN     func() (string, error)            // for fqdn()
	LookPath func(name string) (string, error) // finds a program, as exec.LookPath does
	Knob     func(name string) (string, error) // what condor_config_val NAME prints
	CEKnob   func(name string) (string, error) // what condor_ce_config_val NAME prints
}

// A State is where one configuration keeps what must outlast a restart. A function that
// is nil says that there are no such folders.
type State struct {
	Dir string // its folder, which may not be there yet; "": there is none

	// Former are the folders with what an older version kept for all configurations
	// together. What belongs to this one is to be moved from there to Dir, under Lock.
	// The answer may be another at each call.
	Former func() []string
	// Others are the folders of other configurations, to look at. The answer may be
	// another at each call.
	Others func() []string
	// Lock keeps others from one of the Former folders until release is called. An error
	// says who works with it.
	Lock func(dir string) (release func(), err error)
}

// Settings are the agent block. An attribute that it leaves out is the zero value, but
// LogLevel is "info" and LogFormat "text".
type Settings struct {
	Name         string `hcl:"name,optional"` // of the configuration, where its state is kept; "": a name made of its paths
	StateDir     string `hcl:"state_dir,optional,path"`
	Control      string `hcl:"control,optional,path"`
	ControlGroup string `hcl:"control_group,optional"`
	LogLevel     string `hcl:"log_level,optional"`   // "debug", "info", "warn" or "error"
	LogFormat    string `hcl:"log_format,optional"`  // "text" or "json"
	RequireAll   bool   `hcl:"require_all,optional"` // every token is required, whatever its block says
}

// complete gives every function that is nil a default, so that callers need not ask.
func (e Environment) complete() Environment {
	unknown := func() (string, error) { return "", errors.New("it is not known here") }
	if e.Machine.Getenv == nil {
		e.Machine.Getenv = func(string) string { return "" }
	}
	if e.Machine.Hostname == nil {
		e.Machine.Hostname = unknown
	}
	if e.Machine.FQDN == nil {
		e.Machine.FQDN = unknown
	}
	if e.Machine.LookPath == nil {
		e.Machine.LookPath = func(name string) (string, error) { return "", fmt.Errorf("%s: there is no PATH to look in", name) }
	}
	e.Machine.Knob = knob(e.Machine.Knob, "HTCondor")
	e.Machine.CEKnob = knob(e.Machine.CEKnob, "HTCondor-CE")
	if e.Command == nil {
		e.Command = func(_ Settings, args ...string) string { return "tokenagent " + strings.Join(args, " ") }
	}
	e.State = completeState(e.State)
	if e.Scratch == nil {
		e.Scratch = func(Settings) []string { return nil }
	}
	if e.DigestKey == nil {
		e.DigestKey = func(Settings) []byte { return nil }
	}
	if e.Definitions { // these are known on the machine that the text is for
		e.Credentials = cmp.Or(e.Credentials, "/run/credentials/tokenagent.service")
		e.Discovery = cmp.Or(e.Discovery, "/tmp/bt_u0")
	}
	return e
}

func completeState(ask func(Settings) State) func(Settings) State {
	return func(settings Settings) (s State) {
		if ask != nil {
			s = ask(settings)
		}
		none := func() []string { return nil }
		if s.Former == nil {
			s.Former = none
		}
		if s.Others == nil {
			s.Others = none
		}
		return s
	}
}

// knob asks for a value of that system's configuration. Its errors begin with the name;
// a value that is not set is one.
func knob(ask func(string) (string, error), system string) func(string) (string, error) {
	return func(name string) (string, error) {
		if ask == nil {
			return "", fmt.Errorf("%s: %s is not installed here", name, system)
		}
		value, err := ask(name)
		switch {
		case err != nil:
			return "", fmt.Errorf("%s: %w", name, err)
		case value == "":
			return "", fmt.Errorf("%s: it is not set", name)
		}
		return value, nil
	}
}
