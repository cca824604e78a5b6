package main

import (
	"cmp"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tokenagent/tokenagent/sinks/tokendir"
)

// A replayed is what the replay of the client's directory says that it sends.
type replayed struct {
	Sent   string `json:"sent,omitempty"` // the file; "" for none
	Agrees bool   `json:"agrees"`         // whether the client did just that
}

// compare replays the directory that the client read, and says what is wrong.
func (d doctor) compare(h *hearing, reader tokendir.User) {
	if h.Method != "IDTOKENS" || h.Directory == "" {
		h.judge(nil, nil)
		return
	}
	directory := tokendir.At(h.Directory, reader, d.knob)
	for _, known := range tokendir.Directories(reader, d.knob) {
		if known.Path == filepath.Clean(h.Directory) {
			directory = known
		}
	}
	e := d.one(directory)
	var sent *tokendir.Entry
	if entry, ok := e.reading.SentTo(h.Pool); ok {
		sent = &entry
	}
	h.Replay = &replayed{}
	if sent != nil {
		h.Replay.Sent = sent.Name
	}
	h.Replay.Agrees = h.Replay.Sent == h.Sent
	h.judge(sent, e.Findings)
}

// judge says what is wrong. The entry is the one that the replay says is sent, nil
// for none; known is what doctor says of the directory.
func (h *hearing) judge(sent *tokendir.Entry, known []tokendir.Finding) {
	if h.Replay != nil && !h.Replay.Agrees {
		h.fault("the client sent "+cmp.Or(h.Sent, "nothing")+", the replay says "+cmp.Or(h.Replay.Sent, "nothing"),
			"trust what the client did; `condor_version` and --condor-version may differ, or the directory has just changed")
	}
	switch {
	case h.authenticated():
		h.judgeLevels(sent)
	case h.notOffered():
		h.fault("the server does not take "+h.Method+": "+h.firstError(), "add "+h.Method+" to the server's SEC_DEFAULT_AUTHENTICATION_METHODS (and to those of its levels, where set), then condor_reconfig there")
	case h.Method == "SCITOKENS" && len(h.PassedBy) > 0:
		h.fault("the client found no SciToken. HTCondor says: "+strings.Join(h.PassedBy, "; "), "see `tokenagent doctor --bearer`; root's HTCondor reads the file as the user of CONDOR_IDS, by default condor, who must be able to read it")
	case h.Method == "SCITOKENS":
		h.fault("the server accepted no SciToken: "+h.firstError(), "see with `tokenagent doctor --bearer` which token the client takes, and in the server's log why it is refused")
	case h.Sent == "":
		h.fault(h.nothingSent(), h.remedyNothing())
		h.adopt(known, "")
	default:
		h.fault("the server refused the token of "+h.Sent+": "+h.firstError(), h.remedyRefused(sent))
		h.adopt(known, h.Sent)
	}
}

func (h *hearing) fault(text, remedy string) {
	h.Findings = append(h.Findings, tokendir.Finding{Text: text, Remedy: remedy, Grave: true})
}

func (h *hearing) remark(text, remedy string) {
	h.Findings = append(h.Findings, tokendir.Finding{Text: text, Remedy: remedy})
}

// adopt takes over what is known of the file, or of all that are passed over.
func (h *hearing) adopt(known []tokendir.Finding, name string) {
	for _, f := range known {
		if f.Grave && (name == "" || f.Name == name) {
			h.Findings = append(h.Findings, f)
		}
	}
}

// authenticated reports whether the server took the client for the bearer of a token.
func (h *hearing) authenticated() bool {
	return slices.ContainsFunc(h.Levels, func(l levelAnswer) bool {
		return l.Authorised || strings.Contains(l.Error, "DENIED") && strings.Contains(l.Error, h.Method)
	})
}

// halfAuthenticated reports whether the client was taken for the bearer of a token at
// some levels, and could not authenticate at others. A server that has a new key
// tells of it only from the second connection on (seen with 23.9.6).
func (h *hearing) halfAuthenticated() bool {
	return h.authenticated() && slices.ContainsFunc(h.Levels, levelAnswer.unauthenticated)
}

// unauthenticated reports whether the client could not authenticate, which says
// nothing of the level.
func (l levelAnswer) unauthenticated() bool {
	return strings.Contains(l.Error, "Failed to authenticate")
}

// notOffered reports whether client and server have no method in common: the
// client then fails without a word of the method.
func (h *hearing) notOffered() bool {
	why := h.firstError()
	return strings.Contains(why, "Failed to authenticate with any method") && !strings.Contains(why, "using "+h.Method)
}

