package safefile

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/tokenagent/tokenagent/agent/host"
)

// MaxRead is the size in bytes of the largest target that is read back.
const MaxRead = 64 << 10

// Read returns what lies at the target, no matter who wrote it. Like a write it follows
// no link that somebody else could have put there. It never waits. The error of a missing
// target is fs.ErrNotExist.
func (f *File) Read() (content []byte, err error) {
	err = f.inFolder(walk{dry: true}, func(d *folder) error {
		content, err = d.read()
		if errors.Is(err, unix.EACCES) && privileged() && d.as.uid != f.target.Owner.UID {
			err = f.target.Owner.With(f.target.Group).Do(func() error {
				content, err = d.read() // root without CAP_DAC_READ_SEARCH
				return err
			})
		}
		return err
	})
	return content, err
}

func (d *folder) read() ([]byte, error) {
	st, err := d.target()
	if err != nil {
		return nil, err
	}
	if st.Ino == 0 {
		return nil, unix.ENOENT
	}
	fd, err := openat(d.FD, d.name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK)
	if err != nil {
		return nil, d.explain(toOpen, err)
	}
	file := os.NewFile(uintptr(fd), d.name)
	defer file.Close()
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, d.explain(toLook, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG { // somebody has just replaced it
		return nil, d.refuse(st)
	}
	content, err := host.ReadAtMost(file, MaxRead)
	if err != nil {
		return nil, d.explain(toRead, err)
	}
	return content, nil
}
