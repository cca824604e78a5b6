package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokenagent/tokenagent/sinks/condor"
	"github.com/tokenagent/tokenagent/sinks/tokendir"
)

func newDoctor() *cobra.Command {
	var f doctorFlags
	c := &cobra.Command{
		Use:   "doctor [DIR…]",
		Short: "Explain a directory of IDTOKENs as HTCondor reads it, or ask a pool what it allows",
		Long:  doctorHelp,
		Example: `  tokenagent doctor
  tokenagent doctor --as frontend --condor-version 23.9
  tokenagent doctor /etc/condor/tokens.d --json
  tokenagent doctor --pool cm.example.org
  tokenagent doctor --pool cm.example.org:9619 --as frontend
  tokenagent doctor --bearer
  tokenagent doctor --mapfile /etc/condor-ce/condor_mapfile --token /var/lib/robot-tokens/token`,
		RunE: func(c *cobra.Command, dirs []string) error {
			return f.answer(c, dirs)
		},
	}
	f.add(c.Flags())
	return c
}

const doctorHelp = `Explain a directory of IDTOKENs as HTCondor reads it: every entry in HTCondor's
order, whether it is sent, hidden by another or passed over, why, and what to do.
Without a DIR these are the directories that condor_config_val names, for root and
for the user who asks. A DIR is read as its owner would, unless only root would use
it. Versions of HTCondor differ: doctor asks condor_version for the one of this host.

It opens nothing that could block, and shows no token. A signature is checked only
on a host that has the pool's key. Root also learns of signing keys on a host
without a collector: they make tokens unnecessary, and their limits too.

With --pool it asks a server with condor_ping what it allows, as a client that has
tokens alone. That is the check that counts. As root, --as asks as that user.

With --bearer it says which bearer token xrdcp, HTCondor (SCITOKENS) and pelican
find, by BEARER_TOKEN, BEARER_TOKEN_FILE, $XDG_RUNTIME_DIR/bt_uUID or /tmp/bt_uUID.
The environment is that of the user who runs doctor.

With --mapfile and --token it says which line of a map file (CERTIFICATE_MAPFILE)
the SciToken hits, and whom it becomes.

Exit codes: 0 fine, 1 a token or file does not work as it should, a named DIR cannot
be read, or HTCondor does not tell its configuration; with --pool: the server cannot
be asked, takes no token, or does not allow what the token's scope names; with
--mapfile: no line maps the token, or nobody can tell; with --bearer: a client finds
no valid token.`

// An answer is what doctor shows. Where it is ill, the process ends with 1.
type answer interface {
	print(io.Writer)
	ill() bool
}

// answer prints the answer to the question that the flags ask.
func (f *doctorFlags) answer(c *cobra.Command, dirs []string) error {
	if err := f.fit(c.Flags()); err != nil {
		return err
	}
	ctx, stop := untilSignal(c.Context())
	defer stop()
	version, err := versionOf(ctx, f.version)
	if err != nil {
		return err
	}
	config := condor.New(ctx)
	d := doctor{knob: config.Lookup, faults: config.Faults, version: version, now: wall()}
	var found answer
	switch {
	case f.bearer:
		found, err = d.bearers(f.as)
	case f.mapfile != "":
		found, err = d.mapToken(c, f)
	case f.pool != "":
		found, err = d.askPool(ctx, f, dirs)
	default:
		found, err = d.diagnose(dirs, f.as)
	}
	if err != nil {
		return err
	}
	err = show(c.OutOrStdout(), f.json, found)
	if found.ill() {
		err = errors.Join(err, &exitError{code: exitFailed})
	}
	return err
}

// A doctor examines what HTCondor on this host reads.
type doctor struct {
	knob    tokendir.Lookup
	faults  func() []string // why HTCondor did not tell its configuration
	version tokendir.Version
	now     time.Time
}

// diagnose examines the directories; without any, those that HTCondor would use.
func (d doctor) diagnose(dirs []string, as string) (diagnosis, error) {
	found, err := d.examine(dirs, as)
	shown := diagnosis{Warnings: d.faults(), Directories: found, now: d.now}
	if os.Getuid() == 0 {
		if key, has := condor.HostKeys(d.knob, nil); has {
			shown.Host = append(shown.Host, key)
		}
	}
	return shown, err
}

