package host

import (
	"os"
	"strconv"
)

// TrustOfRoot says who may change what root takes its orders from: root alone. It is
// nil for other users, from whom nobody could gain anything. The environment names
// the user who called sudo.
func TrustOfRoot(getenv func(string) string) *Trust {
	if os.Geteuid() != 0 {
		return nil
	}
	return &Trust{ReadOnly: ReadOnlyForAll(), Sudo: sudoer(getenv)}
}

// sudoer is the user who called sudo, with that user's own group; nil for none. A
// group that other users share, such as "users", does not count as the user's own.
func sudoer(getenv func(string) string) *Identity {
	uid, err := strconv.Atoi(getenv("SUDO_UID"))
	if err != nil || uid <= 0 {
		return nil
	}
	gid, err := strconv.Atoi(getenv("SUDO_GID"))
	if err != nil || gid != uid && GroupID(gid).String() != getenv("SUDO_USER") { // as usergroups of pam_umask(8)
		gid = NoGroup
	}
	return &Identity{UID: uid, GID: gid}
}
