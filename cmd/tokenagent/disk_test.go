package main

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// A disk is a file system of its own in a file, which a test can freeze and cut
// off as a power cut does.
type disk struct {
	dir, image string
	options    string
	copies     int // of the image that were made
}

// A fileSystem is how a disk is made.
type fileSystem struct {
	make    []string // the program that makes it, without the image
	size    int64
	options string // of the mount
}

var fileSystems = map[string]fileSystem{
	"ext4":                 {[]string{"mkfs.ext4", "-q"}, 64 << 20, "loop"},
	"ext4 noauto_da_alloc": {[]string{"mkfs.ext4", "-q"}, 64 << 20, "loop,noauto_da_alloc"},
	"xfs":                  {[]string{"mkfs.xfs", "-q"}, 300 << 20, "loop,nouuid"}, // the smallest that it makes
}

// newDisk mounts a new file system at that name in the site.
func newDisk(t *testing.T, s *site, name string, fs fileSystem) *disk {
	t.Helper()
	requireRoot(t, "mount")
	requirePart(t, "losetup", "--find") // a free loop device
	d := &disk{dir: s.mkdir(t, name, 0, 0o700), image: s.path(name + ".image"), options: fs.options}
	image, err := os.Create(d.image)
	check(t, err)
	check(t, image.Truncate(fs.size))
	check(t, image.Close())
	requirePart(t, fs.make[0], append(fs.make[1:], d.image)...)
	d.mount(t)
	t.Cleanup(func() {
		s.kill()
		d.unmount(t)
	})
	return d
}

func (d *disk) mount(t *testing.T) {
	t.Helper()
	if out, err := exec.Command("mount", "-o", d.options, d.image, d.dir).CombinedOutput(); err != nil {
		t.Fatalf("mount %s: %v\n%s", d.image, err, out)
	}
}

// unmount waits for programs that were killed but still have a file open.
func (d *disk) unmount(t *testing.T) {
	t.Helper()
	eventually(t, "a disk that nobody uses", func() bool { return unix.Unmount(d.dir, 0) == nil })
}

// remount mounts a copy of the disk, as after a restart of the host. The disk
// itself may stay mounted in a container that another test has begun meanwhile.
func (d *disk) remount(t *testing.T) {
	t.Helper()
	d.unmount(t)
	d.copies++
	next := fmt.Sprintf("%s.%d.image", d.dir, d.copies)
	out, err := exec.Command("cp", "--sparse=always", d.image, next).CombinedOutput()
	if err != nil {
		t.Fatalf("copy the disk: %v\n%s", err, out)
	}
	check(t, os.Remove(d.image))
	d.image = next
	d.mount(t)
}

// What cut does with what was logged but is not on the disk yet.
const (
	logFlushed = 1 // it gets there
	logLost    = 2 // it is lost, as all else that was not synced
)

// cut ends the file system as a power cut does: nothing more gets to the disk. Then
// remount it.
func (d *disk) cut(t *testing.T, log int) {
	t.Helper()
	const goingDown = 0x8004587d // XFS_IOC_GOINGDOWN, for ext4 as well; what xfs_io -x -c shutdown does
	d.control(t, goingDown, log)
}

// freeze has every write wait until thaw, as one to a server that is gone does.
func (d *disk) freeze(t *testing.T) { t.Helper(); d.control(t, 0xc0045877, 0) } // FIFREEZE
func (d *disk) thaw(t *testing.T)   { t.Helper(); d.control(t, 0xc0045878, 0) } // FITHAW

func (d *disk) control(t *testing.T, request uint, argument int) {
	t.Helper()
	f, err := os.Open(d.dir)
	check(t, err)
	defer f.Close()
	check(t, unix.IoctlSetPointerInt(int(f.Fd()), request, argument))
}

// sync brings all that was written to the disk.
func (d *disk) sync(t *testing.T) {
	t.Helper()
	f, err := os.Open(d.dir)
	check(t, err)
	defer f.Close()
	check(t, unix.Syncfs(int(f.Fd())))
}
