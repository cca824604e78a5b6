package tokendir

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/tokenagent/tokenagent/agent/host"
)

// A Finding is something about a token directory that somebody should know.
type Finding struct {
	Name   string `json:"name,omitempty"` // of the entry; "" for the directory itself
	Line   int    `json:"line,omitempty"`
	Text   string `json:"text"`
	Remedy string `json:"remedy,omitempty"`
	Grave  bool   `json:"grave"` // a token does not reach its servers, or is refused there
}

// Findings are what somebody should know of the directory, in the order of its entries.
func (r Reading) Findings() []Finding {
	type place struct {
		name string
		line int
	}
	winners := map[place]Winner{}
	for _, w := range r.Winners() {
		winners[place{w.Name, w.Line}] = w
	}
	findings := []Finding{}
	if r.denied != "" {
		findings = append(findings, r.ofDenied())
	}
	if why := r.reader.Exclude.invalid; why != "" {
		findings = append(findings, Finding{
			Text:   ExcludeKnob + " is not a valid expression (" + why + "), so HTCondor reads no file at all",
			Remedy: "correct it in HTCondor's configuration, or remove it there, then condor_reconfig",
			Grave:  true,
		})
	}
	for _, e := range r.Entries {
		if e.Verdict.lost() {
			findings = append(findings, Finding{e.Name, e.Line, r.lostText(e), r.remedy(e), true})
		}
		if w, ok := winners[place{e.Name, e.Line}]; ok && e.Verdict == Sent {
			findings = append(findings, r.ofWinner(w)...)
		}
		for _, remark := range e.Remarks {
			findings = append(findings, Finding{Name: e.Name, Line: e.Line, Text: remark})
		}
	}
	return findings
}

// ofDenied is the finding of a directory that keeps the reader out.
func (r Reading) ofDenied() Finding {
	path := host.ShellWord(r.denied)
	return Finding{
		Text:   fmt.Sprintf("%s may not look into %s, so HTCondor finds nothing", r.reader, r.denied),
		Remedy: fmt.Sprintf("chown %s %s, or chmod o+rx %[2]s", r.reader.id(), path),
		Grave:  true,
	}
}

// lostText is the reason, and what follows from it.
func (r Reading) lostText(e Entry) string {
	if e.Verdict.hangs() {
		return e.Reason + "; what comes after it is never reached"
	}
	return e.Reason
}

// ofWinner are the findings about a token that is sent.
func (r Reading) ofWinner(w Winner) []Finding {
	var findings []Finding
	if w.Token.State != Valid {
		text := w.Token.Why + "; HTCondor sends it anyway"
		if hidden := hidden(w.Hides); hidden != "" {
			text += ", and never looks at " + hidden + ", which servers would accept"
		}
		findings = append(findings, Finding{w.Name, w.Line, text, r.remedyState(w.Entry), true})
	}
	for _, remark := range w.Token.Remarks {
		findings = append(findings, Finding{Name: w.Name, Line: w.Line, Text: remark})
	}
	return findings
}

// hidden names the valid tokens among the entries; "" for none.
func hidden(entries []Entry) string {
	valid := slices.DeleteFunc(slices.Clone(entries), func(e Entry) bool { return e.Token.State != Valid })
	switch len(valid) {
	case 0:
		return ""
	case 1:
		return valid[0].Name
	}
	return fmt.Sprintf("%s (and %d more)", valid[0].Name, len(valid)-1)
}

// remedy is what to do about an entry that is lost.
func (r Reading) remedy(e Entry) string {
	path := host.ShellWord(filepath.Join(r.Path, e.Name))
	switch e.Verdict {
	case Owner:
		return "chown " + r.reader.id() + " " + path
	case Mode:
		return "chmod go= " + path + "; and renew the token if others may have read it"
	case Blocks, Special, TooLarge:
		return "rm " + path
	case Unreadable:
		if e.astray {
			return "remove the link: rm " + path
		}
		return "let " + r.reader.String() + " read it, or remove it"
	case Incomplete:
		return "ask for a token with kid, iss and sub (condor_token_create makes such), or remove the file"
	}
	return "write the token again, bare and on one line, or remove the file"
}

// remedyState is what to do about a winner that no server accepts.
func (r Reading) remedyState(e Entry) string {
	switch e.Token.State {
	case Expired:
		return "renew it, or remove it"
	case Malformed:
		return "write the token again, with whole numbers of seconds"
	}
	if e.Token.foreign {
		return "remove it; a SciToken or WLCG token belongs in a file that BEARER_TOKEN_FILE names"
	}
	return "write the token again as condor_token_create makes it, or remove it"
}

// id is how chown(1) takes the user.
func (u User) id() string {
	if u.Name != "" {
		return u.Name
	}
	return strconv.Itoa(u.UID)
}
