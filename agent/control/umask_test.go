package control

import (
	"strconv"
	"syscall"
	"testing"
)

// withUmask sets the umask, which belongs to the whole process, for one test.
func withUmask(t *testing.T, octal string) {
	t.Helper()
	mask, err := strconv.ParseUint(octal, 8, 32)
	if err != nil {
		t.Fatal(err)
	}
	old := syscall.Umask(int(mask))
	t.Cleanup(func() { syscall.Umask(old) })
}
