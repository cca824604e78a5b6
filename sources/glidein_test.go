package sources

import (
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenagent/tokenagent/agent"
)

// What a GlideinWMS frontend makes of the tokens in its files, written here from
// what its code does, for there is no frontend to run.

// glidein310Takes reports whether a frontend of version 3.9.5 to 3.10 hands the token
// to its pilots: token_str_expired in lib/token_util.py (repository
// glideinWMS/glideinwms, as its glideinFrontendElement.py calls it in commit
// c0fd453e). It has PyJWT hold exp and nbf against the clock without leeway, where
// the token has them; what is not a whole number is refused.
func glidein310Takes(claims map[string]any, now time.Time) bool {
	for name, holds := range map[string]func(int64) bool{
		"exp": func(at int64) bool { return at > now.Unix() },
		"nbf": func(at int64) bool { return at <= now.Unix() },
	} {
		v, there := claims[name]
		if !there {
			continue
		}
		n, isNumber := v.(json.Number)
		if at, err := n.Int64(); !isNumber || err != nil || !holds(at) {
			return false
		}
	}
	return true
}

// glidein311Reason is why a frontend of version 3.11 does not use the token; "" when
// it does: Token.invalid_reason in lib/credentials/tokens.py (commit 00c2cf94). It
// makes a time of nbf and exp before it compares them, and what is not there raises
// an exception.
func glidein311Reason(claims map[string]any, now time.Time, least time.Duration) string {
	times := map[string]time.Time{}
	for _, name := range []string{"nbf", "exp"} {
		n, _ := claims[name].(json.Number)
		at, err := n.Int64()
		if err != nil {
			return "raises: no " + name
		}
		times[name] = time.Unix(at, 0)
	}
	switch {
	case now.Before(times["nbf"]):
		return "Token not yet valid."
	case now.After(times["exp"]):
		return "Token expired."
	case times["exp"].Sub(now) < least:
		return "Token lifetime too short."
	}
	return ""
}

func TestGlideinWMSTakesOurTokensForAllOfTheirLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pilot := agent.Request{Subject: "pilot", Audience: []string{"ce1.example.org:9619"}, Scope: []string{"condor:/READ"}, Profile: "scitokens", Lifetime: 2 * time.Hour}
		for what, token := range map[string]agent.Token{
			"an IDTOKEN": issue(t, newPool(t, "hello", "FRONTEND"), schedd),
			"a SciToken": issue(t, newSource(t, generated(t, "ES256")), pilot),
		} {
			claims := decoded(t, token).Claims
			for at, want := range map[time.Time]bool{
				token.Issued.Add(-61 * time.Second): false,
				token.Issued.Add(-60 * time.Second): true, // a frontend whose clock is slow
				token.Issued:                        true,
				token.Expires.Add(-time.Second):     true,
				token.Expires.Add(time.Second):      false,
			} {
				if got := glidein310Takes(claims, at); got != want {
					t.Errorf("%s, %s after it was issued: 3.10 takes it: %v", what, at.Sub(token.Issued), got)
				}
				if got := glidein311Reason(claims, at, 0); (got == "") != want {
					t.Errorf("%s, %s after it was issued: 3.11 says %q", what, at.Sub(token.Issued), got)
				}
			}
			if got := glidein311Reason(claims, token.Issued, token.Lifetime()+time.Second); got != "Token lifetime too short." {
				t.Errorf("%s: of a minimum_lifetime beyond its own 3.11 says %q", what, got)
			}
		}
	})
}

// Those of HTCondor's own tools have no nbf, so that 3.11 stops at them.
func TestGlideinWMS311StopsAtTokensWithoutTimes(t *testing.T) {
	for _, k := range knownTokens(t) {
		claims := decoded(t, agent.Token{Secret: agent.NewSecret(k.text())}).Claims
		now := time.Unix(1800000000, 0)
		if !glidein310Takes(claims, now) {
			t.Errorf("%s: 3.10 does not take it", k.Kid)
		}
		if got := glidein311Reason(claims, now, 0); got != "raises: no nbf" {
			t.Errorf("%s: 3.11 says %q", k.Kid, got)
		}
		claims["nbf"] = json.Number("1800000000")
		delete(claims, "exp")
		if got := glidein311Reason(claims, now, 0); got != "raises: no exp" {
			t.Errorf("%s without an end: 3.11 says %q", k.Kid, got)
		}
	}
}
