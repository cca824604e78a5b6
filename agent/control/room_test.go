package control

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tokenagent/tokenagent/agent"
)

// dial opens a connection that is closed with the test.
func dial(t *testing.T, path string) net.Conn {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestSilentConnectionsMakeRoomForAQuestion(t *testing.T) {
	c := serve(t, Answers{Status: func(context.Context, ...string) ([]agent.Status, error) { return nil, nil }})
	var silent []net.Conn
	for range 2 * mostConnections {
		silent = append(silent, dial(t, c.path))
	}
	if _, err := c.Status(t.Context()); err != nil {
		t.Error(err)
	}
	for i, s := range silent[:mostConnections] {
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("connection %d reads %v", i, err)
		}
	}
}

func TestAConnectionServesForOneQuestion(t *testing.T) {
	c := serve(t, Answers{Status: func(context.Context, ...string) ([]agent.Status, error) { return nil, nil }})
	for range 3 {
		conn := dial(t, c.path)
		if _, err := io.WriteString(conn, "GET /status HTTP/1.1\r\nHost: agent\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(conn); err != nil { // to its end
			t.Error(err)
		}
	}
}

func TestWhoHasAskedIsNeverSentAway(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	inner, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer inner.Close()
	l := withRoom(inner, 2)
	accepted := make(chan *connection)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- c.(*connection)
		}
	}()
	var asked []*connection
	for range 2 {
		dial(t, path)
		c := <-accepted
		c.asked.Store(true)
		asked = append(asked, c)
	}
	dial(t, path)
	select {
	case <-accepted:
		t.Fatal("three are open")
	default:
	}
	asked[1].Close()
	third := <-accepted
	dial(t, path)
	<-accepted // in the place of the third, which said nothing
	if _, err := third.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the third reads %v", err)
	}
	if l.open[0] != asked[0] || len(l.open) != 2 {
		t.Errorf("%d are open", len(l.open))
	}
}

func TestAQuestionKeepsItsConnectionUntilItIsAnswered(t *testing.T) {
	asked, release := make(chan struct{}), make(chan struct{})
	c := serve(t, Answers{Status: func(context.Context, ...string) ([]agent.Status, error) {
		asked <- struct{}{}
		<-release
		return nil, nil
	}})
	answered := make(chan error, mostConnections)
	for range mostConnections {
		go func() { _, err := c.Status(context.Background()); answered <- err }()
	}
	for range mostConnections {
		<-asked
	}
	dial(t, c.path)
	select {
	case err := <-answered:
		close(release)
		t.Fatal("another one took its place: ", err)
	case <-time.After(10 * silence):
	}
	close(release)
	for range mostConnections {
		if err := <-answered; err != nil {
			t.Error(err)
		}
	}
}

func TestRoomIsAQuarterOfTheDescriptorsAtMost(t *testing.T) {
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &before)
	for limit, want := range map[uint64]int{100: 25, 256: 64} {
		if limit > before.Max {
			t.Skip("the limit of descriptors is too low here")
		}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: before.Max}); err != nil {
			t.Fatal(err)
		}
		if n := roomFor(); n != want {
			t.Errorf("with %d descriptors there is room for %d, want %d", limit, n, want)
		}
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: min(1024, before.Max), Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	if n := roomFor(); n != mostConnections {
		t.Errorf("with 1024 descriptors there is room for %d", n)
	}
}
