package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenagent/tokenagent/agent"
)

// serve starts the server in a new folder and returns a client for it.
func serve(t *testing.T, answers Answers) *Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "control.sock")
	l, err := Listen(path, OwnerOnly)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := Serve(ctx, l, answers); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); running.Wait() })
	return NewClient(path)
}

func TestBothEndsAgree(t *testing.T) {
	want := []agent.Status{{Name: `pilot["ce1"]`, State: agent.Valid, Required: true, Sinks: []agent.SinkStatus{{Name: "/t", State: agent.Valid}}}}
	var asked []string
	echo := func(_ context.Context, names ...string) ([]agent.Status, error) {
		asked = names
		return want, nil
	}
	refused := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	beat := refused.Add(time.Hour)
	leftovers := []Leftover{{Token: "old", Path: "/t/old"}}
	replaced := agent.Replaced{Added: 1, Changed: 2, Unchanged: 3, Removed: 4}
	c := serve(t, Answers{
		Status:    echo,
		Refresh:   echo,
		Reload:    func(context.Context) (agent.Replaced, error) { return replaced, nil },
		Refused:   func() time.Time { return refused },
		Heartbeat: func() time.Time { return beat },
		Follows:   func() []string { return []string{"/etc/tokenagent/tokenagent.hcl"} },
		Leftovers: func(context.Context) ([]Leftover, error) { return leftovers, nil },
	})
	for _, ask := range []func(context.Context, ...string) ([]agent.Status, error){c.Status, c.Refresh} {
		got, err := ask(t.Context(), `pilot["ce1"]`, "a&b=c d")
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
		if d := cmp.Diff([]string{`pilot["ce1"]`, "a&b=c d"}, asked); d != "" {
			t.Error(d)
		}
	}
	if got, err := c.Reload(t.Context()); err != nil || got != replaced {
		t.Errorf("Reload = %+v, %v", got, err)
	}
	if got, err := c.Refused(t.Context()); err != nil || !got.Equal(refused) {
		t.Errorf("Refused = %v, %v", got, err)
	}
	if got, err := c.Follows(t.Context()); err != nil || !slices.Equal(got, []string{"/etc/tokenagent/tokenagent.hcl"}) {
		t.Errorf("Follows = %q, %v", got, err)
	}
	if got, err := c.Heartbeat(t.Context()); err != nil || !got.Equal(beat) {
		t.Errorf("Heartbeat = %v, %v", got, err)
	}
	if got, err := c.Leftovers(t.Context()); err != nil || !slices.Equal(got, leftovers) {
		t.Errorf("Leftovers = %+v, %v", got, err)
	}
}

func TestRefusalPassesThroughTheSocketAsItIs(t *testing.T) {
	refusal := &Refusal{Reason: Configuration, Text: "a.hcl:1:1: unknown\n  ^^^"}
	c := serve(t, Answers{Reload: func(context.Context) (agent.Replaced, error) { return agent.Replaced{}, refusal }})
	_, err := c.Reload(t.Context())
	got, ok := errors.AsType[*Refusal](err)
	if !ok {
		t.Fatalf("error is %v", err)
	}
	if d := cmp.Diff(refusal, got); d != "" {
		t.Error(d)
	}
}

func TestOtherErrorsKeepTheirText(t *testing.T) {
	c := serve(t, Answers{Refresh: func(context.Context, ...string) ([]agent.Status, error) { return nil, errors.New("the issuer is down") }})
	_, err := c.Refresh(t.Context())
	if err == nil || err.Error() != "the issuer is down" {
		t.Errorf("error is %v", err)
	}
}

func TestNobodyAnswersIsErrNoAgent(t *testing.T) {
	folder := t.TempDir()
	stale := filepath.Join(folder, "stale")
	leaveStaleSocket(t, stale)
	for _, path := range []string{filepath.Join(folder, "none"), filepath.Join(stale, "below"), stale} {
		if _, err := NewClient(path).Status(t.Context()); !errors.Is(err, ErrNoAgent) {
			t.Errorf("%s: error is %v", path, err)
		} else if !strings.Contains(err.Error(), path) {
			t.Errorf("%v does not name the socket", err)
		}
	}
}

func TestAgentThatHangsIsToldFromOneThatIsNotThere(t *testing.T) {
	asked := make(chan struct{}, 100)
	hangs := func(ctx context.Context, _ ...string) ([]agent.Status, error) {
		asked <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	}
	c := serve(t, Answers{Status: hangs})
	for limit := time.Millisecond; len(asked) == 0; limit *= 2 { // until it is time enough to ask
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		_, err := c.Status(ctx)
		cancel()
		if err == nil || errors.Is(err, ErrNoAgent) || !strings.Contains(err.Error(), "no answer in time") {
			t.Fatalf("error is %v", err)
		}
	}
}

func TestSocketOfAnotherUserSaysWhatToDo(t *testing.T) {
	for _, denied := range []error{syscall.EACCES, syscall.EPERM} {
		err := NewClient("/s").explain(&url.Error{Op: "Get", URL: "http://agent/status", Err: denied})
		if errors.Is(err, ErrNoAgent) || !strings.Contains(err.Error(), "control_group") {
			t.Errorf("error is %v", err)
		}
	}
	err := NewClient("/s").explain(&url.Error{Op: "Get", URL: "http://agent/status", Err: syscall.ECONNRESET})
	if strings.Contains(err.Error(), "http:") || !strings.Contains(err.Error(), "connection reset") {
		t.Errorf("error is %v", err)
	}
}

