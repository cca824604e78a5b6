// Package tokendir knows how HTCondor reads a directory of IDTOKENs, and replays
// that reading. The rules, as seen on HTCondor 23.9.6 and 25.13.2:
//
//  1. Which directory: SEC_TOKEN_DIRECTORY where it is set; else for a process
//     that cannot switch users <home>/.condor/tokens.d, the home being that of
//     the passwd entry; for root and daemons SEC_TOKEN_SYSTEM_DIRECTORY.
//  2. Every entry is read but directories and names that match
//     LOCAL_CONFIG_DIR_EXCLUDE_REGEXP. Symbolic links are followed.
//  3. The order is that of the bytes of the paths; a daemon reads
//     <SUBSYS>_auto_generated_token first, in which SUBSYS is its own name.
//  4. A file is passed over unless the real uid of the reader owns it (root for
//     daemons) and its mode gives nothing to group and others.
//  5. A file is read line by line, without the blanks around a line. Empty lines
//     and those that begin with # are passed over, as are those that are not a JWT
//     with kid, iss and sub. Its parser of JWTs is a lenient one.
//  6. The first token of the server's trust domain (iss) whose key (kid) the
//     server has is sent. The client looks at neither its expiry nor its signature
//     or scope, and there is no second try: it hides all that come later. What the
//     server then says of it is in server.go.
//  7. On a NUL byte a client loops without end, and on a FIFO it waits.
//  8. The directory is read again for each new authentication. But a daemon that
//     found no token at its start, and has no signing key, does not look again
//     until condor_reconfig.
//
// Texts that this package returns show no part of a token but its claims.
package tokendir

import (
	"slices"
	"strings"
	"time"
)

// A User is a user of this host, as far as HTCondor's rules go by one.
type User struct {
	Name string // "" when only the number is known
	UID  int
	Home string // as the passwd entry says; "" for none
}

// String is the name, or else the number.
func (u User) String() string {
	if u.Name != "" {
		return u.Name
	}
	return owner(u.UID)
}

// A Verdict says what HTCondor does with an entry.
type Verdict string

// The verdicts. Those from Blocks on keep a token from its readers.
const (
	Sent      Verdict = "sent"          // to all servers of its trust domain that have its key
	Shadowed  Verdict = "shadowed"      // an earlier one of the same issuer and key hides it
	Unreached Verdict = "never reached" // HTCondor hangs at an entry before, or cannot look into the directory
	Folder    Verdict = "directory"     // passed over
	Excluded  Verdict = "name"          // passed over, since its name matches the exclude expression

	Blocks     Verdict = "blocks"     // HTCondor waits without end: a FIFO
	Spins      Verdict = "spins"      // HTCondor loops without end: a NUL byte
	Owner      Verdict = "owner"      // passed over, since somebody else owns it
	Mode       Verdict = "mode"       // passed over, since group or others are permitted something
	Unreadable Verdict = "unreadable" // it cannot be opened or read
	Special    Verdict = "special"    // a socket or device, in which there is nothing to read
	TooLarge   Verdict = "too large"  // not read here; a token has fewer than 16 KiB
	NoToken    Verdict = "no token"   // passed over, since no line of it is a token
	Incomplete Verdict = "incomplete" // passed over, since its token has no kid, iss or sub
)

// hangs reports whether HTCondor never gets past an entry of this verdict.
func (v Verdict) hangs() bool { return v == Blocks || v == Spins }

// lost reports whether the entry is of no use, and somebody should correct that.
func (v Verdict) lost() bool {
	switch v {
	case Sent, Shadowed, Unreached, Folder, Excluded:
		return false
	}
	return true
}

// A State is what a server makes of a token that is sent. The signature counts only where
// the reader knows the key.
type State string

// The states of a token.
const (
	Valid     State = "valid"
	Expired   State = "expired"
	Malformed State = "malformed" // exp or iat is not a number
	Refused   State = "refused"   // for another reason
	Hangs     State = "hangs"     // the client that sends it hangs
)

// A Token is what can be read in an IDTOKEN without verifying it or showing it.
type Token struct {
	Issuer  string    `json:"issuer"` // the trust domain of the servers that it is for
	KeyID   string    `json:"key_id"`
	Subject string    `json:"subject"` // the identity that its bearer gets, user@domain
	Scope   []string  `json:"scope"`
	Allows  []string  `json:"allows"` // the scope in words
	Issued  time.Time `json:"issued,omitzero"`
	Expires time.Time `json:"expires,omitzero"` // zero: never, or no time that can be understood
	State   State     `json:"state"`
	Why     string    `json:"why,omitempty"`     // of a state other than Valid
	Remarks []string  `json:"remarks,omitempty"` // in what else it falls short of the profile htcondor

	claim   string // that Why is about
	foreign bool   // it is signed with a key pair, so it is a token of another kind
}

