package hosttest

import (
	"bytes"
	"os"
	"sync"
	"testing"
)

// Check ends the test where there is an error.
func Check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Put writes a file that only its owner can read.
func Put(t testing.TB, path, text string) {
	t.Helper()
	Check(t, os.WriteFile(path, []byte(text), 0o600))
}

// Move renames a file.
func Move(t testing.TB, from, to string) {
	t.Helper()
	Check(t, os.Rename(from, to))
}

// A Buffer is what a test reads while a process or an agent goes on to write.
type Buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write appends.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// String is what has been written.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
