package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/tokenagent/tokenagent/agent/config"
)

// newLogger returns the log of the process: lines of text or JSON on stderr.
func newLogger(stderr io.Writer, s config.Settings) *logrus.Logger {
	log := logrus.New()
	log.SetOutput(stderr)
	configure(log, s)
	return log
}

// configure sets what the agent block says of the log.
func configure(log *logrus.Logger, s config.Settings) {
	log.SetFormatter(lineFormatter(s.LogFormat == "json", isJournal(log.Out)))
	setLevel(log, levelOf(s))
}

// levelOf is the level that the agent block asks for.
func levelOf(s config.Settings) logrus.Level {
	level, err := logrus.ParseLevel(s.LogLevel)
	if err != nil { // agent/config takes only levels that there are
		return logrus.InfoLevel
	}
	return level
}

// setLevel sets the level of a log whose format is set. The tests replace it: they
// search every entry for secrets, also those of level debug.
var setLevel = (*logrus.Logger).SetLevel

// lineFormatter writes each entry as one line. For the journal the line begins with
// its priority (sd-daemon(3)) and has no time. A terminal gets no colours: what
// logrus colours, it does not quote.
func lineFormatter(asJSON, journal bool) logrus.Formatter {
	var f logrus.Formatter = &logrus.TextFormatter{
		DisableColors: true, FullTimestamp: true, TimestampFormat: time.RFC3339, DisableTimestamp: journal,
	}
	if asJSON {
		f = jsonFormatter{logrus.JSONFormatter{
			TimestampFormat: time.RFC3339Nano, DisableHTMLEscape: true, DisableTimestamp: journal,
		}}
	}
	if journal {
		f = journalFormatter{f}
	}
	return f
}

// A jsonFormatter writes durations and other values with a text as that text, as the
// lines of text do.
type jsonFormatter struct{ logrus.JSONFormatter }

func (f jsonFormatter) Format(e *logrus.Entry) ([]byte, error) {
	spelt := *e
	spelt.Data = make(logrus.Fields, len(e.Data))
	for name, value := range e.Data {
		if s, ok := value.(fmt.Stringer); ok {
			value = s.String()
		}
		spelt.Data[name] = value
	}
	return f.JSONFormatter.Format(&spelt)
}

// A journalFormatter puts the priority before each line.
type journalFormatter struct{ logrus.Formatter }

func (f journalFormatter) Format(e *logrus.Entry) ([]byte, error) {
	line, err := f.Formatter.Format(e)
	return append([]byte(priority(e.Level)), line...), err
}

// priority is that of syslog(3), as sd-daemon(3) has it before a line.
func priority(level logrus.Level) string {
	switch {
	case level <= logrus.FatalLevel:
		return "<2>"
	case level == logrus.ErrorLevel:
		return "<3>"
	case level == logrus.WarnLevel:
		return "<4>"
	case level == logrus.InfoLevel:
		return "<6>"
	}
	return "<7>"
}

// A descriptor is a stream of the operating system, as *os.File is.
type descriptor interface{ Fd() uintptr }

// isJournal reports whether the stream is the one that systemd made for the journal
// (systemd.exec(5), JOURNAL_STREAM). A process may inherit the variable while its
// stream goes elsewhere.
func isJournal(stream io.Writer) bool {
	f, ok := stream.(descriptor)
	if !ok {
		return false
	}
	device, inode, found := strings.Cut(os.Getenv("JOURNAL_STREAM"), ":")
	dev, err := strconv.ParseUint(device, 10, 64)
	ino, err2 := strconv.ParseUint(inode, 10, 64)
	var st unix.Stat_t
	return found && err == nil && err2 == nil && unix.Fstat(int(f.Fd()), &st) == nil &&
		uint64(st.Dev) == dev && st.Ino == ino
}

// asErrors returns the stream. For the journal, each line gets the priority of an
// error.
func asErrors(stream io.Writer) io.Writer {
	if !isJournal(stream) {
		return stream
	}
	return errorLines{stream}
}

type errorLines struct{ io.Writer }

// Write takes whole lines.
func (w errorLines) Write(text []byte) (int, error) {
	var all bytes.Buffer
	for line := range bytes.Lines(text) {
		all.WriteString(priority(logrus.ErrorLevel))
		all.Write(line)
	}
	_, err := w.Writer.Write(all.Bytes())
	return len(text), err
}
