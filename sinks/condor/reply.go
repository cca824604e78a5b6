package condor

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/tokenagent/tokenagent/sinks/tokendir"
)

// A Reply is what a server of a pool answered to a Ping.
type Reply struct {
	Address   string   `json:"pool"`
	Type      string   `json:"type"`
	As        string   `json:"as"`     // the user who asked, for people
	Method    string   `json:"method"` // the only one that counts
	Server    string   `json:"server_version,omitempty"`
	Directory string   `json:"directory,omitempty"` // where the client looked for tokens
	Sent      string   `json:"sent,omitempty"`      // the file whose token the client sent
	PassedBy  []string `json:"passed_by,omitempty"` // why the client did not send a token that it read, in HTCondor's words
	tokendir.Pool
	Levels []Level `json:"levels"`
	Replay *Replay `json:"replay,omitempty"` // what tokendir says of the same directory; see Explain

	Findings []tokendir.Finding `json:"findings"` // see Explain
}

// A Level is what the server answered for one level.
type Level struct {
	Level      string `json:"level"`
	Authorised bool   `json:"authorised"`
	Method     string `json:"method,omitempty"`   // that the client authenticated by
	Identity   string `json:"identity,omitempty"` // that the server gave it
	Error      string `json:"error,omitempty"`    // HTCondor's words
}

// read takes over what condor_ping printed: on standard output an ad for each
// level, on standard error its log.
func (r *Reply) read(printed Printed) {
	r.Levels, r.Findings, r.PassedBy = []Level{}, []tokendir.Finding{}, nil
	r.readAds(printed.Answer)
	r.readLog(printed.Complaint)
	slices.SortStableFunc(r.Levels, func(a, b Level) int {
		return slices.Index(Levels, a.Level) - slices.Index(Levels, b.Level)
	})
}

// readAds reads the answers. "# LEVEL command to SERVER is ALLOWED" begins the ad
// of a level. A line that begins with # and no blank says what failed before it.
func (r *Reply) readAds(answer string) {
	failed, allowed := "", false
	for line := range strings.Lines(answer) {
		line = strings.TrimSpace(line)
		if about, found := strings.CutPrefix(line, "# "); found {
			level, _, _ := strings.Cut(about, " ")
			allowed = strings.HasSuffix(about, " is ALLOWED")
			r.Levels = append(r.Levels, Level{Level: level, Error: failed})
			failed = ""
		} else if text, found := strings.CutPrefix(line, "#"); found {
			failed = text
		} else if name, value, found := strings.Cut(line, " = "); found && len(r.Levels) > 0 {
			l := &r.Levels[len(r.Levels)-1]
			switch name {
			case "AuthMethods":
				l.Method, l.Authorised = unquoted(value), allowed
			case "MyRemoteUserName":
				l.Identity = unquoted(value)
			}
		}
	}
	for i := range r.Levels {
		l := &r.Levels[i]
		l.Authorised = l.Authorised && r.byToken(*l)
	}
}

// unquoted is a text of an ad, in which HTCondor escapes quotation marks alone.
func unquoted(value string) string {
	return strings.ReplaceAll(strings.TrimSuffix(strings.TrimPrefix(value, `"`), `"`), `\"`, `"`)
}

// byToken reports whether the client authenticated with a token.
func (r *Reply) byToken(l Level) bool {
	return l.Method == r.Method && l.Identity != "" && !slices.Contains([]string{"condor@password", "unauthenticated@unmapped", "anonymous"}, l.Identity)
}

// readLog reads what the server told about itself, and what the client did.
func (r *Reply) readLog(log string) {
	for line := range strings.Lines(log) {
		line = strings.TrimSpace(line)
		name, value, _ := strings.Cut(line, " = ")
		switch value = unquoted(value); name {
		case "TrustDomain":
			r.TrustDomain = value
		case "IssuerKeys":
			r.Keys = strings.FieldsFunc(value, func(c rune) bool { return c == ',' || c == ' ' })
		case "RemoteVersion":
			if v, err := tokendir.ParseVersion(value); err == nil {
				r.Server = v.String()
			}
		}
		r.readSending(line)
	}
}

// readSending reads how the client chose its token: the last file that it examined
// is the one whose token it sent.
func (r *Reply) readSending(line string) {
	if _, text, found := strings.Cut(line, "Looking for tokens in directory "); found {
		r.Directory, r.Sent = text[:max(0, strings.LastIndex(text, " for issuer "))], ""
	}
	if _, text, found := strings.Cut(line, "IDTOKENS: Examining "); found {
		r.Sent = filepath.Base(text[:max(0, strings.LastIndex(text, " for valid tokens from issuer "))])
	}
	if strings.Contains(line, "TOKEN: No token found.") {
		r.Sent = ""
	}
	_, why, found := strings.Cut(line, "Token discovery failure: ")
	if at := strings.Index(line, "Ignoring token as it "); at >= 0 {
		why, found = line[at:], true
	}
	if found && !slices.Contains(r.PassedBy, why) {
		r.PassedBy = append(r.PassedBy, why)
	}
}
