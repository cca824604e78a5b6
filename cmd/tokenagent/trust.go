package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/sirupsen/logrus"

	"github.com/tokenagent/tokenagent/agent/host"
)

// trust says who may change what root reads its orders from: root alone. nil for
// others than root, who have nothing that somebody could gain.
func trust() *host.Trust {
	if os.Geteuid() != 0 {
		return nil
	}
	t := host.Trust{ReadOnly: host.ReadOnlyForAll()}
	t.Sudo = sudoer(os.Getenv)
	return &t
}

// sudoer is the user who called sudo, with that user's own group; nil: nobody did. A
// group that is shared with other users, such as "users", is not the user's own.
func sudoer(getenv func(string) string) *host.Identity {
	uid, err := strconv.Atoi(getenv("SUDO_UID"))
	if err != nil || uid <= 0 {
		return nil
	}
	gid, err := strconv.Atoi(getenv("SUDO_GID"))
	if err != nil || gid != uid && host.GroupID(gid).String() != getenv("SUDO_USER") { // as pam_umask(8) tells, usergroups
		gid = host.NoGroup
	}
	return &host.Identity{UID: uid, GID: gid}
}

// warnOfDoubts tells how others than root could change the configuration that was
// read last.
func (p *place) warnOfDoubts(w io.Writer) {
	for _, doubt := range p.doubts {
		fmt.Fprintf(w, "tokenagent: warning: %s\n", doubt)
	}
}

// leadsAstray is the error of a control socket whose folder is not there, where
// somebody else could have root make another one.
func leadsAstray(path string) error {
	t := trust()
	if _, err := os.Stat(filepath.Dir(path)); t == nil || !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	found, _ := t.Weaknesses(path) // it ends where the folder is missing
	for _, w := range found {
		if !w.Sudo {
			return fmt.Errorf("control socket %s: its folder is missing, and root makes none there: %w; or make the folder, or set another control in the agent block", path, w)
		}
	}
	return nil
}

// warnOfSocket tells who else could put another socket in the place of the agent's.
func warnOfSocket(log logrus.FieldLogger, path string) {
	t := trust()
	if t == nil {
		return
	}
	found, _ := t.Weaknesses(path) // whoever listens there reports the error
	for _, w := range found {
		log.Warnf("control socket %s: others can put another in its place: %v", path, w)
	}
}
