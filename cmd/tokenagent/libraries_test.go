package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	stdlog "log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tokenagent/tokenagent/agent/config"
)

// libraryLines is a log that can be read while it is written.
type libraryLines struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{} // has room for one
}

func (l *libraryLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case l.more <- struct{}{}:
	default:
	}
	return l.text.Write(p)
}

func (l *libraryLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// first waits for a line that has the text in it.
func (l *libraryLines) first(t *testing.T, text string) string {
	t.Helper()
	limit := time.After(longest)
	for {
		all := l.String()
		for line := range strings.Lines(all) {
			if strings.Contains(line, text) {
				return line
			}
		}
		select {
		case <-l.more:
		case <-limit:
			t.Fatalf("no line has %q:\n%s", text, all)
		}
	}
}

// librariesLog has what libraries log come into a JSON log until the test ends.
func librariesLog(t *testing.T) *libraryLines {
	t.Helper()
	out, flags := stdlog.Writer(), stdlog.Flags()
	t.Cleanup(func() { stdlog.SetOutput(out); stdlog.SetFlags(flags) })
	into := &libraryLines{more: make(chan struct{}, 1)}
	logLibraries(newLogger(into, config.Settings{LogLevel: "info", LogFormat: "json"}))
	return into
}

// net/http logs what an issuer sends without being asked, with its token.
func TestWhatAConnectionLogsByItselfIsALineOfOurLogWithoutWhatCame(t *testing.T) {
	log := librariesLog(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
				io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
				io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n{\"access_token\":\"SECRET\"}\r\n")
			}
			conn.Close()
		}
	}()
	client := http.Client{Timeout: longest}
	for tries := 0; tries < 10_000 && log.String() == ""; tries++ { // whether the rest comes with the answer or behind it is chance
		resp, err := client.Get("http://" + listener.Addr().String())
		if err != nil {
			continue
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	line := log.first(t, "Unsolicited response")
	wantEntry(t, line, "Unsolicited response received on idle HTTP channel starting with …")
	if strings.Contains(log.String(), "SECRET") {
		t.Errorf("the token is in the log: %s", log.String())
	}
}

// A server that panics logs a stack of many lines.
func TestWhatAServerLogsByItselfIsALineOfOurLog(t *testing.T) {
	log := librariesLog(t)
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("\x1b[2J of a handler") }))
	defer server.Close()
	if resp, err := http.Get(server.URL); err == nil {
		resp.Body.Close()
	}
	line := log.first(t, "panic serving")
	wantEntry(t, line, "http: panic serving 127.0.0.1:")
	if strings.Contains(line, "\x1b") || strings.Contains(line, "goroutine") {
		t.Errorf("got %q", line)
	}
}

func wantEntry(t *testing.T, line, begins string) {
	t.Helper()
	var entry map[string]string
	if err := json.Unmarshal([]byte(line), &entry); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	if !strings.HasPrefix(entry["msg"], begins) || entry["level"] != "warning" || entry["from"] != "library" {
		t.Errorf("got %v", entry)
	}
}

func TestALibraryThatRepeatsItselfIsLoggedOnce(t *testing.T) {
	log := librariesLog(t)
	for n := range 1000 {
		stdlog.Printf("http: Accept error: accept4: too many open files; retrying in %dms", n)
	}
	for n := range 1000 {
		stdlog.Print(strings.Repeat("x", n))
	}
	fmt.Fprint(stdlog.Writer(), "no end")
	if got := strings.Count(log.String(), "\n"); got > mostLibrary {
		t.Errorf("%d lines were logged", got)
	}
	if got := strings.Count(log.String(), "too many open files"); got != 1 {
		t.Errorf("it was logged %d times", got)
	}
}
