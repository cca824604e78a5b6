package tokendir

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tokenagent/tokenagent/agent/host"
)

const (
	maxFile  = 16 << 20 // bytes of a file that are read: room for many tokens
	maxNames = 1 << 14  // names of a directory that is read
)

// Read replays how the reader reads the directory at the time now. It opens only regular
// files that the reader would take, so nothing in the directory can make it wait, and
// reads at most 16,384 names. The error of a missing directory is fs.ErrNotExist.
func Read(path string, reader Reader, now time.Time) (Reading, error) {
	file, err := os.OpenFile(path, unix.O_DIRECTORY, 0)
	if err != nil {
		return Reading{}, err
	}
	defer file.Close()
	r := Reading{Path: path, Entries: []Entry{}, reader: reader}
	if r.denied, err = deniedAt(path, reader.User); err != nil {
		return Reading{}, err
	}
	names, err := file.Readdirnames(maxNames + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return Reading{}, err
	}
	if len(names) > maxNames {
		return Reading{}, fmt.Errorf("%s: more than %d names; a directory of tokens has fewer", path, maxNames)
	}
	slices.SortFunc(names, Compare)
	f := folder{fd: int(file.Fd()), reader: reader, now: now}
	for _, name := range names {
		r.Entries = append(r.Entries, f.entries(name)...)
	}
	r.settle()
	return r, nil
}

// deniedAt is the first directory, from the token directory upwards, that the user
// surely cannot list or pass; "" for none.
func deniedAt(path string, user User) (string, error) {
	dir, err := filepath.Abs(path)
	if err != nil || user.UID == 0 {
		return "", err
	}
	for needed := uint32(0o5); ; needed, dir = 0o1, filepath.Dir(dir) {
		var st unix.Stat_t
		if err := unix.Stat(dir, &st); err != nil {
			return "", &fs.PathError{Op: "stat", Path: dir, Err: err}
		}
		if !permits(st, user, needed) {
			return dir, nil
		}
		if dir == "/" {
			return "", nil
		}
	}
}

// permits reports whether the user may have the needed bits. The user's groups are not
// known here, so what a group has counts.
func permits(st unix.Stat_t, user User, needed uint32) bool {
	if int(st.Uid) == user.UID {
		return st.Mode>>6&needed == needed
	}
	return st.Mode>>3&needed == needed || st.Mode&needed == needed
}

// A folder is a directory that is being read.
type folder struct {
	fd     int
	reader Reader
	now    time.Time
}

// entries are what one name of the directory stands for; none if it has gone since the
// directory was listed.
func (f folder) entries(name string) []Entry {
	e := Entry{Name: name}
	// O_PATH has no effect on what it opens, and nobody can swap what it holds.
	held, err := unix.Openat(f.fd, name, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return f.unopened(e, err)
	}
	defer unix.Close(held)
	var st unix.Stat_t
	if err := unix.Fstat(held, &st); err != nil {
		return unreadable(e, err)
	}
	f.admit(&e, st)
	f.remark(&e, st)
	if e.Verdict != "" {
		return []Entry{e}
	}
	content, err := read(held, min(st.Size, maxFile))
	if err != nil {
		return unreadable(e, err)
	}
	if st.Size > maxFile && bytes.IndexByte(content, 0) < 0 {
		return []Entry{tooLarge(e, st.Size)}
	}
	return f.entriesIn(e, content)
}

// tooLarge is the entry of a file of that size whose beginning has no NUL byte.
func tooLarge(e Entry, size int64) Entry {
	e.Verdict = TooLarge
	e.Reason = fmt.Sprintf("it has %d bytes, and its content was not checked; a token has fewer than 16384. If it has a NUL byte after the first %d, HTCondor loops on it without end", size, maxFile)
	return e
}

