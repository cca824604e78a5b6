package safefile

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// A token of usual size.
var benchToken = strings.Repeat("x", 1000)

// BenchmarkWrite is a write of new content each time, and in turn with it the
// bare sequence that any safe replacement needs: write, fsync, rename, fsync of
// the folder. bare/write is to be at least 0.8. Both are medians, as disks have
// moods.
func BenchmarkWrite(b *testing.B) {
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
	f, beside := New(target), filepath.Join(filepath.Dir(target.Path), "bare")
	var writing, bare []time.Duration
	for i := 0; b.Loop(); i++ {
		content := fmt.Append(nil, i, benchToken)
		start := time.Now()
		if _, err := f.Write(b.Context(), content); err != nil {
			b.Fatal(err)
		}
		between := time.Now()
		if err := bareWrite(beside, content); err != nil {
			b.Fatal(err)
		}
		writing, bare = append(writing, between.Sub(start)), append(bare, time.Since(between))
	}
	slices.Sort(writing)
	slices.Sort(bare)
	one, other := writing[len(writing)/2], bare[len(bare)/2]
	b.ReportMetric(float64(other)/float64(one), "bare/write")
	b.ReportMetric(float64(one), "ns/write")
	b.ReportMetric(0, "ns/op") // of both together, which says nothing
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
