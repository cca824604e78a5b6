package condor

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/tokenagent/tokenagent/sinks/tokendir"
)

// A Replay is what tokendir says that the client sends from its directory.
type Replay struct {
	Sent   string `json:"sent,omitempty"` // the file; "" for none
	Agrees bool   `json:"agrees"`         // whether the client did that
}

// Explain finds what is wrong, and what to do. The reading is that of the client's
// token directory; nil where no directory counts.
func (r *Reply) Explain(reading *tokendir.Reading) {
	var sent *tokendir.Entry
	var known []tokendir.Finding
	if reading != nil {
		known = reading.Findings()
		r.Replay = &Replay{}
		if entry, ok := reading.SentTo(r.Pool); ok {
			sent, r.Replay.Sent = &entry, entry.Name
		}
		r.Replay.Agrees = r.Replay.Sent == r.Sent
		if !r.Replay.Agrees {
			r.fault("the client sent "+cmp.Or(r.Sent, "nothing")+", the replay says "+cmp.Or(r.Replay.Sent, "nothing"),
				"trust what the client did; `condor_version` and --condor-version may differ, or the directory has just changed")
		}
	}
	switch {
	case r.authenticated():
		r.explainLevels(sent)
	case r.notOffered():
		r.fault("the server does not take "+r.Method+": "+r.firstError(), "add "+r.Method+" to the server's SEC_DEFAULT_AUTHENTICATION_METHODS (and to those of its levels, where set), then condor_reconfig there")
	case r.Method == "SCITOKENS" && len(r.PassedBy) > 0:
		r.fault("the client found no SciToken. HTCondor says: "+strings.Join(r.PassedBy, "; "), "see `tokenagent doctor --bearer`; root's HTCondor reads the file as the user of CONDOR_IDS, by default condor, who must be able to read it")
	case r.Method == "SCITOKENS":
		r.fault("the server accepted no SciToken: "+r.firstError(), "see with `tokenagent doctor --bearer` which token the client takes, and in the server's log why it is refused")
	case r.Sent == "":
		r.fault(r.nothingSent(), r.remedyNothing())
		r.adopt(known, "")
	default:
		r.fault("the server refused the token of "+r.Sent+": "+r.firstError(), remedyRefused(sent))
		r.adopt(known, r.Sent)
	}
}

func (r *Reply) fault(text, remedy string) {
	r.Findings = append(r.Findings, tokendir.Finding{Text: text, Remedy: remedy, Grave: true})
}

// adopt takes over the grave findings about the file; "" for all files.
func (r *Reply) adopt(known []tokendir.Finding, name string) {
	for _, f := range known {
		if f.Grave && (name == "" || f.Name == name) {
			r.Findings = append(r.Findings, f)
		}
	}
}

// authenticated reports whether the server accepted the client's token.
func (r *Reply) authenticated() bool {
	return slices.ContainsFunc(r.Levels, func(l Level) bool {
		return l.Authorised || strings.Contains(l.Error, "DENIED") && strings.Contains(l.Error, r.Method)
	})
}

// halfAuthenticated reports whether the token was accepted at some levels, while
// the client could not authenticate at others. A server that has a new key tells
// about it only from the second connection on (seen with 23.9.6).
func (r *Reply) halfAuthenticated() bool {
	return r.authenticated() && slices.ContainsFunc(r.Levels, Level.unauthenticated)
}

// unauthenticated reports whether the client could not authenticate, which says
// nothing about the level.
func (l Level) unauthenticated() bool {
	return strings.Contains(l.Error, "Failed to authenticate")
}

// notOffered reports whether client and server have no method in common: the
// error then does not name the method.
func (r *Reply) notOffered() bool {
	why := r.firstError()
	return strings.Contains(why, "Failed to authenticate with any method") && !strings.Contains(why, "using "+r.Method)
}

func (r *Reply) firstError() string {
	for _, l := range r.Levels {
		if l.Error != "" {
			return l.Error
		}
		if l.Method != "" {
			return fmt.Sprintf("it took the client for %s by %s, which is not by a token", cmp.Or(l.Identity, "-"), l.Method)
		}
	}
	return "it gave no reason"
}

func (r *Reply) nothingSent() string {
	text := "the client found no token in " + r.Directory
	if r.TrustDomain != "" {
		text += " for a server of trust domain " + r.TrustDomain
	}
	if len(r.Keys) > 0 {
		text += " and its keys " + strings.Join(r.Keys, ", ")
	}
	if len(r.PassedBy) > 0 {
		text += ". HTCondor says: " + strings.Join(r.PassedBy, "; ")
	}
	return text
}

func (r *Reply) remedyNothing() string {
	switch {
	case slices.ContainsFunc(r.PassedBy, func(why string) bool { return strings.Contains(why, "trust domain") }):
		return fmt.Sprintf("write trust_domain = %q in the source of the token: it must be the server's, byte for byte", r.TrustDomain)
	case len(r.PassedBy) > 0:
		return "sign the token with a key that the server has: key_id must be one of its names, with the same bytes"
	}
	return "see with `tokenagent doctor` what lies there, and in the status of the agent why the token is missing"
}

func remedyRefused(sent *tokendir.Entry) string {
	if sent != nil && sent.Token.State != tokendir.Valid {
		return ""
	}
	return "the replay knows no reason: the server's key of that name may have other bytes, the token may be revoked (SEC_TOKEN_REVOCATION_EXPR), or a clock may be wrong; the server's log (CollectorLog) says which"
}

// explainLevels compares what is allowed with the token's scope.
func (r *Reply) explainLevels(sent *tokendir.Entry) {
	var allowed, unknown []string
	for _, l := range r.Levels {
		switch {
		case l.Authorised:
			allowed = append(allowed, l.Level)
		case l.unauthenticated():
			unknown = append(unknown, l.Level)
			r.fault("the client could not authenticate for "+l.Level+", so what the token allows there is not known: "+l.Error, "ask again; if it stays so, see the server's log (CollectorLog)")
		}
	}
	if sent != nil {
		for _, word := range sent.Token.Scope {
			level, isLevel := strings.CutPrefix(word, "condor:/")
			if isLevel && slices.Contains(Levels, level) && !slices.Contains(slices.Concat(allowed, unknown), level) {
				r.fault("the scope of the token allows "+level+", the server does not",
					fmt.Sprintf("add %s to ALLOW_%s in the server's configuration, then condor_reconfig there; or take the word out of the scope", cmp.Or(sent.Token.Subject, "-"), level))
			}
		}
	}
	switch {
	case len(unknown) > 0:
	case len(allowed) == 0:
		r.fault("the server took the token and allows nothing with it", "compare its scope and subject with the server's ALLOW_ knobs")
	case len(allowed) == 1 && allowed[0] == "READ":
		r.Findings = append(r.Findings, tokendir.Finding{Text: "READ alone proves little: it says that the token was taken, and many pools let anybody read"})
	}
}
