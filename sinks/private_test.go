package sinks

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/tokenagent/tokenagent/agent"
)

func TestPrivateFileIsForItsUserAlone(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	path := filepath.Join(t.TempDir(), "token")
	s := Private(path, agent.Request{})
	for _, text := range []string{"first", "second"} {
		w, err := s.Put(t.Context(), agent.Token{Secret: agent.NewSecret(text)})
		if err != nil || !w.Changed {
			t.Fatalf("Put: %v, %v", w.Changed, err)
		}
		content, err := os.ReadFile(path)
		if err != nil || string(content) != text+"\n" {
			t.Errorf("it holds %q, %v", content, err)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode() != 0o600 {
			t.Errorf("its mode is %v, %v", info.Mode(), err)
		}
	}
}
