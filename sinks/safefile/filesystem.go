package safefile

import (
	"golang.org/x/sys/unix"
)

// A server is who says what lies in a file system: whose a folder is, and where
// a symbolic link leads.
type server int

const (
	kernel  server = iota // this host's; what it says of root is true
	another               // another host, where somebody else may be root
	program               // by FUSE, a process of whichever user mounted it
)

// served are the file systems that the kernel only passes on, by the type that
// statfs(2) gives them.
var served = map[uint32]struct {
	by   server
	name string
}{
	unix.FUSE_SUPER_MAGIC: {program, "FUSE"},
	unix.NFS_SUPER_MAGIC:  {another, "NFS"},
	unix.CIFS_SUPER_MAGIC: {another, "SMB"},
	unix.SMB2_SUPER_MAGIC: {another, "SMB"},
	unix.SMB_SUPER_MAGIC:  {another, "SMB"},
	unix.V9FS_MAGIC:       {another, "9p"},
	unix.AFS_SUPER_MAGIC:  {another, "AFS"}, // OpenAFS
	unix.AFS_FS_MAGIC:     {another, "AFS"}, // the kernel's own
	unix.CEPH_SUPER_MAGIC: {another, "CephFS"},
	unix.CODA_SUPER_MAGIC: {another, "Coda"},
	unix.NCP_SUPER_MAGIC:  {another, "NCP"},
	0x0bd00bd0:            {another, "Lustre"},
	0x19830326:            {another, "BeeGFS"},
	0x20030528:            {another, "OrangeFS"},
	0x47504653:            {another, "GPFS"},
	0xaad7aaea:            {another, "PanFS"},
}

// typeOf is the type of the file system that an open file lies in.
func typeOf(fd int) (magic uint32, err error) {
	var st unix.Statfs_t
	err = again(func() error { return unix.Fstatfs(fd, &st) })
	return uint32(st.Type), err
}

// locate finds out who serves the file system of next. It asks where that is
// another than before, and never of the one that the whole system lies in:
// whoever serves that serves this program as well.
func (w *walk) locate(next *place) (err error) {
	switch {
	case !w.privileged || next.path == "/":
		return nil
	case uint64(next.stat.Dev) == w.system:
		return nil
	case next.stat.Dev == w.at.stat.Dev:
		next.magic = w.at.magic
		return nil
	}
	next.magic, err = w.typeOf(next.fd)
	return err
}

func (p place) server() server { return served[p.magic].by }