func (h *hearing) firstError() string {
	for _, l := range h.Levels {
		if l.Error != "" {
			return l.Error
		}
		if l.Method != "" {
			return fmt.Sprintf("it took the client for %s by %s, which is not by a token", cmp.Or(l.Identity, "-"), l.Method)
		}
	}
	return "it gave no reason"
}

func (h *hearing) nothingSent() string {
	text := "the client found no token in " + h.Directory
	if h.TrustDomain != "" {
		text += " for a server of trust domain " + h.TrustDomain
	}
	if len(h.Keys) > 0 {
		text += " and its keys " + strings.Join(h.Keys, ", ")
	}
	if len(h.PassedBy) > 0 {
		text += ". HTCondor says: " + strings.Join(h.PassedBy, "; ")
	}
	return text
}

func (h *hearing) remedyNothing() string {
	switch {
	case slices.ContainsFunc(h.PassedBy, func(why string) bool { return strings.Contains(why, "trust domain") }):
		return fmt.Sprintf("write trust_domain = %q in the source of the token: it must be the server's, byte for byte", h.TrustDomain)
	case len(h.PassedBy) > 0:
		return "sign the token with a key that the server has: key_id must be one of its names, with the same bytes"
	}
	return "see with `tokenagent doctor` what lies there, and in the status of the agent why the token is missing"
}

func (h *hearing) remedyRefused(sent *tokendir.Entry) string {
	if sent != nil && sent.Token.State != tokendir.Valid {
		return ""
	}
	return "the replay knows no reason: the server's key of that name may have other bytes, the token may be revoked (SEC_TOKEN_REVOCATION_EXPR), or a clock may be wrong; the server's log (CollectorLog) says which"
}

// judgeLevels holds what is allowed against what the token's scope says.
func (h *hearing) judgeLevels(sent *tokendir.Entry) {
	var allowed, unknown []string
	for _, l := range h.Levels {
		switch {
		case l.Authorised:
			allowed = append(allowed, l.Level)
		case l.unauthenticated():
			unknown = append(unknown, l.Level)
			h.fault("the client could not authenticate for "+l.Level+", so what the token allows there is not known: "+l.Error, "ask again; if it stays so, see the server's log (CollectorLog)")
		}
	}
	if sent != nil {
		for _, word := range sent.Token.Scope {
			level, isLevel := strings.CutPrefix(word, "condor:/")
			if isLevel && slices.Contains(pingLevels, level) && !slices.Contains(slices.Concat(allowed, unknown), level) {
				h.fault("the scope of the token allows "+level+", the server does not",
					fmt.Sprintf("add %s to ALLOW_%s in the server's configuration, then condor_reconfig there; or take the word out of the scope", cmp.Or(sent.Token.Subject, "-"), level))
			}
		}
	}
	switch {
	case len(unknown) > 0:
	case len(allowed) == 0:
		h.fault("the server took the token and allows nothing with it", "compare its scope and subject with the server's ALLOW_ knobs")
	case len(allowed) == 1 && allowed[0] == "READ":
		h.remark("READ alone proves little: it says that the token was taken, and many pools let anybody read", "")
	}
}

// print writes the hearing for people.
func (h hearing) print(w io.Writer) {
	fmt.Fprintf(w, "%s of %s, asked as %s by condor_ping: with %s alone and no signing key\n", plain(h.Type), plain(h.Address), plain(h.As), h.Method)
	fmt.Fprintf(w, "  trust domain %s, keys %s, HTCondor %s\n", cmp.Or(plain(h.TrustDomain), "-"), cmp.Or(plain(strings.Join(h.Keys, ", ")), "-"), cmp.Or(h.Server, "of unknown version"))
	table := newTable(w)
	fmt.Fprintln(table, "  LEVEL\tANSWER\tMETHOD\tIDENTITY")
	for _, l := range h.Levels {
		answer := "not authorised"
		if l.Authorised {
			answer = "authorised"
		}
		fmt.Fprintf(table, "  %s\t%s\t%s\t%s\n", plain(l.Level), answer, cmp.Or(plain(l.Method), "-"), cmp.Or(plain(l.Identity), "-"))
	}
	table.Flush()
	if h.Directory != "" {
		fmt.Fprintf(w, "\n  the client sent %s of %s%s\n", cmp.Or(plain(h.Sent), "nothing"), plain(h.Directory), h.Replay.inWords())
	}
	printFindings(w, h.Findings, "the pool")
}

func (r *replayed) inWords() string {
	switch {
	case r == nil:
		return ""
	case r.Agrees:
		return ", as the replay says"
	}
	return "; the replay says " + cmp.Or(plain(r.Sent), "nothing")
}

// ill reports whether the pool cannot be asked, or does not allow what it should.
func (h hearing) ill() bool { return slices.ContainsFunc(h.Findings, isGrave) }

func isGrave(f tokendir.Finding) bool { return f.Grave }