func TestQuestionUnderWayIsAnsweredBeforeTheEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen(path, OwnerOnly)
	if err != nil {
		t.Fatal(err)
	}
	asked, release := make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		Serve(ctx, l, Answers{Status: func(context.Context, ...string) ([]agent.Status, error) {
			close(asked)
			<-release
			return []agent.Status{{Name: "last"}}, nil
		}})
	})
	running.Go(func() {
		got, err := NewClient(path).Status(t.Context())
		if err != nil || len(got) != 1 || got[0].Name != "last" {
			t.Errorf("answer is %v, %v", got, err)
		}
	})
	<-asked
	cancel()
	close(release)
	running.Wait()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is left behind: %v", err)
	}
}

func TestForeignProgramBehindTheSocketIsNamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.NotFoundHandler()}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	_, err = NewClient(path).Status(t.Context())
	if err == nil || !strings.Contains(err.Error(), "no tokenagent of this version") {
		t.Errorf("error is %v", err)
	}
}

func TestSocketIsNeverWiderThanAsked(t *testing.T) {
	for _, umask := range []int{0, 0o077} {
		t.Run(fmt.Sprintf("umask %#o", umask), func(t *testing.T) {
			old := syscall.Umask(umask)
			t.Cleanup(func() { syscall.Umask(old) })
			bound := filepath.Join(t.TempDir(), "bound")
			l, err := bind(bound)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			if mode := modeOf(t, bound); mode != 0o600 {
				t.Errorf("when it appears its mode is %v", mode)
			}
			owner := filepath.Join(t.TempDir(), "owner")
			listen(t, owner, OwnerOnly)
			if mode := modeOf(t, owner); mode != 0o600 {
				t.Errorf("mode is %v", mode)
			}
			group := filepath.Join(t.TempDir(), "group")
			listen(t, group, os.Getgid())
			if mode := modeOf(t, group); mode != 0o660 {
				t.Errorf("with a group the mode is %v", mode)
			}
		})
	}
}

func TestListenReplacesOnlyWhatNobodyServes(t *testing.T) {
	folder := t.TempDir()

	stale := filepath.Join(folder, "stale")
	leaveStaleSocket(t, stale)
	listen(t, stale, OwnerOnly)
	if _, err := Listen(stale, OwnerOnly); !errors.Is(err, ErrInUse) {
		t.Errorf("a socket that is served: error is %v", err)
	}

	file := filepath.Join(folder, "file")
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(file, OwnerOnly); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("a file: error is %v", err)
	}
	if text, _ := os.ReadFile(file); string(text) != "mine" {
		t.Error("the file was touched")
	}
}

func TestOfTwoThatStartAtOnceOneServes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	leaveStaleSocket(t, path)
	served := make(chan error, 20)
	var starting sync.WaitGroup
	for range cap(served) {
		starting.Go(func() {
			l, err := Listen(path, OwnerOnly)
			served <- err
			if err == nil {
				t.Cleanup(func() { l.Close() })
			}
		})
	}
	starting.Wait()
	close(served)
	winners := 0
	for err := range served {
		if err == nil {
			winners++
		} else if !errors.Is(err, ErrInUse) {
			t.Error(err)
		}
	}
	if winners != 1 {
		t.Errorf("%d of them serve the socket", winners)
	}
}

func TestALockThatSomebodyHoldsDoesNotKeepTheAgentFromItsStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sock")
	unlock, err := lock(path + ".lock") // as anybody can in a folder that others can write
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	done := make(chan error, 1)
	go func() {
		_, err := Listen(path, OwnerOnly)
		done <- err
	}()
	select {
	case err := <-done:
		if err == nil || !strings.Contains(err.Error(), "another process holds it (fuser "+path+".lock names it)") {
			t.Errorf("the error is %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the agent waits for ever")
	}
}

func TestALinkInThePlaceOfTheSocketIsNotOpenedToTheGroup(t *testing.T) {
	path, secret := filepath.Join(t.TempDir(), "control.sock"), filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, put := range []func(old, new string) error{os.Symlink, os.Link} {
		if err := put(secret, path); err != nil {
			t.Fatal(err)
		}
		if err := admit(path, os.Getegid()); err == nil || !strings.Contains(err.Error(), "somebody has replaced the socket") {
			t.Errorf("the error is %v", err)
		}
		if info, err := os.Stat(secret); err != nil || info.Mode() != 0o600 {
			t.Errorf("the file that the link leads to has mode %v, %v", info.Mode(), err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPathTooLongForASocketSaysSo(t *testing.T) {
	_, err := Listen("/tmp/"+strings.Repeat("x", 120), OwnerOnly)
	if err == nil || !strings.Contains(err.Error(), "at most 107 bytes") {
		t.Errorf("error is %v", err)
	}
}

func listen(t *testing.T, path string, group int) {
	t.Helper()
	l, err := Listen(path, group)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
}

// leaveStaleSocket leaves the socket of a process that was killed.
func leaveStaleSocket(t *testing.T, path string) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
}

func modeOf(t *testing.T, path string) os.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}