// An Entry is a file in a token directory, or one token of a file.
type Entry struct {
	Name    string   `json:"name"`
	Line    int      `json:"line,omitempty"` // of the token, from 1; 0 where the file as a whole is meant
	Verdict Verdict  `json:"verdict"`
	By      string   `json:"by,omitempty"`     // name of the entry that shadows this one, or that HTCondor hangs at
	Only    string   `json:"only,omitempty"`   // the one subsystem that sends it, as "SCHEDD"; "" for all
	Reason  string   `json:"reason,omitempty"` // of the verdict, in words
	Remarks []string `json:"remarks,omitempty"`
	Token   *Token   `json:"token,omitempty"`

	astray bool // a symbolic link to nothing, or in a circle
}

// A Reader is a process that looks for a token.
type Reader struct {
	User            // whose real uid must own the files
	Exclude Exclude // the names that it passes over
	Version Version // of the HTCondor that reads, and of the servers

	// Genuine reports whether the token, a JWT in compact form, is signed with
	// the key that its issuer has under that name, and whether that is known
	// here. It may be nil.
	Genuine func(token, issuer, keyID string) (known, ok bool)
}

// A Reading is a token directory as one reader finds it.
type Reading struct {
	Path    string  `json:"path"`
	Entries []Entry `json:"entries"` // in HTCondor's order

	reader Reader
	denied string // the directory, this one or one above, that keeps the reader out; "" for none
}

// A Winner is the token that HTCondor sends to the servers of one trust domain
// that have one key.
type Winner struct {
	Entry
	Hides []Entry // the ones of the same issuer and key that come later
}

// Winners are the tokens that are sent, in HTCondor's order.
func (r Reading) Winners() []Winner {
	var winners []Winner
	place := map[source]int{}
	for _, e := range r.Entries {
		if e.Verdict != Sent {
			continue
		}
		if e.Only == "" {
			place[e.source()] = len(winners)
		}
		winners = append(winners, Winner{Entry: e})
	}
	for _, e := range r.Entries {
		if e.Verdict == Shadowed {
			w := &winners[place[e.source()]]
			w.Hides = append(w.Hides, e)
		}
	}
	return winners
}

// A source is what a token is chosen by.
type source struct{ issuer, keyID string }

func (e Entry) source() source { return source{e.Token.Issuer, e.Token.KeyID} }

// settle decides which of the tokens are sent.
func (r *Reading) settle() {
	if r.denied != "" {
		r.unreach()
		return
	}
	first := map[source]*Entry{}
	var hung *Entry
	for _, e := range r.byBytes() {
		switch {
		case e.Verdict.hangs() && hung == nil:
			hung = e
		case e.Verdict != Sent:
		case first[e.source()] != nil:
			e.Verdict, e.By = Shadowed, first[e.source()].Name
		case hung != nil:
			e.Verdict, e.By = Unreached, hung.Name
		default:
			first[e.source()] = e
		}
	}
	r.settleGenerated()
}

// unreach marks all tokens as out of the reader's reach.
func (r *Reading) unreach() {
	for i := range r.Entries {
		if e := &r.Entries[i]; e.Verdict == Sent {
			e.Verdict, e.By = Unreached, r.denied
		}
	}
}

// settleGenerated gives each daemon the token that it made for itself: it reads that one
// first.
func (r *Reading) settleGenerated() {
	type own struct {
		file string
		source
	}
	seen := map[own]bool{}
	for i := range r.Entries {
		e := &r.Entries[i]
		subsystem, generated := Subsystem(e.Name)
		if !generated || e.Token == nil || e.Verdict == Incomplete {
			continue
		}
		this := own{e.Name, e.source()}
		if e.Verdict != Sent && !seen[this] {
			e.Verdict, e.By, e.Only = Sent, "", subsystem
		}
		seen[this] = true
	}
}

// byBytes are the entries in the order of all readers except daemons that made a token
// for themselves.
func (r *Reading) byBytes() []*Entry {
	entries := make([]*Entry, len(r.Entries))
	for i := range r.Entries {
		entries[i] = &r.Entries[i]
	}
	slices.SortStableFunc(entries, func(a, b *Entry) int { return strings.Compare(a.Name, b.Name) })
	return entries
}
