package host

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// A Server is who decides what a file system shows: who owns a folder, and where a symbolic
// link leads.
type Server int

// The servers of file systems.
const (
	Kernel  Server = iota // this host's kernel; what it says of root is true
	Another               // another host, where somebody else may be root
	Program               // by FUSE, a process of the user who mounted it
)

// A FileSystem is the type of a file system, as statfs(2) gives it.
type FileSystem uint32

// served are the file systems that this kernel gets from a Server.
var served = map[FileSystem]struct {
	by   Server
	name string
}{
	unix.FUSE_SUPER_MAGIC: {Program, "FUSE"},
	unix.NFS_SUPER_MAGIC:  {Another, "NFS"},
	unix.CIFS_SUPER_MAGIC: {Another, "SMB"},
	unix.SMB2_SUPER_MAGIC: {Another, "SMB"},
	unix.SMB_SUPER_MAGIC:  {Another, "SMB"},
	unix.V9FS_MAGIC:       {Another, "9p"},
	unix.AFS_SUPER_MAGIC:  {Another, "AFS"}, // OpenAFS
	unix.AFS_FS_MAGIC:     {Another, "AFS"}, // the kernel's own
	unix.CEPH_SUPER_MAGIC: {Another, "CephFS"},
	unix.CODA_SUPER_MAGIC: {Another, "Coda"},
	unix.NCP_SUPER_MAGIC:  {Another, "NCP"},
	0x0bd00bd0:            {Another, "Lustre"},
	0x19830326:            {Another, "BeeGFS"},
	0x20030528:            {Another, "OrangeFS"},
	0x47504653:            {Another, "GPFS"},
	0xaad7aaea:            {Another, "PanFS"},
}

// FileSystemOf is the type of the file system that an open file lies in.
func FileSystemOf(fd int) (FileSystem, error) {
	var st unix.Statfs_t
	err := Again(func() error { return unix.Fstatfs(fd, &st) })
	return FileSystem(st.Type), err
}

// Server is who serves file systems of that type.
func (f FileSystem) Server() Server { return served[f].by }

// String names a type that is not served by this host's kernel; "" for others.
func (f FileSystem) String() string { return served[f].name }

// Again repeats a call while signals interrupt it (EINTR).
func Again(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// mounter is the user who mounted a file system that is served by FUSE. The kernel
// says so in mountinfo(5). One that only root can mount, as virtiofs, says nothing.
func mounter(device uint64) (uid int, known bool) {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return 0, false
	}
	defer file.Close()
	return mounterIn(file, device)
}

func mounterIn(mounts io.Reader, device uint64) (uid int, known bool) {
	want := fmt.Sprintf("%d:%d", unix.Major(device), unix.Minor(device))
	for lines := bufio.NewScanner(mounts); lines.Scan(); {
		mount, super, _ := strings.Cut(lines.Text(), " - ")
		if f := strings.Fields(mount); len(f) < 3 || f[2] != want {
			continue
		}
		_, after, found := strings.Cut(super, "user_id=")
		digits, _, _ := strings.Cut(after, ",")
		uid, ok := number(digits)
		return uid, found && ok
	}
	return 0, false
}
