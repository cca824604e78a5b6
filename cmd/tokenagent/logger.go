package main

import (
	"io"
	"time"

	"github.com/sirupsen/logrus"

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
	if level, err := logrus.ParseLevel(s.LogLevel); err == nil { // agent/config takes only levels that there are
		log.SetLevel(level)
	}
	if s.LogFormat == "json" {
		log.SetFormatter(&logrus.JSONFormatter{TimestampFormat: time.RFC3339Nano, DisableHTMLEscape: true})
		return
	}
	log.SetFormatter(&logrus.TextFormatter{FullTimestamp: true, TimestampFormat: time.RFC3339})
}
