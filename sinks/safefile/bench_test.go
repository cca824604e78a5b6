package safefile

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A token of usual size.
var benchToken = strings.Repeat("x", 1000)

// BenchmarkWrite is a write of new content each time, beside the bare sequence
// that any safe replacement needs: write, fsync, rename, fsync of the folder.
// The pairs run in turn, as disks have moods.
func BenchmarkWrite(b *testing.B) {
	b.Run("bare", func(b *testing.B) { benchBare(b, filepath.Join(b.TempDir(), "token")) })
	b.Run("oneself", func(b *testing.B) { benchWrite(b, mine(filepath.Join(b.TempDir(), "token"))) })
	b.Run("owner", func(b *testing.B) { benchWrite(b, ownersTarget(b)) })
}

// BenchmarkLook is a look at a file that lies there as it was written.
func BenchmarkLook(b *testing.B) {
	b.Run("oneself", func(b *testing.B) { benchLook(b, mine(filepath.Join(b.TempDir(), "token"))) })
	b.Run("owner", func(b *testing.B) { benchLook(b, ownersTarget(b)) })
}

func ownersTarget(b *testing.B) Target {
	if os.Geteuid() != 0 {
		b.Skip("only root can take on another identity")
	}
	return theirs(filepath.Join(mkdir(b, filepath.Join(openTempDir(b), "home"), somebody.UID, 0o700), "token"))
}

func benchBare(b *testing.B, path string) {
	for i := 0; b.Loop(); i++ {
		if err := bareWrite(path, fmt.Append(nil, i, benchToken)); err != nil {
			b.Fatal(err)
		}
	}
}

func bareWrite(path string, content []byte) error {
	temp, err := os.OpenFile(path+".tmp", os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer temp.Close()
	if _, err := temp.Write(content); err != nil {
		return err
	}
	if err := temp.Sync(); err != nil {
		return err
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

func benchWrite(b *testing.B, target Target) {
	f := New(target)
	for i := 0; b.Loop(); i++ {
		if _, err := f.Write(b.Context(), fmt.Append(nil, i, benchToken)); err != nil {
			b.Fatal(err)
		}
	}
}

func benchLook(b *testing.B, target Target) {
	f := New(target)
	mustWrite(b, f, benchToken)
	for b.Loop() {
		if d, err := f.Look(); d != "" || err != nil {
			b.Fatal(d, err)
		}
	}
}
