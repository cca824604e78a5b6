package main

import (
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/tokenagent/tokenagent/agent/profile"
)

// The verdicts on a token.
const (
	verdictValid   = "valid"
	verdictInvalid = "not valid"
	verdictOpen    = "not verified" // that cannot be known now
)

// A verification is what verify shows of a token.
type verification struct {
	Verdict  string `json:"verdict"`             // valid, not valid or not verified
	Reason   string `json:"reason,omitempty"`    // why it is not valid
	Signed   bool   `json:"signed"`              // by its issuer; false: it is not, or that is not known
	KeysFrom string `json:"keys_from,omitempty"` // the file or address of the keys that were tried
	reading
}

func newVerification(t profile.Token, now time.Time) verification {
	return verification{Verdict: verdictOpen, reading: newReading(t, profile.Detect(t), now)}
}

// refused is the verification with that verdict and its reason.
func (v verification) refused(verdict, format string, args ...any) verification {
	v.Verdict, v.Reason = verdict, fmt.Sprintf(format, args...)
	return v
}

// accepted is the verification of a token with a good signature: it is valid unless
// verifiers refuse it for one of its problems.
func (v verification) accepted() verification {
	v.Verdict = verdictValid
	if i := slices.IndexFunc(v.Problems, func(p problem) bool { return !p.Warning }); i >= 0 {
		p := v.Problems[i]
		return v.refused(verdictInvalid, "%s", profile.Problem{Claim: p.Claim, Text: p.Text})
	}
	return v
}

// print writes the verification; the verdict is on the first line.
func (v verification) print(w io.Writer) {
	why := v.title()
	if v.Reason != "" {
		why = plain(v.Reason)
	}
	fmt.Fprintf(w, "%s: %s\n\n", v.Verdict, why)
	v.printFacts(w)
	v.printProblems(w)
}

// printFacts writes who signed the token, and for what. Unless its signature is good,
// the token only claims this.
func (v verification) printFacts(w io.Writer) {
	signed := "signed by"
	if !v.Signed {
		signed = "claims to be signed by"
	}
	fmt.Fprintf(w, "%s %s, with the key %s (%s)", signed, v.claim("iss"), parameter(v.Header, "kid"), parameter(v.Header, "alg"))
	if v.KeysFrom != "" {
		fmt.Fprintf(w, " of %s", plain(v.KeysFrom))
	}
	fmt.Fprintln(w)
	for _, name := range []string{"sub", "aud", "scope"} {
		if v.Claims[name] != nil {
			fmt.Fprintf(w, "  %-5s  %s\n", name, v.claim(name))
		}
	}
	if !v.Expires.IsZero() {
		fmt.Fprintf(w, "  %-5s  %s\n", "exp", v.explainTime("exp", v.Claims["exp"]))
	}
}

func (v verification) claim(name string) string { return parameter(v.Claims, name) }

// parameter is the value of that name, on one line.
func parameter(values map[string]any, name string) string {
	if value, there := values[name]; there {
		return shown(value)
	}
	return "(none)"
}
