// Package bearer replays how clients find a bearer token: WLCG Bearer Token
// Discovery, as XRootD's client, HTCondor (SCITOKENS) and Pelican's do it. All
// look at BEARER_TOKEN, the file of BEARER_TOKEN_FILE, $XDG_RUNTIME_DIR/bt_u<uid>
// and /tmp/bt_u<uid> in turn, and differ in what makes them go on. A test compares
// XRootD's rules with xrdcp 5.5.3; the others were read in the sources
// (condor_scitokens.cpp, Pelican's token_generator). Texts that this package returns show
// no part of a token but its claims.
package bearer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/tokenagent/tokenagent/agent/host"
	"github.com/tokenagent/tokenagent/agent/profile"
)

// A Client is a program that looks for a token.
type Client string

// The clients.
const (
	XRootD   Client = "xrdcp"
	HTCondor Client = "HTCondor"
	Pelican  Client = "pelican"
)

// The largest content that a client takes. For XRootD's client this is the default of its
// server's sec.protocol ztn -maxsz: the file may have so many bytes, and the token in it
// has fewer (seen with 5.5.3).
const (
	mostXRootD   = 4096
	mostHTCondor = 16<<10 - 1
	mostRead     = 64 << 10
)

const tooLargeForXRootD = "XRootD's client refuses tokens from 4096 on, unless its server allows more (sec.protocol ztn -maxsz)"

// A Verdict says what a client does with a place.
type Verdict string

// The verdicts.
const (
	Taken     Verdict = "taken"
	Passed    Verdict = "passed over" // the client goes on to the next place
	Stops     Verdict = "stops"       // the client gives up, and has no token
	Unreached Verdict = "not reached"
)

// A Surroundings is what clients of one user find a token by.
type Surroundings struct {
	UID           int
	Lookup        func(name string) (string, bool) // the environment
	SciTokensFile string                           // HTCondor's SCITOKENS_FILE, instead of all others; "": not set
	Now           time.Time
}

// A Step is what a client does with one place.
type Step struct {
	Place   string    `json:"place"` // the variable or knob that names it, or "default"
	Path    string    `json:"path,omitempty"`
	Verdict Verdict   `json:"verdict"`
	Reason  string    `json:"reason,omitempty"`
	Issuer  string    `json:"issuer,omitempty"` // of a token that can be read
	Subject string    `json:"subject,omitempty"`
	Expires time.Time `json:"expires,omitzero"`
	Faults  []string  `json:"faults,omitempty"` // of what lies there, for any client

	text    string // what the client would send
	invalid bool   // no token, or one that has expired
}

// Steps are the places that the client looks at, in its order.
func (s Surroundings) Steps(c Client) []Step {
	steps := s.places(c)
	taken, late := -1, -1 // what pelican falls back on when nothing is valid
	for i := range steps {
		step := &steps[i]
		if taken >= 0 {
			step.Verdict = Unreached
			continue
		}
		s.look(c, step)
		switch {
		case step.Verdict == Stops, step.Verdict == Taken:
			taken = i
		case c == Pelican && step.text != "" && late < 0:
			late = i
		}
	}
	if taken < 0 && late >= 0 {
		steps[late].Verdict, steps[late].Reason = Taken, "it is not valid, but there is no better one: "+steps[late].Reason
	}
	return steps
}

func (s Surroundings) places(c Client) []Step {
	if c == HTCondor && s.SciTokensFile != "" {
		return []Step{{Place: "SCITOKENS_FILE", Path: s.SciTokensFile}}
	}
	var steps []Step
	if value, set := s.Lookup("BEARER_TOKEN"); set {
		steps = append(steps, Step{Place: "BEARER_TOKEN", text: value})
	}
	if path, set := s.Lookup("BEARER_TOKEN_FILE"); set {
		steps = append(steps, Step{Place: "BEARER_TOKEN_FILE", Path: path})
	}
	name := fmt.Sprintf("bt_u%d", s.UID)
	if dir, set := s.Lookup("XDG_RUNTIME_DIR"); set && dir != "" {
		steps = append(steps, Step{Place: "XDG_RUNTIME_DIR", Path: filepath.Join(dir, name)})
	}
	return append(steps, Step{Place: "default", Path: "/tmp/" + name})
}

