package safefile

import (
	"context"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A temporary file is named .tokenagent.NAME.<16 hex digits>.tmp, beside NAME.
// HTCondor passes over every name that begins with a dot.
const (
	tempPrefix  = ".tokenagent."
	tempSuffix  = ".tmp"
	tempDigits  = 16
	abandonedBy = 10 * time.Minute // age at which no write can still be going on
)

// Sweep removes what killed processes have left of their writes in the folder
// of f's target, for those targets there whose file name ours accepts, and
// returns the names of the files that it removed. While another program holds
// the lock of the folder, only what is older than 10 min goes.
func (f *File) Sweep(ctx context.Context, ours func(name string) bool) (removed []string, err error) {
	err = f.inFolder(walk{dry: true}, func(d *folder) error {
		held, err := d.lock(ctx, 0)
		if err != nil {
			return err
		}
		s := sweeping{folder: d, owner: f.target.Owner.UID, ours: ours, locked: held == nil}
		defer func() { removed = s.removed }()
		return s.run()
	})
	if errors.Is(err, errWouldCreate) {
		err = nil
	}
	return removed, err
}

type sweeping struct {
	*folder
	owner   int
	ours    func(name string) bool
	locked  bool
	removed []string
}

func (s *sweeping) run() error {
	names, err := s.names()
	if err != nil {
		return s.explain("list the folder", err)
	}
	var faults []error
	for _, name := range names {
		target, ok := targetOf(name)
		if !ok || !s.ours(target) || !s.leftOver(name) {
			continue
		}
		err := unix.Unlinkat(s.fd, name, 0)
		switch {
		case err == nil:
			s.removed = append(s.removed, name)
		case !errors.Is(err, fs.ErrNotExist):
			faults = append(faults, s.explain("remove the leftover "+name, err))
		}
	}
	return errors.Join(faults...)
}

// names lists the folder by a descriptor of its own, as reading moves it.
func (s *sweeping) names() ([]string, error) {
	fd, err := openat(s.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	dir := os.NewFile(uintptr(fd), s.path)
	defer dir.Close()
	return dir.Readdirnames(-1)
}

// leftOver reports whether nobody is writing the temporary file any more, and
// whether it is one of ours.
func (s *sweeping) leftOver(name string) bool {
	var st unix.Stat_t
	if err := unix.Fstatat(s.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return false
	}
	owner := int(st.Uid)
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Nlink != 1 || owner != s.uid && owner != s.owner {
		return false
	}
	return s.locked || time.Since(time.Unix(st.Mtim.Unix())) > abandonedBy
}

// targetOf is the name of the target that a temporary file of that name was for.
func targetOf(name string) (target string, ok bool) {
	rest, prefixed := strings.CutPrefix(name, tempPrefix)
	rest, suffixed := strings.CutSuffix(rest, tempSuffix)
	cut := len(rest) - tempDigits - 1
	if !prefixed || !suffixed || cut < 1 || rest[cut] != '.' {
		return "", false
	}
	digits := rest[cut+1:]
	if _, err := hex.DecodeString(digits); err != nil || strings.ToLower(digits) != digits {
		return "", false
	}
	return rest[:cut], true
}