// unopened is the entry of a name that cannot be opened.
func (f folder) unopened(e Entry, err error) []Entry {
	var st unix.Stat_t
	gone := unix.Fstatat(f.fd, e.Name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil
	if gone && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if f.reader.Exclude.Excludes(e.Name) {
		e.Verdict, e.Reason = Excluded, f.excluded()
		return []Entry{e}
	}
	if st.Mode&unix.S_IFMT == unix.S_IFLNK && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ELOOP)) {
		e.astray = true
		err = fmt.Errorf("it is a symbolic link that leads nowhere: %w", err)
	}
	return unreadable(e, err)
}

func unreadable(e Entry, err error) []Entry {
	e.Verdict, e.Reason = Unreadable, err.Error()
	return []Entry{e}
}

// admit gives the verdict on an entry that HTCondor does not read.
func (f folder) admit(e *Entry, st unix.Stat_t) {
	switch kind := st.Mode & unix.S_IFMT; {
	case kind == unix.S_IFDIR:
		e.Verdict, e.Reason = Folder, "directories are passed over"
	case f.reader.Exclude.Excludes(e.Name):
		e.Verdict, e.Reason = Excluded, f.excluded()
	case kind == unix.S_IFIFO:
		e.Verdict, e.Reason = Blocks, "it is a FIFO, and HTCondor waits for it without end"
	case kind != unix.S_IFREG:
		e.Verdict, e.Reason = Special, "it is a socket or device; it cannot be read"
	case int(st.Uid) != f.reader.UID:
		e.Verdict, e.Reason = Owner, fmt.Sprintf("it belongs to %s; HTCondor reads it only when it belongs to %s", owner(int(st.Uid)), f.reader)
	case st.Mode&0o077 != 0:
		e.Verdict, e.Reason = Mode, fmt.Sprintf("its mode is %04o; HTCondor reads it only if group and others have no permissions, as with 0600", st.Mode&0o7777)
	case st.Mode&0o400 == 0 && f.reader.UID != 0:
		e.Verdict, e.Reason = Unreadable, fmt.Sprintf("its mode is %04o, so its owner cannot read it", st.Mode&0o7777)
	}
}

func (f folder) excluded() string {
	switch {
	case f.reader.Exclude.invalid != "":
		return "HTCondor reads no file while " + ExcludeKnob + " is not a valid expression"
	case f.reader.Exclude.IsDefault():
		return "its name is one that HTCondor passes over"
	}
	return "its name matches the configured " + ExcludeKnob
}

// abandoned is the age from which on nobody is still writing a temporary file.
const abandoned = 10 * time.Minute

// remark adds remarks about names that look like leftovers.
func (f folder) remark(e *Entry, st unix.Stat_t) {
	age := f.now.Sub(time.Unix(st.Mtim.Unix()))
	switch {
	case e.Verdict == Folder:
	case e.Verdict == Owner && st.Mode&0o077 != 0:
		e.Remarks = append(e.Remarks, fmt.Sprintf("its mode %04o permits group or others something, for which HTCondor passes over it too", st.Mode&0o7777))
	case ourTemporary.MatchString(e.Name) && age < abandoned:
		e.Remarks = append(e.Remarks, "a tokenagent is writing it, or was killed while it did")
	case ourTemporary.MatchString(e.Name):
		e.Remarks = append(e.Remarks, "it was left by a tokenagent that was killed while it wrote; a running one removes it within an hour")
	case looksLeft(e.Name) && e.Verdict == Excluded:
		e.Remarks = append(e.Remarks, "by its name it was set aside or never finished; remove it if nobody needs it")
	case looksLeft(e.Name):
		e.Remarks = append(e.Remarks, "by its name it was set aside or never finished, but HTCondor reads it like any other; remove it, or begin its name with a dot")
	}
}

// read returns the content of a regular file of that size that is held by an
// O_PATH descriptor.
func read(held int, size int64) ([]byte, error) {
	file, err := os.OpenFile("/proc/self/fd/"+strconv.Itoa(held), os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, host.WithoutPath(err)
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, size))
	if err != nil {
		return nil, host.WithoutPath(err)
	}
	return content, nil
}

// owner is a uid in words.
func owner(uid int) string {
	if uid == 0 {
		return "root"
	}
	return "uid " + strconv.Itoa(uid)
}
