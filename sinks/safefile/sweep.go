package safefile

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The temporary file of NAME is .tokenagent.NAME.<16 hex digits>.tmp, in the same folder:
// eight random digits of the process, and eight of the file. HTCondor skips every name
// that begins with a dot.
const (
	tempPrefix  = ".tokenagent."
	tempSuffix  = ".tmp"
	tempDigits  = 16
	abandonedBy = 10 * time.Minute // age from which on no write can still be going on
	atOnce      = 1024             // names of a folder that are read in one go
	mostNames   = 1 << 20          // and in all; FUSE can make up names without end
)

// ourDigits are those of this process. Two processes share them once in four billion
// times.
var ourDigits = randomDigits()

// randomDigits are eight hex digits.
func randomDigits() string {
	var random [tempDigits / 4]byte
	rand.Read(random[:])
	return hex.EncodeToString(random[:])
}

// tempName is a new name for a temporary file of the target of that name.
func tempName(name string) string {
	return tempPrefix + name + "." + ourDigits + randomDigits() + tempSuffix
}

// Sweep removes the temporary files that killed processes have left in the folder of f's
// target, and returns their names. It removes at once those of a target whose file name
// alone accepts: no other process writes that target now, since this one holds the lock of
// its state folder. It removes all others when they are older than 10 min, those of this
// process too.
func (f *File) Sweep(ctx context.Context, alone func(name string) bool) (removed []string, err error) {
	err = f.inFolder(walk{dry: true}, func(d *folder) error {
		s := sweeping{folder: d, owner: f.target.Owner.UID, alone: alone}
		defer func() { removed = s.removed }()
		return s.run(ctx)
	})
	if errors.Is(err, errWouldCreate) {
		err = nil
	}
	return removed, err
}

type sweeping struct {
	*folder
	owner   int
	alone   func(name string) bool
	removed []string
}

// run goes through the folder in pieces: a user can fill it with millions of names. The
// descriptor is its own, because reading moves it.
func (s *sweeping) run(ctx context.Context) error {
	fd, err := openat(s.FD, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return s.explain(toList, err)
	}
	dir := os.NewFile(uintptr(fd), s.Path)
	defer dir.Close()
	var faults []error
	for range mostNames / atOnce {
		names, err := dir.Readdirnames(atOnce)
		for _, name := range names {
			faults = append(faults, s.remove(name))
		}
		if errors.Is(err, io.EOF) {
			return errors.Join(faults...)
		}
		if err = cmp.Or(ctx.Err(), err); err != nil {
			return errors.Join(append(faults, s.explain(toList, err))...)
		}
	}
	return errors.Join(append(faults, fmt.Errorf("%s has more than %d names; the rest was not looked at", s.Path, mostNames))...)
}

// remove removes the file of that name if it is left over.
func (s *sweeping) remove(name string) error {
	target, digits, ok := parseTemp(name)
	if !ok {
		return nil
	}
	atOnce := s.alone(target) && !strings.HasPrefix(digits, ourDigits)
	if !s.leftOver(name, atOnce) {
		return nil
	}
	err := unix.Unlinkat(s.FD, name, 0)
	switch {
	case err == nil:
		s.removed = append(s.removed, name)
	case !errors.Is(err, fs.ErrNotExist):
		return s.explain(toRemove, fmt.Errorf("%s: %w", name, err))
	}
	return nil
}

// leftOver reports whether the temporary file is ours and nobody is writing it, which is
// certain at once or goes by its age.
func (s *sweeping) leftOver(name string, atOnce bool) bool {
	var st unix.Stat_t
	if err := unix.Fstatat(s.FD, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return false
	}
	owner := int(st.Uid)
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Nlink != 1 || owner != s.as.uid && owner != s.owner {
		return false
	}
	return atOnce || time.Since(time.Unix(st.Mtim.Unix())) > abandonedBy
}

// parseTemp splits the name of a temporary file into its target and its digits.
func parseTemp(name string) (target, digits string, ok bool) {
	rest, prefixed := strings.CutPrefix(name, tempPrefix)
	rest, suffixed := strings.CutSuffix(rest, tempSuffix)
	cut := len(rest) - tempDigits - 1
	if !prefixed || !suffixed || cut < 1 || rest[cut] != '.' {
		return "", "", false
	}
	digits = rest[cut+1:]
	if _, err := hex.DecodeString(digits); err != nil || strings.ToLower(digits) != digits {
		return "", "", false
	}
	return rest[:cut], digits, true
}
