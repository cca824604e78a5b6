package safefile

import (
	"golang.org/x/sys/unix"

	"github.com/tokenagent/tokenagent/agent/host"
)

// shared reports whether the folder is like /tmp: everybody, or a group, may put things
// there that only they and root can remove.
func (p place) shared() bool {
	return p.Stat.Mode&unix.S_ISVTX != 0 && p.Stat.Mode&othersWrite != 0
}

// replaced is what lies at the target before a write. In a shared folder anybody could
// keep the token out, so root replaces what others put there: that is foreign. Anything
// else that is not a file of ours is a [Refusal].
func (d *folder) replaced() (st unix.Stat_t, foreign bool, err error) {
	st, err = d.lookAt()
	if err != nil || st.Ino == 0 {
		return st, false, err
	}
	kind := st.Mode & unix.S_IFMT
	ours := int(st.Uid) == d.owner || int(st.Uid) == d.as.uid
	switch {
	case kind == unix.S_IFREG && (ours || !d.shared()):
		return st, false, nil
	case !d.shared():
		return st, false, d.refuse(st)
	case d.privileged && kind == unix.S_IFDIR:
		return st, false, d.refusal("a directory of %v, which nothing can replace; remove it, or name a path in a folder that others cannot write", host.UserID(st.Uid))
	case d.privileged:
		return st, true, nil
	case int(d.Stat.Uid) == d.as.uid && kind == unix.S_IFREG: // who owns the folder may remove it
		return st, false, nil
	case ours:
		return st, false, d.refuse(st)
	}
	return st, false, d.refusal("%s of %v, whom %s lets put it there, and which only that user and root can remove; ask them to, or name a path in a folder of your own",
		host.KindOf(st.Mode), host.UserID(st.Uid), d.Path)
}

// warnOfForeign warns of a foreign target.
func (d *folder) warnOfForeign(st unix.Stat_t, does string) {
	d.warnings = append(d.warnings, d.refusal("%s of %v in the place of the token %s; others can put there what they like, so name a path in a folder that they cannot write",
		host.KindOf(st.Mode), host.UserID(st.Uid), does))
}

func (d *folder) refusal(format string, args ...any) *Refusal {
	return &Refusal{d.Path + "/" + d.name, d.open(), host.Say(format, args...)}
}
