package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/tokenagent/tokenagent/agent/host"
	"github.com/tokenagent/tokenagent/agent/program"
	"github.com/tokenagent/tokenagent/sinks/condor"
	"github.com/tokenagent/tokenagent/sinks/tokendir"
	"github.com/tokenagent/tokenagent/sources/keys"
)

// readers are root and the user who asks, or the user whom --as names.
func readers(as string) ([]tokendir.User, error) {
	if as != "" {
		u, ok := userOf(as)
		if !ok {
			return nil, usage("--as %s: there is no such user in /etc/passwd, and getent knows none", as)
		}
		return []tokendir.User{u}, nil
	}
	root, _ := userOf("0")
	if os.Getuid() == 0 {
		return []tokendir.User{root}, nil
	}
	self, _ := userOf(strconv.Itoa(os.Getuid()))
	return []tokendir.User{root, self}, nil
}

// account is the whole account of a user whom --as names, other than the one who
// runs doctor.
func account(u tokendir.User, as string) (*program.User, error) {
	if os.Getuid() != 0 {
		return nil, usage("--as %s: only root can look as another user", as)
	}
	full, err := program.LookupUser(strconv.Itoa(u.UID))
	if err != nil {
		return nil, usage("--as %s: %v", as, err)
	}
	return full, nil
}

// named is a directory given as DIR. Without --as it is read as its owner would, or
// as root if only root's HTCondor would use it.
func (d doctor) named(dir, as string, reader tokendir.User) (tokendir.Directory, error) {
	path, err := filepath.Abs(dir)
	if err != nil {
		return tokendir.Directory{}, err
	}
	if as == "" {
		reader = ownerOf(path, reader)
	}
	directory := tokendir.At(path, reader, d.knob)
	if known, ours := tokendir.Find(path, reader, d.knob); ours && as == "" && len(directory.Systems) == 0 {
		return known, nil
	}
	return directory, nil
}

// ownerOf is the owner of the directory, or the other user where it is not known.
func ownerOf(path string, other tokendir.User) tokendir.User {
	info, err := os.Stat(path)
	if err != nil {
		return other
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		other, _ = userOf(strconv.Itoa(int(st.Uid)))
	}
	return other
}

// userOf finds a user by name or number. A number without an entry is a user too.
func userOf(nameOrNumber string) (tokendir.User, bool) {
	u, err := (&host.Database{Getent: "getent", Patience: condor.Patience}).User(nameOrNumber)
	return tokendir.User{Name: u.Name, UID: u.UID, Home: u.Home}, err == nil
}

// genuine reports whether the token is signed with the key that this host's
// HTCondor has under that name. That is known only for a token of the host's own
// trust domain, and only to a user who can read the key.
func (d doctor) genuine(token, issuer, keyID string) (known, ok bool) {
	const macSize = 43 // characters of base64url, of HS256
	here := tokendir.Systems()[0]
	if domain, set := d.knob(here, "TRUST_DOMAIN"); !set || domain != issuer || strings.ContainsAny(keyID, "/\x00") || strings.HasPrefix(keyID, ".") {
		return false, false
	}
	if len(token)-strings.LastIndexByte(token, '.')-1 != macSize {
		return false, false
	}
	path, set := d.knob(here, "SEC_TOKEN_POOL_SIGNING_KEY_FILE")
	if keyID != keys.PoolKey {
		path, set = d.knob(here, "SEC_PASSWORD_DIRECTORY")
		path = filepath.Join(path, keyID)
	}
	if !set {
		return false, false
	}
	key, err := keys.ReadCondor(path, keyID)
	return err == nil, err == nil && key.Signed(token)
}