// look gives the verdict on a place.
func (s Surroundings) look(c Client, step *Step) {
	text, why := step.text, Verdict("")
	if step.Place != "BEARER_TOKEN" {
		text, why, step.Reason = s.read(c, step)
		if why != "" {
			step.Verdict = why
			return
		}
	}
	text = strings.Trim(text, " \t\f\n\v\r")
	if c == Pelican {
		text = accessToken(text)
	}
	s.describe(step, text)
	switch {
	case text == "":
		step.Verdict, step.Reason = Passed, "it is empty"
	case c == HTCondor && strings.Contains(text, "\r\n"):
		step.Verdict, step.Reason = Stops, "it has a line end (CR LF) within"
	case c == XRootD && len(text) >= mostXRootD:
		step.Verdict, step.Reason = Stops, fmt.Sprintf("the token has %d bytes; %s", len(text), tooLargeForXRootD)
	case c == Pelican && step.invalid:
		step.Verdict, step.Reason = Passed, strings.Join(step.Faults, "; ")
	default:
		step.Verdict = Taken
	}
	step.text = text
}

// read reads the file of a place. It has a verdict where there is nothing to take.
func (s Surroundings) read(c Client, step *Step) (text string, why Verdict, reason string) {
	failed := Stops
	if c == Pelican {
		failed = Passed
	}
	link, err := os.Lstat(step.Path)
	if err == nil && link.Mode()&fs.ModeSymlink != 0 && c == HTCondor {
		return "", Stops, "it is a symbolic link, which HTCondor refuses"
	}
	f, err := host.OpenPlain(step.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", Passed, "it is not there"
	case err != nil:
		return "", failed, err.Error()
	}
	defer f.Close()
	info := f.Info
	switch {
	case c == XRootD && info.Size() > mostXRootD:
		return "", Stops, fmt.Sprintf("it has %d bytes; %s", info.Size(), tooLargeForXRootD)
	case c == HTCondor && info.Size() > mostHTCondor:
		return "", Stops, fmt.Sprintf("it has %d bytes; HTCondor refuses more than %d", info.Size(), mostHTCondor)
	}
	content, err := io.ReadAll(io.LimitReader(f, mostRead))
	if err != nil {
		return "", failed, host.WithoutPath(err).Error()
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != s.UID {
		step.Faults = append(step.Faults, fmt.Sprintf("it belongs to uid %d, who can put any token there", st.Uid))
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		step.Faults = append(step.Faults, fmt.Sprintf("its mode is %04o, so others may read it", mode))
		if c == XRootD && strings.TrimSpace(string(content)) != "" {
			return "", Stops, fmt.Sprintf("its mode is %04o; XRootD's client skips a token that group or others have permissions for, and does not say so", mode)
		}
	}
	return string(content), "", ""
}

// accessToken is the text, or the access_token of one that is JSON.
func accessToken(text string) string {
	var held struct {
		AccessToken *string `json:"access_token"`
	}
	if strings.HasPrefix(text, "{") && json.Unmarshal([]byte(text), &held) == nil && held.AccessToken != nil {
		return *held.AccessToken
	}
	return text
}

// describe notes what can be read in the token.
func (s Surroundings) describe(step *Step, text string) {
	if text == "" {
		return
	}
	t, err := profile.Decode(text)
	if err != nil {
		step.invalid = true
		step.Faults = append(step.Faults, "it is not a JWT: "+err.Error())
		return
	}
	step.Issuer, _ = t.Claims["iss"].(string)
	step.Subject, _ = t.Claims["sub"].(string)
	step.Expires, _ = profile.Instant(t.Claims["exp"])
	for _, p := range profile.Times(t, s.Now) {
		step.invalid = true
		step.Faults = append(step.Faults, p.Claim+": "+p.Text)
	}
}

// Usable reports whether the client has a token that is one and has not expired.
func Usable(steps []Step) bool {
	for _, step := range steps {
		if step.Verdict == Taken {
			return !step.invalid
		}
	}
	return false
}