// versionOf is the named version, or else that of condor_version; the zero Version
// where it is not known.
func versionOf(ctx context.Context, named string) (tokendir.Version, error) {
	if named != "" {
		v, err := tokendir.ParseVersion(named)
		if err != nil {
			return v, usage("--condor-version: %v", err)
		}
		return v, nil
	}
	told, err := condor.Program{Name: "condor_version", Patience: condor.Patience}.Output(ctx)
	if err != nil {
		return tokendir.Version{}, nil
	}
	first, _, _ := strings.Cut(told, "\n")
	v, _ := tokendir.ParseVersion(first)
	return v, nil
}

// A diagnosis is all that doctor shows.
type diagnosis struct {
	Warnings    []string      `json:"warnings,omitempty"` // why HTCondor's configuration could not be asked
	Directories []examination `json:"directories"`

	Host []tokendir.Finding `json:"host,omitempty"` // what else of this host counts

	now time.Time
}

// An examination is what doctor shows of one directory.
type examination struct {
	Path     string             `json:"path"`
	Version  string             `json:"condor_version,omitempty"` // whose rules were replayed; "" where it is not known
	Systems  []string           `json:"systems,omitempty"`        // that read it by default or configuration
	Knob     string             `json:"knob,omitempty"`           // that names it; "" for the default
	Reader   string             `json:"reader"`
	Exclude  string             `json:"exclude"`           // the expression of names that are passed over
	Warning  string             `json:"warning,omitempty"` // why that is not the configured one
	Error    string             `json:"error,omitempty"`   // why it could not be read
	Entries  []tokendir.Entry   `json:"entries"`
	Findings []tokendir.Finding `json:"findings"`

	named   bool // by the asking user
	reading tokendir.Reading
}

// examine reads the directories; without any, those that HTCondor would use.
func (d doctor) examine(dirs []string, as string) ([]examination, error) {
	users, err := readers(as)
	if err != nil {
		return nil, err
	}
	if len(dirs) == 0 {
		return d.usual(users), nil
	}
	found := []examination{}
	for _, dir := range dirs {
		if dir == "" {
			return nil, usage("a DIR is empty; leave it out for the directories that HTCondor would use")
		}
		directory, err := d.named(dir, as, users[len(users)-1])
		if err != nil {
			return nil, err
		}
		e := d.one(directory)
		e.named = true
		found = append(found, e)
	}
	return found, nil
}

// usual examines what HTCondor would use for these users.
func (d doctor) usual(users []tokendir.User) []examination {
	found := []examination{}
	for _, u := range users {
		for _, directory := range tokendir.Directories(u, d.knob) {
			if slices.ContainsFunc(directory.Systems, mayBeHere) {
				found = append(found, d.one(directory))
			}
		}
	}
	return found
}

// mayBeHere reports whether the system of that name may be on this host: HTCondor
// always, HTCondor-CE where its program or its folder exists.
func mayBeHere(name string) bool {
	ce := tokendir.Systems()[1]
	if name != ce.Name {
		return true
	}
	_, program := exec.LookPath(ce.Tool)
	_, folder := os.Stat(filepath.Dir(ce.Tokens))
	return program == nil || folder == nil
}

// one examines a directory.
func (d doctor) one(directory tokendir.Directory) examination {
	directory.Reader.Version, directory.Reader.Genuine = d.version, d.genuine
	e := examination{
		Path:     directory.Path,
		Systems:  directory.Systems,
		Knob:     directory.Knob,
		Reader:   directory.Reader.String(),
		Exclude:  directory.Reader.Exclude.String(),
		Entries:  []tokendir.Entry{},
		Findings: []tokendir.Finding{},
	}
	if directory.Fault != nil {
		e.Warning = directory.Fault.Error()
	}
	if d.version != (tokendir.Version{}) {
		e.Version = d.version.String()
	}
	reading, err := tokendir.Read(directory.Path, directory.Reader, d.now)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.Error = "it is not there"
	case errors.Is(err, fs.ErrPermission):
		e.Error = "it cannot be read by you; run doctor as root"
	case err != nil:
		e.Error = err.Error()
	default:
		e.reading, e.Entries, e.Findings = reading, reading.Entries, reading.Findings()
	}
	return e
}

// ill reports whether something keeps a token from its servers, or that cannot be
// known.
func (d diagnosis) ill() bool {
	return len(d.Warnings) > 0 || slices.ContainsFunc(d.Directories, func(e examination) bool {
		return e.Warning != "" || e.Error != "" && e.named || slices.ContainsFunc(e.Findings, isGrave)
	})
}
