package main

import (
	"bytes"
	"io"
	stdlog "log"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/sirupsen/logrus"
)

// silenceLibraries drops what libraries log with the package log, for commands that
// have no log.
func silenceLibraries() {
	stdlog.SetFlags(0)
	stdlog.SetOutput(io.Discard)
}

// logLibraries takes what libraries log with the package log into our log. Servers and
// connections of net/http do so when they have no caller to tell.
func logLibraries(log *logrus.Logger) {
	stdlog.SetFlags(0)
	stdlog.SetOutput(&libraryLog{log: log, said: map[string]time.Time{}})
}

// A libraryLog makes an entry of each message of a library.
type libraryLog struct {
	log *logrus.Logger

	mu   sync.Mutex
	said map[string]time.Time // when each was last logged, without its numbers
}

const (
	libraryAgain = time.Hour // after which the same line is logged again
	mostLibrary  = 200       // characters of a line, and lines that differ within that time
)

// Write takes one message: the package log calls it once for each.
func (l *libraryLog) Write(message []byte) (int, error) {
	text := libraryText(message)
	if l.isNew(text) {
		l.log.WithField("from", "library").Warn(text)
	}
	return len(message), nil
}

// isNew reports whether the line was not logged within the last hour: without free
// descriptors net/http says so every second.
func (l *libraryLog) isNew(text string) bool {
	kind := strings.Map(func(r rune) rune {
		if unicode.IsDigit(r) {
			return -1
		}
		return r
	}, text)
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for k, at := range l.said {
		if now.Sub(at) >= libraryAgain {
			delete(l.said, k)
		}
	}
	if _, known := l.said[kind]; known || len(l.said) >= mostLibrary {
		return false
	}
	l.said[kind] = now
	return true
}

// libraryText is the part of a message that is safe to log: its first line, up to the
// first quote. What libraries quote came over the network, and may be a token.
func libraryText(message []byte) string {
	line, _, _ := bytes.Cut(message, []byte("\n"))
	before, _, quotes := strings.Cut(strings.ToValidUTF8(string(line), "?"), `"`)
	if runes := []rune(before); len(runes) > mostLibrary {
		before, quotes = string(runes[:mostLibrary]), true
	}
	if quotes {
		before += "…"
	}
	return before
}
