package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/config"
)

// logUnruly logs one entry in which everything tries to be more than a line.
func logUnruly(log *logrus.Logger) {
	log.WithFields(logrus.Fields{
		"token": "a\nb", "error": errors.New("first\nsecond\r\n\x1b[31mthird"), "kind": agent.Writing, "outage": 90 * time.Second,
	}).Error("not written:\n  ^^^ here\n")
}

func TestNoEntryBreaksItsLine(t *testing.T) {
	for _, c := range []struct {
		format  string
		journal bool
		begins  string
	}{
		{"text", false, `time="`},
		{"json", false, `{"`},
		{"text", true, `<3>level=error msg="not written:\n  ^^^ here\n"`},
		{"json", true, `<3>{"error":"first\nsecond`},
	} {
		t.Run(fmt.Sprintf("%s journal %v", c.format, c.journal), func(t *testing.T) {
			var out bytes.Buffer
			log := newLogger(&out, config.Settings{LogLevel: "info", LogFormat: c.format})
			log.SetFormatter(lineFormatter(c.format == "json", c.journal))
			logUnruly(log)
			line, rest, ended := strings.Cut(out.String(), "\n")
			if !ended || rest != "" || strings.ContainsAny(line, "\r\x1b") {
				t.Errorf("it is no single line: %q", out.String())
			}
			if !strings.HasPrefix(line, c.begins) {
				t.Errorf("it begins otherwise than %s:\n%s", c.begins, line)
			}
			if timed := strings.Contains(line, "time="+`"`) || strings.Contains(line, `"time":`); timed == c.journal {
				t.Errorf("the time: %v", line)
			}
		})
	}
}

func TestJSONHasValuesAsPeopleReadThem(t *testing.T) {
	var out bytes.Buffer
	logUnruly(newLogger(&out, config.Settings{LogLevel: "info", LogFormat: "json"}))
	var line map[string]string
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	if line["kind"] != "writing" || line["outage"] != "1m30s" || line["token"] != "a\nb" || line["level"] != "error" {
		t.Errorf("%v", line)
	}
	if _, err := time.Parse(time.RFC3339Nano, line["time"]); err != nil {
		t.Error(err)
	}
}

func TestPriorityFollowsTheLevel(t *testing.T) {
	var got []string
	for _, level := range []logrus.Level{logrus.FatalLevel, logrus.ErrorLevel, logrus.WarnLevel, logrus.InfoLevel, logrus.DebugLevel} {
		got = append(got, priority(level))
	}
	if want := "<2> <3> <4> <6> <7>"; strings.Join(got, " ") != want {
		t.Errorf("%q, want %s", got, want)
	}
}

// systemd names the stream that it has made for the service. A shell, or a file
// that standard error was sent to, only inherits the variable.
func TestOnlyTheStreamThatSystemdNamesIsTheJournal(t *testing.T) {
	folder := t.TempDir()
	journal, err := os.Create(filepath.Join(folder, "journal"))
	check(t, err)
	defer journal.Close()
	other, err := os.Create(filepath.Join(folder, "other"))
	check(t, err)
	defer other.Close()
	info, err := journal.Stat()
	check(t, err)
	st := info.Sys().(*syscall.Stat_t)
	named := fmt.Sprintf("%d:%d", st.Dev, st.Ino)

	t.Setenv("INVOCATION_ID", "of the session that the test runs in")
	for _, c := range []struct {
		variable string
		stream   *os.File
		want     bool
	}{
		{named, journal, true}, {named, other, false}, {"", journal, false}, {named + "x", journal, false}, {"8", journal, false},
	} {
		t.Setenv("JOURNAL_STREAM", c.variable)
		if got := isJournal(c.stream); got != c.want {
			t.Errorf("JOURNAL_STREAM=%q, %s: %v", c.variable, c.stream.Name(), got)
		}
	}
	t.Setenv("JOURNAL_STREAM", named)
	if isJournal(new(bytes.Buffer)) {
		t.Error("a buffer passes for the journal")
	}
}

func TestWhatEndsTheProcessIsAnErrorInTheJournal(t *testing.T) {
	journal, err := os.Create(filepath.Join(t.TempDir(), "journal"))
	check(t, err)
	defer journal.Close()
	info, err := journal.Stat()
	check(t, err)
	st := info.Sys().(*syscall.Stat_t)
	t.Setenv("JOURNAL_STREAM", fmt.Sprintf("%d:%d", st.Dev, st.Ino))
	if code := report(asErrors(journal), faulted("a.hcl:1:1: unknown\n  ^^^\n")); code != exitConfiguration {
		t.Errorf("exit code %d", code)
	}
	if text := readFile(t, journal.Name()); text != "<3>a.hcl:1:1: unknown\n<3>  ^^^\n" {
		t.Errorf("%q", text)
	}
}
