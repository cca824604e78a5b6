package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tokenagent/tokenagent/agent/host"
	"github.com/tokenagent/tokenagent/sinks/bearer"
	"github.com/tokenagent/tokenagent/sinks/tokendir"
)

// A bearing is which token the clients of a user find.
type bearing struct {
	User    string       `json:"user"`
	Remark  string       `json:"remark,omitempty"` // how far the environment is known
	Clients []bearerView `json:"clients"`

	now time.Time
}

// A bearerView is what one client does.
type bearerView struct {
	Client bearer.Client `json:"client"`
	As     string        `json:"as,omitempty"` // the user as whom it looks, where that is another
	Usable bool          `json:"usable"`       // it takes a token that is valid
	Steps  []bearer.Step `json:"steps"`
}

// bearers says which token the clients of the user find.
func (d doctor) bearers(as string) (bearing, error) {
	s := bearer.Surroundings{UID: os.Geteuid(), Lookup: os.LookupEnv, Now: d.now}
	s.SciTokensFile, _ = d.knob(tokendir.Systems()[0], "SCITOKENS_FILE")
	self, _ := userOf(strconv.Itoa(s.UID))
	b := bearing{User: self.String(), now: d.now}
	look := func(do func() error) error { return do() }
	if as != "" {
		users, err := readers(as)
		if err != nil {
			return b, err
		}
		if u := users[0]; u.UID != s.UID {
			identity, err := identityFor(u, as)
			if err != nil {
				return b, err
			}
			look, s.UID, b.User = identity.Do, u.UID, u.String()
			s.Lookup = usualEnvironment(u.UID)
			b.Remark = "the environment of another user is not known: XDG_RUNTIME_DIR is taken for /run/user/" + strconv.Itoa(u.UID) + " where that is there, and BEARER_TOKEN and BEARER_TOKEN_FILE for not set"
		}
	}
	for _, client := range []bearer.Client{bearer.XRootD, bearer.HTCondor, bearer.Pelican} {
		view, s, look := bearerView{Client: client}, s, look
		if u, known := d.condorUser(); known && client == bearer.HTCondor && s.UID == 0 {
			identity, err := identityFor(u, u.Name)
			if err != nil {
				return b, err
			}
			view.As, s.UID, look = u.String(), u.UID, identity.Do
		}
		err := look(func() error { view.Steps = s.Steps(client); return nil })
		if err != nil {
			return b, err
		}
		view.Usable = bearer.Usable(view.Steps)
		b.Clients = append(b.Clients, view)
	}
	return b, nil
}

// condorUser is the user as whom HTCondor's programs look for a bearer token where
// root runs them: that of CONDOR_IDS, or else condor (seen with 23.9.6).
func (d doctor) condorUser() (tokendir.User, bool) {
	ids, _ := d.knob(tokendir.Systems()[0], "CONDOR_IDS")
	uid, _, _ := strings.Cut(ids, ".")
	return userOf(cmp.Or(uid, "condor"))
}

// identityFor is the identity to look with at the files of another user.
func identityFor(u tokendir.User, as string) (host.Identity, error) {
	full, err := account(u, as)
	if err != nil {
		return host.Identity{}, err
	}
	identity := host.Identity{UID: u.UID, GID: int(full.GID)}
	for _, gid := range full.Groups {
		identity.Groups = append(identity.Groups, int(gid))
	}
	return identity, nil
}

// usualEnvironment is the environment of a user who has logged in.
func usualEnvironment(uid int) func(string) (string, bool) {
	return func(name string) (string, bool) {
		dir := "/run/user/" + strconv.Itoa(uid)
		if info, err := os.Stat(dir); name != "XDG_RUNTIME_DIR" || err != nil || !info.IsDir() {
			return "", false
		}
		return dir, true
	}
}

// print writes what each client does with each place.
func (b bearing) print(w io.Writer) {
	fmt.Fprintf(w, "Bearer tokens, as the clients of %s find them\n", plain(b.User))
	if b.Remark != "" {
		fmt.Fprintf(w, "  %s\n", b.Remark)
	}
	for _, c := range b.Clients {
		fmt.Fprintf(w, "\n%s\n", c.Client)
		if c.As != "" {
			fmt.Fprintf(w, "  it looks as %s (CONDOR_IDS) where root runs it, who must be able to read the file\n", plain(c.As))
		}
		table := newTable(w)
		for _, step := range c.Steps {
			table.row("  "+step.Place, orDash(step.Path), string(step.Verdict), plain(stepInWords(step, b.now)))
		}
		table.Flush()
		if !c.Usable {
			io.WriteString(w, "  it has no token that is valid\n")
		}
	}
}

func stepInWords(step bearer.Step, now time.Time) string {
	var words []string
	if step.Verdict == bearer.Taken && step.Subject != "" {
		words = append(words, fmt.Sprintf("%s of %s", step.Subject, step.Issuer))
		if !step.Expires.IsZero() && step.Expires.After(now) {
			words = append(words, "expires "+away(step.Expires, now))
		}
	}
	if step.Reason != "" {
		words = append(words, step.Reason)
	}
	for _, fault := range step.Faults {
		if !strings.Contains(step.Reason, fault) {
			words = append(words, fault)
		}
	}
	return strings.Join(words, "; ")
}

// ill reports whether a client finds no valid token.
func (b bearing) ill() bool {
	return slices.ContainsFunc(b.Clients, func(c bearerView) bool { return !c.Usable })
}
